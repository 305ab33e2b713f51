//! A session: what a program runs queries through. A statement enters here.
//!
//! [`Session`] is in one folder: its start and end, the catalog that it shows, queries that run, and the statements about
//! cached tables.

mod cached;
mod catalog;
mod job_names;
mod registry;
mod running;
mod session;
pub(crate) mod sql;
mod statement;

pub use self::catalog::{ColumnInfo, FunctionInfo, TableInfo};
pub use self::running::Query;
pub use self::session::{Session, asks_for_tls, scheduler_address};
pub use self::sql::Outcome;
pub use self::statement::Statement;
