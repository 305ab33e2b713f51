//! `INSERT INTO` a collection: every row becomes one document, written by an upsert on its key.
//!
//! ```text
//!  insert_into() ──▶ plan: the key has a unique index ──▶ rows ──▶ write node, one writer a partition ──▶ sum of counts
//!                                                                  │ encode: Arrow → BSON, `{q: key, u: document}`
//!                                                                  ▼ writer: `update` commands, tried again
//! ```
//!
//! A column that a statement copies out of a collection is written back as it was, or the statement is refused: see
//! [`source`].
//!
//! An upsert replaces the document that has the key, or makes it. So a command that is sent again, a task that runs
//! again, and two attempts of a task that run at once all leave one document a key. What a statement reports is how many
//! rows it wrote, not how many documents were new. Statements are not transactions: one that fails may have written a
//! part of its rows, and running it again writes the same documents. Where two rows of one statement have one key, one
//! of them is left, and which is not defined.

pub(crate) mod command;
pub(crate) mod encode;
pub(crate) mod exec;
pub(crate) mod plan;
#[cfg(test)]
mod round_trip_tests;
pub(crate) mod source;
pub(crate) mod writer;
