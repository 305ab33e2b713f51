//! Aggregates that the server computes: one `$match` / `$group` a range, merged by the engine.
//!
//! ```text
//!  AggregateExec: Final                        unchanged: merges partial states
//!    └─ MongoGroupExec                         one `aggregate` command a range, at the scan's cluster time
//!         ├─ descriptors                       as below a scan
//!         └─ (inside) AggregateExec: Partial   what is run for a range whose documents do not fit
//!              └─ … MongoScanExec
//! ```
//!
//! The server groups by *raw columns* and the engine evaluates expressions over their values, once a group: the
//! columns of GROUP BY, and booleans, of which there are three values. What remains for the server are measures over
//! other columns: [`translate`] writes these as aggregation expressions, with SQL's three truth values.
//!
//! Results equal those of reading, by construction. Every column that the server computes with has the BSON type of its
//! values in the group key, or its smallest and largest value beside the group, so that a value that the schema does
//! not allow comes to light, and so does what the two systems see differently: NaN, the sign of zero, an integer that
//! overflows. The range with such a value is read instead, by the partial aggregate that this node replaced.
//!
//! Limits: sums of doubles equal those of reading up to rounding, as any two orders of adding do. A value of the type
//! Symbol, which drivers stopped writing in 2009, counts as the string it equals.

pub(crate) mod columns;
pub(crate) mod compile;
pub(crate) mod condition;
pub(crate) mod cost;
pub(crate) mod exec;
pub(crate) mod groups;
pub(crate) mod measure;
pub(crate) mod range;
pub(crate) mod rule;
pub(crate) mod translate;
