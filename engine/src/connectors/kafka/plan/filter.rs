//! Which part of a predicate narrows what is read: pure functions over expressions.
//!
//! `partition` and `offset` against literals narrow exactly. A lower bound of `timestamp` narrows too, and is checked
//! again: Kafka names the first offset whose time is at least the wanted one, so no message before it is as late, in
//! whatever order the times are. An upper bound does not: a later message may well be older.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator, TableProviderFilterPushDown};

use crate::connectors::kafka::connection::log::Times;
use crate::connectors::kafka::read::spec::OffsetRange;

/// The part of a topic that filters leave: partitions and offsets, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    partitions: (i64, i64),
    /// If any, only these.
    only: Option<Vec<i64>>,
    offsets: (i64, i64),
    /// Only messages of this time, in milliseconds, or later are asked for.
    pub(crate) since: Option<i64>,
}

impl Default for Window {
    fn default() -> Self {
        let all = (i64::MIN, i64::MAX);
        Self { partitions: all, only: None, offsets: all, since: None }
    }
}

/// How well a filter narrows.
pub(crate) fn support(filter: &Expr) -> TableProviderFilterPushDown {
    match narrowing(filter) {
        Some(list) if list.iter().all(|(column, ..)| *column != "timestamp") => {
            TableProviderFilterPushDown::Exact
        }
        Some(list) if list.iter().any(|(_, op, _)| matches!(op, Op::AtLeast)) => {
            TableProviderFilterPushDown::Inexact
        }
        _ => TableProviderFilterPushDown::Unsupported,
    }
}

/// The values that a comparison leaves of a column of whole numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Op {
    AtLeast,
    AtMost,
    OneOf(Vec<i64>),
    Nothing,
}

/// A column, and what is left of it.
type Narrowing = (&'static str, Op, i64);

/// The conditions that a filter is the conjunction of; `None` where it is anything else.
fn narrowing(filter: &Expr) -> Option<Vec<Narrowing>> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let mut both = narrowing(left)?;
            both.extend(narrowing(right)?);
            Some(both)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (column(left), column(right)) {
            (Some(column), None) => compare(column, *op, literal(column, right)?),
            (None, Some(column)) => compare(column, op.swap()?, literal(column, left)?),
            _ => None,
        },
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let column = column(expr)?;
            let (low, high) = (literal(column, low)?, literal(column, high)?);
            Some(vec![(column, Op::AtLeast, low), (column, Op::AtMost, high)])
        }
        Expr::InList(list) if !list.negated => {
            let column = column(&list.expr)?;
            if column != "partition" {
                return None;
            }
            let values = list.list.iter().map(|value| literal(column, value)).collect::<Option<Vec<_>>>()?;
            Some(vec![(column, Op::OneOf(values), 0)])
        }
        _ => None,
    }
}

fn compare(column: &'static str, op: Operator, value: i64) -> Option<Vec<Narrowing>> {
    let beyond = |op: Op, value: Option<i64>| match value {
        Some(value) => vec![(column, op, value)],
        None => vec![(column, Op::Nothing, 0)],
    };
    Some(match op {
        Operator::Eq => vec![(column, Op::AtLeast, value), (column, Op::AtMost, value)],
        Operator::GtEq => vec![(column, Op::AtLeast, value)],
        Operator::LtEq => vec![(column, Op::AtMost, value)],
        // A literal may be finer than a millisecond, and was rounded down.
        Operator::Gt if column == "timestamp" => vec![(column, Op::AtLeast, value)],
        Operator::Lt if column == "timestamp" => vec![(column, Op::AtMost, value)],
        Operator::Gt => beyond(Op::AtLeast, value.checked_add(1)),
        Operator::Lt => beyond(Op::AtMost, value.checked_sub(1)),
        _ => return None,
    })
}

fn column(expr: &Expr) -> Option<&'static str> {
    let Expr::Column(column) = expr else { return None };
    ["partition", "offset", "timestamp"].into_iter().find(|name| *name == column.name)
}

