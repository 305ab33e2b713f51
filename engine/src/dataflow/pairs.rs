//! Pairs as rows: `rows`, `keys`, `values`, `map_values`, and running what was mapped.

use datafusion::common::Column;
use datafusion::logical_expr::Expr;

use super::map::Exprs;
use super::{Dataset, FromRow, KeyValues, Rows};
use crate::Result;

/// The name of part `index` of a key: that of its column, or one that says where it stands.
pub(super) fn key_name(index: usize, part: &Expr) -> String {
    match part {
        Expr::Column(column) => column.name.clone(),
        Expr::Alias(alias) => alias.name.clone(),
        _ => format!("key_{index}"),
    }
}

/// The name of part `index` of a value: the one that it was given, or one that says where it stands.
pub(super) fn value_name(index: usize, part: &Expr) -> String {
    match part {
        Expr::Alias(alias) => alias.name.clone(),
        _ => format!("value_{index}"),
    }
}

/// The expression that an alias names.
pub(super) fn unalias(part: Expr) -> Expr {
    match part {
        Expr::Alias(alias) => *alias.expr,
        part => part,
    }
}

/// The parts under the names that `name` gives them.
pub(super) fn named(parts: Vec<Expr>, name: impl Fn(usize, &Expr) -> String) -> Vec<Expr> {
    let named = parts.into_iter().enumerate().map(|(index, part)| {
        let name = name(index, &part);
        match part {
            // An alias of an alias would be shown twice, and one of a column's own name is none.
            Expr::Alias(alias) => alias.expr.alias(name),
            Expr::Column(column) if column.name == name => Expr::Column(column),
            part => part.alias(name),
        }
    });
    named.collect()
}

/// A column by its plain name, whatever characters it has.
pub(super) fn column(name: impl Into<String>) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

impl KeyValues {
    /// The pairs as rows: the parts of the key under the names of their columns (or `key_0`, …), then those of the
    /// value as `value_0`, …, unless they have an alias.
    pub fn rows(self) -> Result<Dataset> {
        let mut columns = named(self.key, key_name);
        columns.extend(named(self.value, value_name));
        Ok(Dataset::new(self.data.frame.select(columns)?))
    }

    /// The keys, one row a pair.
    pub fn keys(self) -> Result<Dataset> {
        Ok(Dataset::new(self.data.frame.select(named(self.key, key_name))?))
    }

    /// The values, one row a pair.
    pub fn values(self) -> Result<Dataset> {
        Ok(Dataset::new(self.data.frame.select(named(self.value, value_name))?))
    }

    /// The same keys with other values: those that `map` makes of the parts of each value.
    #[must_use]
    pub fn map_values<E: Exprs>(self, map: impl FnOnce(&[Expr]) -> E) -> Self {
        let value = map(&self.value).into_exprs();
        Self { value, ..self }
    }

    /// Runs the plan and brings the pairs here, as [`rows`](Self::rows).
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
