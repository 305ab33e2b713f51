//! The arguments that every process of an engine has: executors, schedulers and shells with an engine of their own.

use std::sync::Arc;

use clap::Args;
use firesteel_engine::Config;

use super::fields::Settings;
use super::files::FileArgs;
use super::kafka::KafkaArgs;
use super::limits::LimitArgs;
use super::model::ModelArgs;
use super::mongodb::MongoArgs;
use crate::classify;

/// The model behind `classify`, where the tables are, and which files SQL may have. Plans carry no address and no password, so each process has its own.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) mongo: MongoArgs,
    /// The databases that tables may be in besides --mongodb-database, with commas in between
    #[arg(
        long,
        value_name = "NAME,…",
        env = "FIRESTEEL_MONGODB_DATABASES",
        value_delimiter = ',',
        help_heading = "MongoDB"
    )]
    pub(crate) mongodb_databases: Vec<String>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

impl EngineArgs {
    /// The engine's configuration, with the functions that SQL can call. `settings` names settings in the functions' errors.
    pub(crate) fn config(&self, settings: &Arc<Settings>) -> anyhow::Result<Config> {
        Ok(Config {
            kafka: self.kafka.config()?,
            topics: self.kafka.topics(),
            databases: self.mongodb_databases.iter().filter(|name| !name.is_empty()).cloned().collect(),
            files: self.files.config(),
            limits: self.limits.config(),
            functions: classify::functions(self.model.config(), Arc::clone(settings)),
            ..self.mongo.engine()
        })
    }
}
