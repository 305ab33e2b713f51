//! What `engine` and `pipeline` share, one floor below both.
//!
//! * [`config_field`]: the names of configuration fields, which errors carry and the binary translates.
//! * [`error`]: the causes of an error as text.
//! * [`http`]: the HTTP server of health checks and metrics; [`metrics`]: how metrics are declared.
//! * [`kafka`]: the core of a Kafka client. [`mongodb`]: the core of a MongoDB client, its error codes, bulk writes.
//! * [`net`]: dialling a peer.
//! * [`retry`]: how long to wait between attempts.
//! * [`secret`]: connection strings and client properties that print themselves without what is secret.
//! * [`suggest`]: "did you mean".
//!
//! The crate decides nothing: it holds no topics, no tables and no policies. Whether a failure is waited for, given up
//! or reported is the business of the crate that uses it.

pub mod config_field;
pub mod error;
pub mod http;
pub mod kafka;
pub mod metrics;
pub mod mongodb;
pub mod net;
mod properties;
pub mod retry;
pub mod secret;
pub mod suggest;

pub use config_field::ConfigField;