/// A literal as a whole number; a time as milliseconds, rounded down.
fn literal(column: &str, expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    if column != "timestamp" {
        return match value.cast_to(&DataType::Int64).ok()? {
            ScalarValue::Int64(number) if value.data_type().is_integer() => number,
            _ => None,
        };
    }
    match value {
        // Without a zone it is another type of time, which DataFusion has yet to convert.
        ScalarValue::TimestampSecond(Some(time), Some(_)) => time.checked_mul(1_000),
        ScalarValue::TimestampMillisecond(Some(time), Some(_)) => Some(*time),
        ScalarValue::TimestampMicrosecond(Some(time), Some(_)) => Some(time.div_euclid(1_000)),
        ScalarValue::TimestampNanosecond(Some(time), Some(_)) => Some(time.div_euclid(1_000_000)),
        _ => None,
    }
}

impl Window {
    /// The window of a conjunction of filters. A filter that does not narrow leaves everything.
    pub(crate) fn of(filters: &[Expr]) -> Self {
        let mut window = Self::default();
        for (column, op, value) in filters.iter().filter_map(narrowing).flatten() {
            window.apply(column, op, value);
        }
        window
    }

    fn apply(&mut self, column: &str, op: Op, value: i64) {
        if column == "timestamp" {
            if op == Op::AtLeast {
                self.since = Some(self.since.map_or(value, |since| since.max(value)));
            }
            return;
        }
        let bounds = if column == "partition" { &mut self.partitions } else { &mut self.offsets };
        match op {
            Op::AtLeast => bounds.0 = bounds.0.max(value),
            Op::AtMost => bounds.1 = bounds.1.min(value),
            Op::Nothing => *bounds = (1, 0),
            Op::OneOf(values) => match &mut self.only {
                Some(only) => only.retain(|id| values.contains(id)),
                None => self.only = Some(values),
            },
        }
    }

    /// Leaves out what the window does not show.
    pub(crate) fn narrow(&self, ranges: &mut Vec<OffsetRange>) {
        ranges.retain_mut(|range| {
            let id = i64::from(range.partition);
            let shown = (self.partitions.0..=self.partitions.1).contains(&id)
                && self.only.as_ref().is_none_or(|only| only.contains(&id));
            range.start = range.start.max(self.offsets.0);
            range.end = range.end.min(self.offsets.1.saturating_add(1));
            shown && range.start < range.end
        });
    }
}

