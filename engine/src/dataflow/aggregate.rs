//! What all reductions lower to: an aggregation, and a projection that names its columns, as SQL's `GROUP BY` does.

use datafusion::common::Column;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::Expr;

use super::Dataset;
use super::pairs::{key_name, unalias, value_name};
use crate::Result;

/// One row for each `key`, with its `values`, which are aggregates.
pub(super) fn aggregate(frame: DataFrame, key: Vec<Expr>, values: Vec<Expr>) -> Result<Dataset> {
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
