//! How long ranges are, without making them.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{DataType, IntervalMonthDayNanoType};

use super::columns::Column;

/// How many elements a range has.
pub(super) fn elements_of_range(columns: &[Column], row: usize) -> u128 {
    let number = |index: usize| columns.get(index).and_then(|column| column.number(row));
    let (from, to) = match (columns.len(), number(0), number(1)) {
        (1, Some(to), _) => (0, to),
        (_, Some(from), Some(to)) => (from, to),
        _ => return 0,
    };
    let distance = from.abs_diff(to);
    let Some(last) = columns.get(2) else { return distance + 1 };
    let step = match last.values.data_type() {
        DataType::Interval(_) => {
            let unit = columns.first().map_or(1, |column| nanoseconds(column.values.data_type()));
            return distance.saturating_mul(unit) / interval(last, row).max(1) + 1;
        }
        _ => number(2).unwrap_or_default().unsigned_abs(),
    };
    // A step of nothing is an error of the function's own.
    distance.checked_div(step).map_or(0, |steps| steps + 1)
}

/// The nanoseconds of one unit of a date or a time.
fn nanoseconds(data_type: &DataType) -> u128 {
    use arrow::datatypes::TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    match data_type {
        DataType::Date32 => DAY,
        DataType::Timestamp(Second, _) => 1_000_000_000,
        DataType::Date64 | DataType::Timestamp(Millisecond, _) => 1_000_000,
        DataType::Timestamp(Microsecond, _) => 1_000,
        DataType::Timestamp(Nanosecond, _) => 1,
        _ => 1,
    }
}

const DAY: u128 = 86_400_000_000_000;

/// The nanoseconds of an interval, at least. One whose parts have different signs may be as good as nothing.
fn interval(column: &Column, row: usize) -> u128 {
    let Some(values) = column.values.as_primitive_opt::<IntervalMonthDayNanoType>() else { return 1 };
    let row = column.row(row);
    if row >= values.len() || values.is_null(row) {
        return u128::MAX;
    }
    let value = values.value(row);
    let parts =
        [i64::from(value.months).signum(), i64::from(value.days).signum(), value.nanoseconds.signum()];
    if parts.contains(&1) && parts.contains(&-1) {
        return 1;
    }
    u128::from(value.months.unsigned_abs()) * 28 * DAY
        + u128::from(value.days.unsigned_abs()) * DAY
        + u128::from(value.nanoseconds.unsigned_abs())
}
