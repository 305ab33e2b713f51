//! The binary against real Kafka and MongoDB: the demo, the roles as processes of their own, SIGKILL, bad input.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod dead_letters;
mod demo;
mod evaluate;
mod failures;
mod health;
mod labels;
mod memory;
mod own;
mod roles;
mod secured;
mod seed;
mod split;
mod sql;
mod support;
mod terminal;
mod values;
