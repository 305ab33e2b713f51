//! One file a subcommand: from arguments to configurations, to a component's `run`, to an outcome.

pub(crate) mod calibrate;
pub(crate) mod capacity;
pub(crate) mod consume_images;
pub(crate) mod consume_predictions;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod describe;
pub(crate) mod evaluate;
pub(crate) mod executor;
pub(crate) mod health;
pub(crate) mod inference_server;
pub(crate) mod ingest;
pub(crate) mod make_certificate;
pub(crate) mod make_credentials;
pub(crate) mod produce;
pub(crate) mod report;
pub(crate) mod scheduler;
pub(crate) mod seed;
pub(crate) mod spark_connect;
pub(crate) mod sql;
