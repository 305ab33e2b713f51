//! Columns whose values every output format can print.
//!
//! Arrow's writers print a time by a calendar that ends with the year 262142, and stop, or write an error in its place,
//! where a value lies beyond: JavaScript's largest date, which is often used for "never", is one. JSON has no names for
//! infinities, no keys but texts, and no use for one key twice. So before a batch is printed, times become texts here that
//! never fail, and for JSON every column gets a key of its own.
//!
//! A time beyond Arrow's calendar is written as ISO 8601 has it for long years: `+275760-09-13T00:00:00Z`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, FixedSizeListArray, Float16Array, Float32Array, Float64Array,
    GenericListArray, MapArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Field, FieldRef, Fields, Schema, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};

type Result<T> = std::result::Result<T, ArrowError>;

/// The batch with times as texts.
pub(super) fn readable(batch: &RecordBatch) -> Result<RecordBatch> {
    convert(batch, false)
}

/// The batch with times as texts, keys of maps as texts, and a key of its own for each column and each part of a Struct.
pub(super) fn json(batch: &RecordBatch) -> Result<RecordBatch> {
    convert(batch, true)
}

fn convert(batch: &RecordBatch, for_json: bool) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| column_of(column, for_json));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let fields = fields(batch.schema_ref().fields(), &columns, for_json);
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// The fields of converted columns.
fn fields(given: &Fields, columns: &[ArrayRef], for_json: bool) -> Fields {
    let names = if for_json { unique(given) } else { names(given) };
    let fields = given.iter().zip(columns).zip(names);
    fields.map(|((field, column), name)| retyped(field, column).with_name(name)).collect()
}

fn retyped(field: &Field, column: &ArrayRef) -> Field {
    field.clone().with_data_type(column.data_type().clone())
}

fn names(fields: &Fields) -> Vec<String> {
    fields.iter().map(|field| field.name().clone()).collect()
}

/// The names of fields; one that was there before gets a number: `k`, `k_2`.
fn unique(fields: &Fields) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let all: HashSet<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    let name = |field: &FieldRef| {
        let mut name = field.name().clone();
        let mut number = 2_usize;
        while taken.contains(&name) || (number > 2 && all.contains(name.as_str())) {
            name = format!("{}_{number}", field.name());
            number += 1;
        }
        taken.insert(name.clone());
        name
    };
    fields.iter().map(name).collect()
}

fn column_of(column: &ArrayRef, for_json: bool) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Struct(given) => {
            let array = column.as_struct();
            if given.is_empty() {
                return Ok(Arc::clone(column));
            }
            let columns = array.columns().iter().map(|column| column_of(column, for_json));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let fields = fields(given, &columns, for_json);
            Arc::new(StructArray::try_new(fields, columns, array.nulls().cloned())?)
        }
        DataType::List(item) => list(column.as_list::<i32>(), item, for_json)?,
        DataType::LargeList(item) => list(column.as_list::<i64>(), item, for_json)?,
        DataType::FixedSizeList(item, size) => {
            let array = column.as_fixed_size_list();
            let values = column_of(array.values(), for_json)?;
            let item = Arc::new(retyped(item, &values));
            Arc::new(FixedSizeListArray::try_new(item, *size, values, array.nulls().cloned())?)
        }
        DataType::Map(entries, sorted) => map(column.as_map(), entries, *sorted, for_json)?,
        DataType::Dictionary(_, values) => column_of(&cast(column, values)?, for_json)?,
        DataType::RunEndEncoded(_, values) => column_of(&cast(column, values.data_type())?, for_json)?,
        DataType::Union(..) | DataType::ListView(_) | DataType::LargeListView(_) => Arc::new(texts(column)?),
        data_type if data_type.is_temporal() => Arc::new(texts(column)?),
        _ => Arc::clone(column),
    })
}

fn list<O: OffsetSizeTrait>(
    array: &GenericListArray<O>,
    item: &FieldRef,
    for_json: bool,
) -> Result<ArrayRef> {
    let values = column_of(array.values(), for_json)?;
    let item = Arc::new(retyped(item, &values));
    Ok(Arc::new(GenericListArray::try_new(item, array.offsets().clone(), values, array.nulls().cloned())?))
}

fn map(array: &MapArray, entries: &FieldRef, sorted: bool, for_json: bool) -> Result<ArrayRef> {
    let values = column_of(array.values(), for_json)?;
    let keys = if for_json && !array.keys().data_type().is_string() {
        Arc::new(texts(array.keys())?) as ArrayRef
    } else {
        column_of(array.keys(), for_json)?
    };
    let columns = vec![keys, values];
    let fields = fields(array.entries().fields(), &columns, for_json);
    let entries_of = StructArray::try_new(fields, columns, array.entries().nulls().cloned())?;
    let entries = Arc::new(entries.as_ref().clone().with_data_type(entries_of.data_type().clone()));
    Ok(Arc::new(MapArray::try_new(
        entries,
        array.offsets().clone(),
        entries_of,
        array.nulls().cloned(),
        sorted,
    )?))
}

