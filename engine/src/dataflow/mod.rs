//! Map / reduce-by-key, in Spark's words.
//!
//! ```
//! use firesteel_engine::prelude::*;
//!
//! # fn main() -> firesteel_engine::Result<()> {
//! # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
//! // An engine in this process, which knows one function of this program.
//! let functions = Functions::new().scalar("is_wrong", |label: &str, predicted: &str| label != predicted);
//! let session = Session::embedded(Config { functions, ..Config::default() }).await?;
//! let predictions = session
//!     .sql("SELECT * FROM (VALUES ('a', 'cat', 'dog'), ('b', 'cat', 'cat'), ('a', 'ship', 'ship')) \
//!           AS t(producer, label, predicted)")
//!     .await?;
//!
//! let is_wrong = session.call("is_wrong", (col("label"), col("predicted")))?;
//! let wrong: Vec<(String, i64)> = predictions
//!     .map(col("producer"), is_wrong.cast_to_i64()) // (key, value)
//!     .reduce_by_key(Reducer::Sum)?
//!     .sort_by(col("producer"), true)?
//!     .collect_as()
//!     .await?;
//! assert_eq!(wrong, [("a".to_owned(), 1), ("b".to_owned(), 0)]);
//! # session.shutdown().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Over the predictions in MongoDB:
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
//! | Spark | here | gives |
//! |---|---|---|
//! | `map` to pairs | [`Dataset::map`]`(key, value)` | [`KeyValues`] |
//! | `flatMap` to pairs | [`Dataset::flat_map`]`(key, list)` | [`KeyValues`], one a list element |
//! | `filter` | [`Dataset::filter`], [`KeyValues::filter`] | the same |
//! | `mapValues`, `keys`, `values` | [`KeyValues::map_values`], [`keys`](KeyValues::keys), [`values`](KeyValues::values) | pairs, rows |
//! | `reduceByKey`, `countByKey` | [`KeyValues::reduce_by_key`], [`count_by_key`](KeyValues::count_by_key) | rows |
//! | `aggregateByKey`, `groupByKey` | [`KeyValues::aggregate_by_key`], [`group_by_key`](KeyValues::group_by_key) | rows |
//! | `join`, `leftOuterJoin`, … | [`KeyValues::join`], [`left_outer_join`](KeyValues::left_outer_join), … | [`KeyValues`] |
//! | `sortBy`, `sortByKey` | [`Dataset::sort_by`], [`KeyValues::sort_by_key`] | rows in order |
//! | `union`, `distinct`, `limit` | [`Dataset::union`], [`distinct`](Dataset::distinct), [`limit`](Dataset::limit) | rows |
//! | `collect`, `take`, `count` | [`Dataset::collect`], [`take`](Dataset::take), [`count`](Dataset::count) | runs the plan |
//!
//! Keys and values are expressions and not closures, because a closure cannot travel to an executor, and because the
//! planner can look into an expression: it reads only the columns that are used and pushes work into the source. Rust
//! code that has to run on executors is registered by name: see [`functions`](crate::functions).
//!
//! Where Spark's `map` takes any closure, `filter`, `reduce_by_key` and others return a `Result`: a column that is not
//! there is an error at the line that names it.
//!
//! Nothing runs before `collect`, `take` or `count`. Every operator lowers to the same logical plan as the SQL that says the
//! same, so the two are planned, pushed down and distributed alike. One operator a file.

mod aggregate;
mod aggregate_by_key;
mod collect;
mod count;
mod expr;
mod filter;
mod flat_map;
mod group_by_key;
mod join;
mod map;
mod pairs;
#[cfg(test)]
mod plans;
mod reduce_by_key;
mod rows;
mod run;
mod sets;
mod sort_by;
mod take;
mod timings;
mod value;

use datafusion::dataframe::DataFrame;

pub use expr::{ExprExt, not};
pub use map::{Exprs, KeyValues};
pub use reduce_by_key::{Reducer, Reducers};
pub use rows::{FromRow, Rows};
pub(crate) use run::Run;
pub use timings::Timings;
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

    pub(crate) fn into_frame(self) -> DataFrame {
        self.frame
    }

    /// The names of the columns.
    pub fn columns(&self) -> Vec<String> {
        self.frame.schema().fields().iter().map(|field| field.name().clone()).collect()
    }
}
