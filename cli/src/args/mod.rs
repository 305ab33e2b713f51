//! Arguments that several subcommands share: each file holds the clap struct and its conversion into the libraries'
//! configuration. Nothing here knows a subcommand.

mod cache;
mod consumer;
mod dataset;
mod engine;
pub(crate) mod fields;
mod files;
mod health;
mod kafka;
mod limits;
mod load;
mod model;
mod mongodb;
pub(crate) mod secrets;
mod security;
mod session;
mod size;

pub(crate) use self::cache::CacheArgs;
pub(crate) use self::consumer::ConsumerArgs;
pub(crate) use self::dataset::tell_notes;
pub(crate) use self::engine::EngineArgs;
pub(crate) use self::files::FileArgs;
pub(crate) use self::health::HealthListenArgs;
pub(crate) use self::kafka::KafkaArgs;
pub(crate) use self::load::LoadArgs;
pub(crate) use self::model::{DeviceArgs, InferenceArgs, OneModelArgs, precision};
pub(crate) use self::mongodb::MongoArgs;
pub(crate) use self::security::{ClientSecurityArgs, ServerSecurityArgs, UsersArgs};
pub(crate) use self::session::SessionArgs;
pub(crate) use self::size::{image_size, size};
