//! Whether a run kept what is promised. Everything here is a comparison of what was gathered; nothing asks a server.
//!
//! | statement | in |
//! | --- | --- |
//! | results and dead letters are what was acknowledged, and share nothing; letters carry bytes and coordinates | [`books`] |
//! | one document an id, each equal to what an undisturbed model says | [`books`] |
//! | committed offsets are never ahead of durable work | [`offsets`] |
//! | the report, MongoDB's `$group` and a plain recount agree; answers on the way fit their time | [`answers`] |
//! | no growth, no work while idle, nothing left | [`growth`] |

pub(crate) mod answers;
pub(crate) mod books;
pub(crate) mod growth;
pub(crate) mod offsets;

use serde::{Deserialize, Serialize};

/// Examples of one finding that are told; the rest is counted.
const EXAMPLES: usize = 10;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Which.
    pub(crate) statement: String,
    /// How often.
    pub(crate) count: usize,
    /// Ids, offsets, processes: some of them.
    pub(crate) examples: Vec<String>,
}

impl Finding {
    /// One, with what shows it.
    pub(crate) fn one(statement: &str, example: impl Into<String>) -> Self {
        Self { statement: statement.to_owned(), count: 1, examples: vec![example.into()] }
    }

    /// All `examples` of one statement; nothing where there are none.
    pub(crate) fn all(statement: &str, examples: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut examples: Vec<String> = examples.into_iter().collect();
        let count = examples.len();
        examples.truncate(EXAMPLES);
        (count > 0).then(|| Self { statement: statement.to_owned(), count, examples })
    }
}
