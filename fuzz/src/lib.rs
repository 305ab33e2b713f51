//! The functions of the fuzz targets: each takes any bytes and returns.
//!
//! ```text
//!  fuzz/fuzz_targets/*.rs ── libFuzzer, dev/fuzz ──┐
//!                                                  ├─▶ records.rs, images.rs, engine.rs
//!  cli/tests/cluster/attack/fuzz.rs ── make test ──┘
//! ```
//!
//! The files are compiled in both places, so that a target that does not build any more fails the tests. A feature a crate,
//! because whoever fuzzes one should not wait for the others to be built.

#[cfg(feature = "engine")]
mod engine;
#[cfg(feature = "pipeline")]
mod images;
#[cfg(feature = "proto")]
mod records;

#[cfg(feature = "engine")]
pub use engine::{documents, logical_plans, options, physical_plans, routes, shuffles, sql};
#[cfg(feature = "pipeline")]
pub use images::images;
#[cfg(feature = "proto")]
pub use records::records;
