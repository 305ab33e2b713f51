//! Map / reduce-by-key, with the operators of Spark's RDDs.
//!
//! ```
//! use firesteel_engine::prelude::*;
//!
//! # fn main() -> firesteel_engine::Result<()> {
//! # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
//! // An embedded engine with one registered function.
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
//! | Spark | Firesteel | result |
//! |---|---|---|
//! | `map` to pairs | [`Dataset::map`]`(key, value)` | [`KeyValues`] |
//! | `flatMap` to pairs | [`Dataset::flat_map`]`(key, list)` | [`KeyValues`], one per list element |
//! | `filter` | [`Dataset::filter`], [`KeyValues::filter`] | the same |
//! | `mapValues`, `keys`, `values` | [`KeyValues::map_values`], [`keys`](KeyValues::keys), [`values`](KeyValues::values) | pairs, rows |
//! | `reduceByKey`, `countByKey` | [`KeyValues::reduce_by_key`], [`count_by_key`](KeyValues::count_by_key) | rows |
//! | `aggregateByKey`, `groupByKey` | [`KeyValues::aggregate_by_key`], [`group_by_key`](KeyValues::group_by_key) | rows |
//! | `join`, `leftOuterJoin`, … | [`KeyValues::join`], [`left_outer_join`](KeyValues::left_outer_join), … | [`KeyValues`] |
//! | `sortBy`, `sortByKey` | [`Dataset::sort_by`], [`KeyValues::sort_by_key`] | rows in order |
//! | `union`, `distinct`, `limit` | [`Dataset::union`], [`distinct`](Dataset::distinct), [`limit`](Dataset::limit) | rows |
//! | `collect`, `take`, `count` | [`Dataset::collect`], [`take`](Dataset::take), [`count`](Dataset::count) | runs the plan |
//!
//! Keys and values are expressions, not closures: a closure cannot be sent to an executor, and the planner can inspect
//! an expression, so it reads only the columns that are used and pushes work down into the source. Rust code that has
//! to run on executors is registered by name: see [`functions`](crate::functions).
//!
//! Because expressions are checked when the plan is built, `filter`, `reduce_by_key` and others return a `Result`: an
//! unknown column is an error at the line that names it.
//!
//! Nothing runs before `collect`, `take` or `count`. Every operator lowers to the same logical plan as the equivalent
//! SQL, so both are planned, pushed down and distributed alike.

mod dataset;
mod expr;
mod join;
mod keyed;
mod reducer;
mod rows;
#[cfg(test)]
mod tests;
mod timings;

pub use dataset::Dataset;
pub use expr::{ExprExt, Exprs, not};
pub use keyed::KeyValues;
pub use reducer::{Reducer, Reducers};
pub use rows::Rows;
pub use timings::Timings;

pub use crate::value::{FromRow, FromValue, Timestamp};
