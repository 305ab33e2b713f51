//! The arguments for MongoDB, and the configurations made of them.

use clap::Args;
use firesteel_engine::Config;
use firesteel_pipeline::sink::MongoConfig;

/// Which server and database.
#[derive(Debug, Args)]
#[command(next_help_heading = "MongoDB")]
pub(crate) struct MongoArgs {
    /// MongoDB's address. One with a password: by the environment or the settings file only
    #[arg(
        long,
        value_name = "URI",
        env = "FIRESTEEL_MONGODB_URI",
        default_value = "mongodb://localhost:27017",
        hide_env_values = true
    )]
    pub(crate) mongodb_uri: String,
    /// The database of the collection `predictions`
    #[arg(long, value_name = "NAME", env = "FIRESTEEL_MONGODB_DATABASE", default_value = "firesteel")]
    pub(crate) mongodb_database: String,
}

impl MongoArgs {
    /// The pipeline's configuration for writing predictions.
    pub(crate) fn sink(&self) -> MongoConfig {
        MongoConfig {
            uri: self.mongodb_uri.clone().into(),
            database: self.mongodb_database.clone(),
            ..MongoConfig::default()
        }
    }

    /// The configuration of an engine that reads this database; the rest has its default.
    pub(crate) fn engine(&self) -> Config {
        Config::new(self.mongodb_uri.clone(), self.mongodb_database.clone())
    }
}
