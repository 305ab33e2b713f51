//! How queries over collections are planned: tables, what of a filter or an aggregate the server does, and the partitions.

pub(crate) mod aggregate;
pub(crate) mod factory;
pub(crate) mod filter;
pub(crate) mod infer;
#[cfg(test)]
mod infer_tests;
pub(crate) mod partition;
pub(crate) mod table;
