//! [`KeyValues`]: pairs of a key and a value that are not computed yet, and the reductions by key.
//!
//! All reductions lower to an aggregation and a projection that names its columns, as SQL's `GROUP BY` does. Each
//! partition reduces its own rows first, so what is sent between machines is one row per key and partition.

use datafusion::common::{Column, UnnestOptions};
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::{array_agg, count};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};

use super::expr::{column, key_name, named, unalias, value_name};
use super::{Dataset, Exprs, FromRow, Reducers, Rows};
use crate::{Error, Result};

/// The column that [`Dataset::flat_map`] unnests: one element of the list per row.
const ELEMENT: &str = "value_0";

/// Pairs of a key and a value, not yet computed.
#[derive(Clone, Debug)]
pub struct KeyValues {
    pub(super) data: Dataset,
    pub(super) key: Vec<Expr>,
    pub(super) value: Vec<Expr>,
}

/// Transformations to pairs.
impl Dataset {
    /// Turns each row into a pair of `key` and `value`. Both may be tuples of expressions.
    pub fn map(self, key: impl Exprs, value: impl Exprs) -> KeyValues {
        KeyValues { data: self, key: key.into_exprs(), value: value.into_exprs() }
    }

    /// Turns each row into one pair of `key` and element for every element of `list`, which is an expression whose
    /// value is a list: such as `make_array(vec![col("label"), col("predicted")])`, or a column of lists. A row whose
    /// list is empty or null gives no pair.
    pub fn flat_map(self, key: impl Exprs, list: impl Into<Expr>) -> Result<KeyValues> {
        let key = key.into_exprs();
        let names: Vec<String> = key.iter().enumerate().map(|(index, part)| key_name(index, part)).collect();
        let mut columns = named(key, key_name);
        columns.push(list.into().alias(ELEMENT));
        let (state, plan) = self.into_frame().select(columns)?.into_parts();
        let lists = vec![Column::new_unqualified(ELEMENT)];
        // As in Spark, an empty list gives no row.
        let options = UnnestOptions::new().with_preserve_nulls(false);
        let plan = LogicalPlanBuilder::from(plan).unnest_columns_with_options(lists, options)?.build()?;
        Ok(KeyValues {
            data: Dataset::new(DataFrame::new(state, plan)),
            key: names.into_iter().map(column).collect(),
            value: vec![column(ELEMENT)],
        })
    }
}

/// Transformations.
impl KeyValues {
    /// Keeps the pairs whose row satisfies `predicate`, which names columns of the row.
    pub fn filter(self, predicate: Expr) -> Result<Self> {
        Ok(Self { data: self.data.filter(predicate)?, ..self })
    }

    /// Replaces each value by what `map` makes of its parts. The keys stay.
    #[must_use]
    pub fn map_values<E: Exprs>(self, map: impl FnOnce(&[Expr]) -> E) -> Self {
        let value = map(&self.value).into_exprs();
        Self { value, ..self }
    }

    /// Turns the pairs into rows: the parts of the key under the names of their columns (or `key_0`, …), then those of
    /// the value as `value_0`, …, unless they have an alias.
    pub fn rows(self) -> Result<Dataset> {
        let mut columns = named(self.key, key_name);
        columns.extend(named(self.value, value_name));
        Ok(Dataset::new(self.data.frame.select(columns)?))
    }

    /// Returns the keys, one row per pair.
    pub fn keys(self) -> Result<Dataset> {
        Ok(Dataset::new(self.data.frame.select(named(self.key, key_name))?))
    }

    /// Returns the values, one row per pair.
    pub fn values(self) -> Result<Dataset> {
        Ok(Dataset::new(self.data.frame.select(named(self.value, value_name))?))
    }

    /// Turns the pairs into rows sorted by key: see [`Dataset::sort_by`] and [`rows`](Self::rows).
    pub fn sort_by_key(self, ascending: bool) -> Result<Dataset> {
        let keys: Vec<_> =
            self.key.iter().enumerate().map(|(index, part)| column(key_name(index, part))).collect();
        self.rows()?.sort_by(keys, ascending)
    }
}

