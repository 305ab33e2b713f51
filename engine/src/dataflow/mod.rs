//! Map / reduce-by-key, in Spark's words.
//!
//! ```no_run
//! # async fn example(session: firesteel_engine::Session) -> firesteel_engine::Result<()> {
//! use firesteel_engine::prelude::*;
//!
//! let wrong = session.table("predictions").await?
//!     .map(col("producer_id"), not(col("correct")).cast_to_i64())  // (key, value)
//!     .reduce_by_key(Reducer::Sum)?
//!     .collect().await?;
//! for (producer, wrong) in wrong.typed::<(String, i64)>()? {
//!     println!("{producer}: {wrong}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Nothing runs before `collect` or `count`. Every operator lowers to the same logical plan as the SQL that says the
//! same, so the two are planned, pushed down and distributed alike. One operator a file.

mod collect;
mod count;
mod expr;
mod filter;
mod map;
mod reduce_by_key;
mod rows;
mod value;

use datafusion::dataframe::DataFrame;

pub use expr::{ExprExt, not};
pub use map::{Exprs, KeyValues};
pub use reduce_by_key::{Reducer, Reducers};
pub use rows::{FromRow, Rows};
pub use value::{FromValue, Timestamp};

/// A distributed table of rows, not yet computed.
#[derive(Clone, Debug)]
pub struct Dataset {
    frame: DataFrame,
}

impl Dataset {
    pub(crate) fn new(frame: DataFrame) -> Self {
        Self { frame }
    }

    /// The names of the columns.
    pub fn columns(&self) -> Vec<String> {
        self.frame.schema().fields().iter().map(|field| field.name().clone()).collect()
    }
}
