//! How much one request may ask for, checked before it costs anything.
//!
//! ```text
//!  text of SQL ──▶ check_sql: its length, tokens, depth ──▶ how often the parser reads it, uses of its names ──▶ parser, planner
//!  plan from a client ──▶ check_plan: how large it is and how deep it nests, by its bytes ──▶ decoder
//!  rows from a process ──▶ check_buffers: where they lie, and the memory that they claim ──▶ Arrow's reader
//! ```
//!
//! The parser reads a chain such as `1 + 1 + …` in a loop, so its own limit of nesting does not see it; the tree that comes of
//! it is as deep as the chain is long, and is walked, copied and dropped by recursion. Where a stack ends, the process ends,
//! with everybody's queries. So both checks here are loops, and say no before there is a tree. What is left for the parser to
//! read again and again is stopped while it reads, see [`brake`].
//!
//! What is left to recursion fits [`Deep`]'s stack, whatever stack the caller's thread has.

mod brake;
mod ipc;
mod names;
mod plan;
mod sql;
mod stack;
mod tokens;

pub(crate) use self::ipc::{check_buffers, is_compressed};
pub(crate) use self::plan::check_plan;
pub(crate) use self::sql::{check_sql, check_sql_and};
pub(crate) use self::stack::Deep;

use crate::{ConfigField, Error};

/// How much one statement of SQL, or one plan from a client, may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqlLimits {
    /// The most bytes of a statement's text.
    pub bytes: usize,
    /// The most tokens of a statement: words, literals and signs. The parser may read four times as many, those that it reads
    /// again included.
    pub tokens: usize,
    /// How deep the tree of a statement may be: operators in a row, joins, set operations and parentheses count.
    pub depth: usize,
    /// The most nodes of a plan. Each use of a view or of a name in `WITH` counts all of it. A plan from a client has at most 50
    /// fields for each, or a million.
    pub plan_nodes: usize,
    /// The most bytes of one value that a function makes of smaller ones, such as `repeat`.
    pub value_bytes: usize,
}

impl SqlLimits {
    /// The largest `depth` that the stacks of an engine's threads are large enough for.
    pub const DEEPEST: usize = 5_000;
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self { bytes: 1 << 20, tokens: 200_000, depth: 1_000, plan_nodes: 20_000, value_bytes: 256 << 20 }
    }
}

/// An error that names a limit and its setting.
fn over(what: &str, most: usize, setting: ConfigField) -> Error {
    Error::OverLimit { what: what.to_owned(), most: most as u64, setting }
}
