//! A real cluster of processes against a real MongoDB: results, observation, leaving, dying, and foreign clients.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod attack;
mod basics;
mod broken;
mod caching;
mod classify;
mod doors;
mod equality;
mod files;
mod foreign;
mod history;
mod images;
mod kills;
mod late;
mod leaving;
mod reconnect;
mod rows;
mod shell;
mod support;
mod tpch;
