//! Plans: how they are made, how they travel, and how they are executed.
//!
//! A logical plan from SQL or from the dataflow API enters [`Run`], which has it planned, hands the physical plan to
//! the scheduler and gives back record batches. [`state`] builds the state of every session, so that a plan means the same
//! in the client, the scheduler and the executors; [`codec`] carries plans between them; both ask the list of connectors.

pub(crate) mod caught;
pub(crate) mod codec;
mod empty;
pub(crate) mod guard;
mod planner;
mod reconnect;
mod run;
pub(crate) mod settings;
pub(crate) mod state;
mod submit;
pub(crate) mod tables;

pub(crate) use reconnect::Reconnect;
pub(crate) use run::Run;
pub(crate) use submit::Submitter;