/// Reductions.
impl KeyValues {
    /// Reduces the values of each key to one row: the parts of the key, then one reduced value for each part of the
    /// value. `reducers` is one [`Reducer`](super::Reducer) for all parts, or a tuple with one for each.
    pub fn reduce_by_key(self, reducers: impl Reducers) -> Result<Dataset> {
        let reducers = reducers.into_reducers(self.value.len());
        if reducers.len() != self.value.len() {
            return Err(Error::Reducers { values: self.value.len(), reducers: reducers.len() });
        }
        let reduced = self.value.into_iter().zip(reducers).enumerate().map(|(index, (value, reducer))| {
            let name = value_name(index, &value);
            reducer.apply(unalias(value)).alias(name)
        });
        aggregate(self.data.frame, self.key, reduced.collect())
    }

    /// Counts the pairs of each key: a row has the parts of the key, then the count.
    pub fn count_by_key(self) -> Result<Dataset> {
        aggregate(self.data.frame, self.key, vec![count(lit(1_i64)).alias("count")])
    }

    /// Aggregates the values of each key: a row has the parts of the key, then one column for each aggregate that
    /// `aggregates` makes of the parts of the value. Any aggregate function will do, also one that the program
    /// registered: see [`Session::call`](crate::Session::call).
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

    /// Collects the values of each key: a row has the parts of the key, then a list of values for each part of the
    /// value, in no particular order.
    ///
    /// All values of a key are brought to one executor: a reduction, where it answers the same question, is much
    /// cheaper.
    pub fn group_by_key(self) -> Result<Dataset> {
        self.aggregate_by_key(|value| value.iter().cloned().map(array_agg).collect::<Vec<_>>())
    }
}

/// Actions.
impl KeyValues {
    /// Runs the plan and collects the pairs as [`rows`](Self::rows).
    pub async fn collect(self) -> Result<Rows> {
        self.rows()?.collect().await
    }

    /// Runs the plan and converts each pair, such as to `(String, i64)`.
    pub async fn collect_as<T: FromRow>(self) -> Result<Vec<T>> {
        self.rows()?.collect_as().await
    }

    /// Runs the plan and counts the pairs.
    pub async fn count(self) -> Result<u64> {
        self.data.count().await
    }
}

/// Builds one row per `key` with its `values`, which are aggregates.
fn aggregate(frame: DataFrame, key: Vec<Expr>, values: Vec<Expr>) -> Result<Dataset> {
    let names: Vec<String> = (key.iter().enumerate().map(|(index, part)| key_name(index, part)))
        .chain(values.iter().enumerate().map(|(index, part)| value_name(index, part)))
        .collect();
    let keys: Vec<Expr> = key.into_iter().map(unalias).collect();
    // An aggregation computes equal aggregates once and has no two columns of one name.
    let mut aggregates: Vec<Expr> = Vec::with_capacity(values.len());
    let places: Vec<usize> = values
        .into_iter()
        .map(unalias)
        .map(|value| {
            aggregates.iter().position(|known| *known == value).unwrap_or_else(|| {
                aggregates.push(value);
                aggregates.len() - 1
            })
        })
        .collect();
    let (parts, count) = (keys.len(), aggregates.len());
    let frame = frame.aggregate(keys, aggregates)?;

    let schema = frame.schema().clone();
    let first = schema.fields().len() - count;
    let places = (0..parts).chain(places.into_iter().map(|place| first + place));
    let columns = places.zip(names).map(|(place, name)| {
        let column = Column::from(schema.qualified_field(place));
        let named = column.name == name;
        let column = Expr::Column(column);
        if named { column } else { column.alias(name) }
    });
    Ok(Dataset::new(frame.select(columns.collect::<Vec<_>>())?))
}