/// Begins each range at its time; one that does not reach it is left out.
pub(crate) fn not_before(ranges: &mut Vec<OffsetRange>, times: &Times) {
    ranges.retain_mut(|range| {
        let Some(first) = times.get(&range.partition) else { return false };
        range.start = range.start.max(*first);
        range.start < range.end
    });
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};
    use proptest::prelude::*;

    use super::*;

    fn timestamp_literal(millis: i64) -> Expr {
        Expr::Literal(ScalarValue::TimestampMillisecond(Some(millis), Some("UTC".into())), None)
    }

    fn left(filter: &Expr) -> Vec<(i32, i64, i64)> {
        let mut ranges: Vec<OffsetRange> =
            (0..4).map(|partition| OffsetRange { partition, start: 10, end: 20 }).collect();
        Window::of(std::slice::from_ref(filter)).narrow(&mut ranges);
        ranges.into_iter().map(|range| (range.partition, range.start, range.end)).collect()
    }

    #[test]
    fn partitions_and_offsets_narrow_exactly() {
        let (partition, offset) = (col("partition"), col("offset"));
        for (filter, expected) in [
            (partition.clone().eq(lit(2)), vec![(2, 10, 20)]),
            (lit(2).lt(partition.clone()), vec![(3, 10, 20)]),
            (partition.clone().in_list(vec![lit(1), lit(3), lit(9)], false), vec![(1, 10, 20), (3, 10, 20)]),
            (partition.clone().eq(lit(1)).and(offset.clone().gt_eq(lit(15_i64))), vec![(1, 15, 20)]),
            (partition.clone().eq(lit(1)).and(offset.clone().between(lit(12), lit(13))), vec![(1, 12, 14)]),
            (partition.clone().eq(lit(1)).and(offset.clone().eq(lit(19))), vec![(1, 19, 20)]),
            (offset.clone().lt(lit(10)), vec![]),
            (offset.clone().gt(lit(i64::MAX)), vec![]),
            (partition.clone().gt(lit(0)).and(partition.clone().lt(lit(0))), vec![]),
        ] {
            assert_eq!(support(&filter), TableProviderFilterPushDown::Exact, "{filter}");
            assert_eq!(left(&filter), expected, "{filter}");
        }
    }

    #[test]
    fn what_does_not_narrow_is_not_taken() {
        let (partition, offset, time) = (col("partition"), col("offset"), col("timestamp"));
        for filter in [
            partition.clone().not_eq(lit(2)),
            partition.clone().eq(lit(2)).or(offset.clone().eq(lit(3))),
            partition.clone().eq(offset.clone()),
            offset.clone().eq(lit(1.5)),
            offset.clone().gt(Expr::Literal(ScalarValue::Int64(None), None)),
            offset.clone().in_list(vec![lit(1)], false),
            partition.clone().in_list(vec![lit(1)], true),
            col("label").eq(lit("cat")),
            partition.eq(lit(1)).and(col("label").eq(lit("cat"))),
            time.clone().lt(timestamp_literal(5)),
            time.eq(lit("2026-01-01")),
        ] {
            assert_eq!(support(&filter), TableProviderFilterPushDown::Unsupported, "{filter}");
        }
    }

    #[test]
    fn a_time_narrows_from_below_and_is_checked_again() {
        let time = col("timestamp");
        for (filter, since) in [
            (time.clone().gt_eq(timestamp_literal(7)), 7),
            (time.clone().gt(timestamp_literal(7)), 7),
            (time.clone().eq(timestamp_literal(7)), 7),
            (time.clone().between(timestamp_literal(7), timestamp_literal(9)), 7),
            (timestamp_literal(7).lt(time), 7),
        ] {
            assert_eq!(support(&filter), TableProviderFilterPushDown::Inexact, "{filter}");
            assert_eq!(Window::of(std::slice::from_ref(&filter)).since, Some(since), "{filter}");
            assert_eq!(left(&filter).len(), 4, "{filter}");
        }
        let mut ranges = vec![
            OffsetRange { partition: 0, start: 10, end: 20 },
            OffsetRange { partition: 1, start: 10, end: 20 },
            OffsetRange { partition: 2, start: 10, end: 20 },
        ];
        not_before(&mut ranges, &Times::from([(0, 12), (1, 20)]));
        assert_eq!(ranges, [OffsetRange { partition: 0, start: 12, end: 20 }]);
    }

    proptest! {
        #[test]
        fn a_window_shows_what_the_comparison_lets_through(
            value in -3..25_i64, op in 0..5_usize, partition in any::<bool>(), flip in any::<bool>(),
        ) {
            let name = if partition { "partition" } else { "offset" };
            let (column, literal) = (col(name), lit(value));
            let (a, b) = if flip { (literal, column) } else { (column, literal) };
            let filter = [Expr::eq, Expr::lt, Expr::lt_eq, Expr::gt, Expr::gt_eq][op](a, b);
            let holds = |id: i64| {
                let (a, b) = if flip { (value, id) } else { (id, value) };
                [a == b, a < b, a <= b, a > b, a >= b][op]
            };
            let shown = left(&filter);
            for id in 0..4_i32 {
                for offset in 10..20_i64 {
                    let inside = shown.iter().any(|(p, start, end)| *p == id && (*start..*end).contains(&offset));
                    let expected = holds(if partition { i64::from(id) } else { offset });
                    prop_assert_eq!(inside, expected, "{} of {}:{}", filter, id, offset);
                }
            }
        }
    }
}
