//! Planning of scans: which files are read, and which of them together.

pub(crate) mod factory;
pub(crate) mod filter;
pub(crate) mod spread;
pub(crate) mod table;
