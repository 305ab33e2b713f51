//! Plans: how they are executed, and when they are executed again.
//!
//! A logical plan from SQL or from the dataflow API enters [`Run`], which has it planned, hands the physical plan to
//! the scheduler and gives back record batches.

mod run;

pub(crate) use run::Run;
