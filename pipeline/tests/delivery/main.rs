//! The delivery rules against real Kafka and MongoDB: nothing lost, nothing doubled, whatever fails.
//!
//! `world` gives each test topics, groups and a database of its own; `inference` is a gRPC server that answers by
//! a rule and fails when told to; `topic` reads whole topics. The oracle is always the ledger of acknowledged ids,
//! or the list of records that the test itself published.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod attempts;
mod faults;
mod health;
mod images;
mod inference;
mod letters;
mod loss;
mod models;
mod outage;
mod predictions;
mod producing;
mod rebalance;
mod replay;
mod topic;
mod world;
