//! `flat_map`: turns each row into as many pairs as a list has elements.

use datafusion::common::{Column, UnnestOptions};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::LogicalPlanBuilder;

use super::Dataset;
use super::map::{Exprs, KeyValues};
use super::pairs::{column, key_name, named};
use crate::Result;

/// The column that holds one element of the list.
const ELEMENT: &str = "value_0";

impl Dataset {
    /// A pair of `key` and each element of `list`, an expression whose value is a list: such as
    /// `make_array(vec![col("label"), col("predicted")])`, or a column of lists. A row whose list is empty or null gives
    /// no pair.
    pub fn flat_map(
        self,
        key: impl Exprs,
        list: impl Into<datafusion::logical_expr::Expr>,
    ) -> Result<KeyValues> {
        let key = key.into_exprs();
        let names: Vec<String> = key.iter().enumerate().map(|(index, part)| key_name(index, part)).collect();
        let mut columns = named(key, key_name);
        columns.push(list.into().alias(ELEMENT));
        let (state, plan) = self.frame.select(columns)?.into_parts();
        let lists = vec![Column::new_unqualified(ELEMENT)];
        // As Spark's: an empty list is no row at all.
        let options = UnnestOptions::new().with_preserve_nulls(false);
        let plan = LogicalPlanBuilder::from(plan).unnest_columns_with_options(lists, options)?.build()?;
        Ok(KeyValues {
            data: Self::new(DataFrame::new(state, plan)),
            key: names.into_iter().map(column).collect(),
            value: vec![column(ELEMENT)],
        })
    }
}
