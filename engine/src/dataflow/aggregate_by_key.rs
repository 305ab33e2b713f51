//! `aggregate_by_key`: any aggregate functions over the values of each key.

use datafusion::logical_expr::Expr;

use super::Dataset;
use super::aggregate::aggregate;
use super::map::{Exprs, KeyValues};
use crate::Result;

impl KeyValues {
    /// Aggregates the values of each key: a row of the parts of the key, then one column for each aggregate that
    /// `aggregates` makes of the parts of the value. Any aggregate function will do, one that the program registered as
    /// well: see [`Session::call`](crate::Session::call).
    ///
    /// ```no_run
    /// # async fn example(session: firesteel_engine::Session) -> firesteel_engine::Result<()> {
    /// use firesteel_engine::prelude::*;
    ///
    /// let spread = session.call("spread", col("confidence"))?;
    /// session.table("predictions").await?
    ///     .map(col("producer_id"), col("confidence"))
    ///     .aggregate_by_key(|value| (avg(value[0].clone()), median(value[0].clone()), spread))?
    ///     .collect_as::<(String, f64, f64, f64)>().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn aggregate_by_key<E: Exprs>(self, aggregates: impl FnOnce(&[Expr]) -> E) -> Result<Dataset> {
        let aggregates = aggregates(&self.value).into_exprs();
        aggregate(self.data.frame, self.key, aggregates)
    }
}
