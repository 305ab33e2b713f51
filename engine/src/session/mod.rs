//! The states of sessions: how queries are planned, the same for clients, the scheduler and executors.

mod empty;
mod planner;
pub(crate) mod state;
pub(crate) mod tables;
