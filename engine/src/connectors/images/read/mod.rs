//! Reading of the files of one partition.

pub(crate) mod batches;
pub(crate) mod reader;
pub(crate) mod scan;
pub(crate) mod spec;

#[cfg(test)]
mod reader_tests;
