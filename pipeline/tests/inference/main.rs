//! The inference server from the weights to the wire, with no Kafka and no MongoDB: the shipped model against its
//! reference, the checks on a weights file, batching with a model whose every step the test decides, and the
//! server over real gRPC on a free port.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod access;
mod assets;
mod batching;
mod client;
mod compiled;
mod fake;
mod gpu;
mod health;
mod model;
mod networks;
mod server;
mod several;
mod weights;
