//! What the sources of tables have in common.

pub(crate) mod metrics;
