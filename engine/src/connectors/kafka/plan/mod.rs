//! How queries over topics are planned: tables, which offsets a query reads, and how they are dealt to partitions.

pub(crate) mod bounds;
pub(crate) mod factory;
pub(crate) mod filter;
pub(crate) mod split;
pub(crate) mod table;
