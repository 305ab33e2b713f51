//! How queries over cached tables are planned: the table, and where an aggregate works on dictionaries.

pub(crate) mod rule;
pub(crate) mod table;