/// Each value as a text; a null stays one.
fn texts(column: &ArrayRef) -> Result<StringArray> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let text = |row: usize| {
        if column.is_null(row) {
            return Ok(None);
        }
        match formatter.value(row).try_to_string() {
            Ok(text) => Ok(Some(text)),
            Err(error) => beyond(column, row).map(Some).ok_or(error),
        }
    };
    (0..column.len()).map(text).collect()
}

/// A time that Arrow has no text for.
fn beyond(column: &ArrayRef, row: usize) -> Option<String> {
    macro_rules! value {
        ($kind:ty) => {
            i128::from(column.as_primitive::<$kind>().value(row))
        };
    }
    Some(match column.data_type() {
        DataType::Date32 => date(value!(Date32Type)),
        DataType::Date64 => instant(value!(Date64Type), 1_000, ""),
        DataType::Timestamp(unit, zone) => {
            let zone = if zone.is_some() { "Z" } else { "" };
            match unit {
                TimeUnit::Second => instant(value!(TimestampSecondType), 1, zone),
                TimeUnit::Millisecond => instant(value!(TimestampMillisecondType), 1_000, zone),
                TimeUnit::Microsecond => instant(value!(TimestampMicrosecondType), 1_000_000, zone),
                TimeUnit::Nanosecond => instant(value!(TimestampNanosecondType), 1_000_000_000, zone),
            }
        }
        // No time of a day: the number, and of what.
        DataType::Time32(TimeUnit::Second) => format!("{} s", value!(Time32SecondType)),
        DataType::Time32(_) => format!("{} ms", value!(Time32MillisecondType)),
        DataType::Time64(TimeUnit::Microsecond) => format!("{} µs", value!(Time64MicrosecondType)),
        DataType::Time64(_) => format!("{} ns", value!(Time64NanosecondType)),
        DataType::Duration(TimeUnit::Second) => format!("{} s", value!(DurationSecondType)),
        DataType::Duration(TimeUnit::Millisecond) => format!("{} ms", value!(DurationMillisecondType)),
        DataType::Duration(TimeUnit::Microsecond) => format!("{} µs", value!(DurationMicrosecondType)),
        DataType::Duration(TimeUnit::Nanosecond) => format!("{} ns", value!(DurationNanosecondType)),
        _ => return None,
    })
}

