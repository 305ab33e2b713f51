//! The states of sessions: how queries are planned, and the engine that is embedded in a process.

pub(crate) mod embedded;
mod empty;
mod planner;
pub(crate) mod state;
pub(crate) mod tables;
