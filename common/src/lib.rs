//! What `engine` and `pipeline` share, one floor below both.
//!
//! * [`access`]: who is asking, and the gate in front of every router. [`tls`]: certificates that are read again.
//! * [`config_field`]: the names of configuration fields, which errors carry and the binary translates.
//! * [`dead_letter`]: what a dead letter says of its record. [`headers`]: a record's headers, whatever they are.
//! * [`error`]: the causes of an error as text.
//! * [`http`]: the HTTP server of every door, health checks; [`metrics`]: how metrics are declared.
//! * [`kafka`]: the core of a Kafka client. [`mongodb`]: the core of a MongoDB client, its error codes, bulk writes.
//! * [`net`]: dialling a peer, with TLS and a credential.
//! * [`retry`]: how long to wait between attempts.
//! * [`secret`]: connection strings and client properties that print themselves without what is secret.
//! * [`suggest`]: "did you mean".
//!
//! The crate decides nothing: it holds no topics, no tables and no policies. Whether a failure is waited for, given up
//! or reported is the business of the crate that uses it.

pub mod access;
mod admission;
pub mod config_field;
pub mod dead_letter;
pub mod error;
mod files;
pub mod headers;
pub mod http;
pub mod kafka;
pub mod metrics;
pub mod mongodb;
pub mod net;
mod properties;
pub mod retry;
pub mod secret;
pub mod suggest;
pub mod tls;

pub use config_field::ConfigField;