/// A moment, in parts of a second since 1970, `per_second` of them a second.
fn instant(parts: i128, per_second: i128, zone: &str) -> String {
    const DAY: i128 = 86_400;
    let (seconds, fraction) = (parts.div_euclid(per_second), parts.rem_euclid(per_second));
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let mut text = date(days);
    // Writing to a string cannot fail.
    let _ = write!(text, "T{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60);
    if fraction > 0 {
        let digits = per_second.ilog10() as usize;
        let _ = write!(text, ".{fraction:0digits$}");
    }
    text + zone
}

/// A day of the Gregorian calendar, which has gone on for ever, in days since 1970.
///
/// By Howard Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>): eras of 400 years, which
/// begin in March.
fn date(days: i128) -> String {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    let sign = match year {
        ..0 => "-",
        0..10_000 => "",
        _ => "+",
    };
    format!("{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs())
}

/// Writes the numbers that JSON has no form for as texts: `"NaN"`, `"Infinity"`, `"-Infinity"`, as Spark does.
#[derive(Debug)]
pub(super) struct Numbers;

enum Floats<'a> {
    Half(&'a Float16Array),
    Single(&'a Float32Array),
    Double(&'a Float64Array),
}

impl Encoder for Floats<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        // Each as the shortest text that reads back as the same number of its own size.
        let (text, value) = match self {
            Self::Half(array) => {
                let value = array.value(row).to_f32();
                (format!("{value:?}"), f64::from(value))
            }
            Self::Single(array) => (format!("{:?}", array.value(row)), f64::from(array.value(row))),
            Self::Double(array) => (format!("{:?}", array.value(row)), array.value(row)),
        };
        let text = match value {
            value if value.is_nan() => "\"NaN\"",
            f64::INFINITY => "\"Infinity\"",
            f64::NEG_INFINITY => "\"-Infinity\"",
            _ => text.as_str(),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

impl EncoderFactory for Numbers {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>> {
        let floats = match array.data_type() {
            DataType::Float16 => Floats::Half(array.as_primitive()),
            DataType::Float32 => Floats::Single(array.as_primitive()),
            DataType::Float64 => Floats::Double(array.as_primitive()),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(Box::new(floats), array.nulls().cloned())))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Date64Array, DurationSecondArray, Int32Array, IntervalMonthDayNanoArray, ListArray,
        Time32SecondArray, Time64NanosecondArray, TimestampMillisecondArray, TimestampSecondArray,
    };
    use arrow::datatypes::{Int32Type, IntervalMonthDayNano};

    use super::*;

    fn printed(column: ArrayRef) -> Vec<Option<String>> {
        let column = column_of(&column, true).expect("texts");
        column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    #[track_caller]
    fn check(column: impl Array + 'static, expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|text| Some((*text).to_owned())).collect();
        assert_eq!(printed(Arc::new(column)), expected);
    }

    #[test]
    fn times_beyond_the_calendar_are_written_with_long_years() {
        // JavaScript's largest and smallest dates, and the ends of the types.
        let millis = vec![0, 1_500, 8_640_000_000_000_000, -8_640_000_000_000_000, i64::MAX, i64::MIN];
        check(
            TimestampMillisecondArray::from(millis.clone()).with_timezone("UTC"),
            &[
                "1970-01-01T00:00:00Z",
                "1970-01-01T00:00:01.500Z",
                "+275760-09-13T00:00:00Z",
                "-271821-04-20T00:00:00Z",
                "+292278994-08-17T07:12:55.807Z",
                "-292275055-05-16T16:47:04.192Z",
            ],
        );
        check(TimestampMillisecondArray::from(millis[2..3].to_vec()), &["+275760-09-13T00:00:00"]);
        check(
            TimestampMillisecondArray::from(millis[2..3].to_vec()).with_timezone("+02:00"),
            &["+275760-09-13T00:00:00Z"],
        );
        check(TimestampSecondArray::from(vec![i64::MAX]), &["+292277026596-12-04T15:30:07"]);
        check(
            Date32Array::from(vec![0, i32::MAX, i32::MIN]),
            &["1970-01-01", "+5881580-07-11", "-5877641-06-23"],
        );
        check(Date64Array::from(vec![i64::MAX]), &["+292278994-08-17T07:12:55.807"]);
    }

    #[test]
    fn what_is_no_time_of_a_day_and_every_interval_has_a_text() {
        check(Time32SecondArray::from(vec![86_400, -1]), &["86400 s", "-1 s"]);
        check(Time64NanosecondArray::from(vec![i64::MAX]), &["9223372036854775807 ns"]);
        let longest = IntervalMonthDayNano::new(i32::MAX, i32::MIN, i64::MAX);
        assert!(printed(Arc::new(IntervalMonthDayNanoArray::from(vec![longest])))[0].is_some());
        assert!(printed(Arc::new(DurationSecondArray::from(vec![i64::MAX, i64::MIN])))[1].is_some());
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let days: Vec<i32> = (-1_000_000..1_000_000).step_by(997).collect();
        let array: ArrayRef = Arc::new(Date32Array::from(days.clone()));
        let texts = texts(&array).expect("texts");
        for (text, day) in texts.iter().zip(days) {
            assert_eq!(text, Some(date(day.into()).as_str()), "{day}");
        }
    }

    #[test]
    fn every_column_has_a_key_of_its_own() {
        let fields = |names: &[&str]| -> Fields {
            names.iter().map(|name| Field::new(*name, DataType::Int32, true)).collect()
        };
        for (given, expected) in [
            (vec!["a", "b"], vec!["a", "b"]),
            (vec!["k", "v", "k", "k"], vec!["k", "v", "k_2", "k_3"]),
            (vec!["k", "k", "k_2"], vec!["k", "k_3", "k_2"]),
            (vec!["k_2", "k", "k", "k_2"], vec!["k_2", "k", "k_3", "k_2_2"]),
        ] {
            assert_eq!(unique(&fields(&given)), expected);
        }
    }

    #[test]
    fn parts_of_structs_and_lists_are_converted_too() {
        let never: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![8_640_000_000_000_000]));
        let field = |name: &str, column: &ArrayRef| Field::new(name, column.data_type().clone(), true);
        let twice = Fields::from(vec![field("at", &never), field("at", &never)]);
        let both: ArrayRef =
            Arc::new(StructArray::new(twice, vec![Arc::clone(&never), Arc::clone(&never)], None));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1]);
        let list: ArrayRef =
            Arc::new(ListArray::new(Arc::new(field("item", &both)), offsets, Arc::clone(&both), None));
        let batch = RecordBatch::try_from_iter([("list", list)]).expect("a batch");
        let converted = json(&batch).expect("a batch");
        let text = arrow::util::display::array_value_to_string(converted.column(0), 0).expect("a text");
        assert_eq!(text, "[{at: +275760-09-13T00:00:00, at_2: +275760-09-13T00:00:00}]");
    }

    #[test]
    fn keys_of_maps_are_texts_in_json() {
        let mut builder = arrow::array::MapBuilder::new(
            None,
            arrow::array::Int32Builder::new(),
            arrow::array::Int32Builder::new(),
        );
        builder.keys().append_value(7);
        builder.values().append_value(8);
        builder.append(true).expect("an entry");
        let map: ArrayRef = Arc::new(builder.finish());
        let converted = column_of(&map, true).expect("a map");
        assert_eq!(converted.as_map().keys().as_string::<i32>().value(0), "7");
        assert_eq!(converted.as_map().values().as_primitive::<Int32Type>(), &Int32Array::from(vec![8]));
    }
}
