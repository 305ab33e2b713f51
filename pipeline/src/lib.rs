//! Firesteel's pipeline: what happens to an image between its producer and MongoDB.
//!
//! `producer` → topic `images` → `consumer::images` → `inference` (gRPC) → topic `predictions` →
//! `consumer::predictions` → `sink` (MongoDB). Each component is a `run(config, …, shutdown)` that ends when
//! its work is done or its token is cancelled; signals, environment and exit codes are the binary's business.

mod error;
pub mod inference;

pub use error::{Error, Result};
