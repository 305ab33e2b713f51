//! Spark's types and Arrow's.
//!
//! A timestamp in milliseconds without a time zone, as MongoDB and Kafka give it, is a point in time, as it is for Spark's
//! connectors. Other timestamps without a zone are Spark's `timestamp_ntz`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, TimeUnit};
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::data_type::{self as spark, Kind};

use super::error::{Result, SparkError};

/// The zone of points in time within the engine.
pub(super) const UTC: &str = "UTC";

/// The type of a point in time.
pub(super) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// Whether a type is that of points in time.
pub(super) fn is_instant(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(_, Some(_)) | DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, None)
    )
}

/// The type that a client gets for a type of the engine: the one that Spark would have, in Arrow's terms.
pub(super) fn delivered(data_type: &DataType) -> Result<DataType> {
    let field = |field: &FieldRef| -> Result<FieldRef> {
        Ok(Arc::new(Field::new(field.name(), delivered(field.data_type())?, field.is_nullable())))
    };
    Ok(match data_type {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        kind if is_instant(kind) => instant(),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, values) => delivered(values)?,
        DataType::RunEndEncoded(_, values) => delivered(values.data_type())?,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            DataType::List(Arc::new(Field::new("element", delivered(item.data_type())?, item.is_nullable())))
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Result<Fields>>()?),
        DataType::Map(entries, sorted) => DataType::Map(field(entries)?, *sorted),
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Interval(IntervalUnit::YearMonth)
        | DataType::Decimal128(..) => data_type.clone(),
        other => return Err(SparkError::unsupported(format!("a column of the type {other}"))),
    })
}

/// Spark's type for a type of the engine.
pub(super) fn to_spark(data_type: &DataType) -> Result<proto::DataType> {
    let kind = match delivered(data_type)? {
        DataType::Null => Kind::Null(spark::Null {}),
        DataType::Boolean => Kind::Boolean(spark::Boolean {}),
        DataType::Int8 => Kind::Byte(spark::Byte {}),
        DataType::Int16 => Kind::Short(spark::Short {}),
        DataType::Int32 => Kind::Integer(spark::Integer {}),
        DataType::Int64 => Kind::Long(spark::Long {}),
        DataType::Float32 => Kind::Float(spark::Float {}),
        DataType::Float64 => Kind::Double(spark::Double {}),
        DataType::Utf8 => Kind::String(spark::String {}),
        DataType::Binary => Kind::Binary(spark::Binary {}),
        DataType::Date32 => Kind::Date(spark::Date {}),
        DataType::Timestamp(_, Some(_)) => Kind::Timestamp(spark::Timestamp {}),
        DataType::Timestamp(_, None) => Kind::TimestampNtz(spark::TimestampNtz {}),
        DataType::Duration(_) => {
            Kind::DayTimeInterval(spark::DayTimeInterval { start_field: Some(0), end_field: Some(3) })
        }
        DataType::Interval(_) => {
            Kind::YearMonthInterval(spark::YearMonthInterval { start_field: Some(0), end_field: Some(1) })
        }
        DataType::Decimal128(precision, scale) => Kind::Decimal(spark::Decimal {
            precision: Some(i32::from(precision)),
            scale: Some(i32::from(scale)),
        }),
        DataType::List(item) => Kind::Array(Box::new(spark::Array {
            element_type: Some(Box::new(to_spark(item.data_type())?)),
            contains_null: item.is_nullable(),
        })),
        DataType::Struct(fields) => Kind::Struct(struct_of(&fields)?),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => Kind::Map(Box::new(spark::Map {
                key_type: Some(Box::new(to_spark(fields[0].data_type())?)),
                value_type: Some(Box::new(to_spark(fields[1].data_type())?)),
                value_contains_null: fields[1].is_nullable(),
            })),
            other => return Err(SparkError::unsupported(format!("a map of the type {other}"))),
        },
        other => return Err(SparkError::unsupported(format!("a column of the type {other}"))),
    };
    Ok(proto::DataType { kind: Some(kind) })
}

fn struct_of(fields: &Fields) -> Result<spark::Struct> {
    let field = |field: &FieldRef| {
        let data_type = Some(to_spark(field.data_type())?);
        let (name, nullable) = (field.name().clone(), field.is_nullable());
        Ok(spark::StructField { name, data_type, nullable, metadata: None })
    };
    Ok(spark::Struct { fields: fields.iter().map(field).collect::<Result<_>>()? })
}

/// Spark's type for all columns of rows.
pub(super) fn schema_to_spark(schema: &Schema) -> Result<proto::DataType> {
    Ok(proto::DataType { kind: Some(Kind::Struct(struct_of(schema.fields())?)) })
}

/// The engine's type for a type of Spark.
pub(super) fn from_spark(data_type: &proto::DataType) -> Result<DataType> {
    let missing = || SparkError::incomplete("a data type");
    Ok(match data_type.kind.as_ref().ok_or_else(missing)? {
        Kind::Null(_) => DataType::Null,
        Kind::Boolean(_) => DataType::Boolean,
        Kind::Byte(_) => DataType::Int8,
        Kind::Short(_) => DataType::Int16,
        Kind::Integer(_) => DataType::Int32,
        Kind::Long(_) => DataType::Int64,
        Kind::Float(_) => DataType::Float32,
        Kind::Double(_) => DataType::Float64,
        Kind::String(_) | Kind::Char(_) | Kind::VarChar(_) => DataType::Utf8,
        Kind::Binary(_) => DataType::Binary,
        Kind::Date(_) => DataType::Date32,
        Kind::Timestamp(_) => instant(),
        Kind::TimestampNtz(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::DayTimeInterval(_) => DataType::Duration(TimeUnit::Microsecond),
        Kind::YearMonthInterval(_) => DataType::Interval(IntervalUnit::YearMonth),
        Kind::Decimal(decimal) => {
            let precision =
                u8::try_from(decimal.precision.unwrap_or(10)).ok().filter(|digits| (1..=38).contains(digits));
            let scale = i8::try_from(decimal.scale.unwrap_or(0)).ok().filter(|scale| *scale >= 0);
            match (precision, scale) {
                (Some(precision), Some(scale)) if scale.unsigned_abs() <= precision => {
                    DataType::Decimal128(precision, scale)
                }
                _ => return Err(SparkError::analysis(format!("There is no {}.", ddl::name(data_type)))),
            }
        }
        Kind::Array(array) => {
            let element = from_spark(array.element_type.as_deref().ok_or_else(missing)?)?;
            DataType::List(Arc::new(Field::new("element", element, array.contains_null)))
        }
        Kind::Struct(fields) => DataType::Struct(fields_of(fields)?),
        Kind::Map(map) => {
            let key = from_spark(map.key_type.as_deref().ok_or_else(missing)?)?;
            let value = from_spark(map.value_type.as_deref().ok_or_else(missing)?)?;
            let entries =
                vec![Field::new("key", key, false), Field::new("value", value, map.value_contains_null)];
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries.into()), false)), false)
        }
        Kind::Unparsed(text) => from_spark(&ddl::parse(&text.data_type_string)?)?,
        other @ (Kind::CalendarInterval(_)
        | Kind::Variant(_)
        | Kind::Udt(_)
        | Kind::Geometry(_)
        | Kind::Geography(_)
        | Kind::Time(_)) => {
            let data_type = proto::DataType { kind: Some(other.clone()) };
            return Err(SparkError::unsupported(format!("the type {}", ddl::name(&data_type))));
        }
    })
}

fn fields_of(fields: &spark::Struct) -> Result<Fields> {
    let field = |field: &spark::StructField| {
        let data_type =
            field.data_type.as_ref().ok_or_else(|| SparkError::incomplete("the type of a field"))?;
        Ok(Field::new(&field.name, from_spark(data_type)?, field.nullable))
    };
    fields.fields.iter().map(field).collect()
}

/// The columns that a type of rows stands for.
pub(super) fn schema_from_spark(data_type: &proto::DataType) -> Result<Schema> {
    match from_spark(data_type)? {
        DataType::Struct(fields) => Ok(Schema::new(fields)),
        other => Ok(Schema::new(vec![Field::new("value", other, true)])),
    }
}

pub(super) mod ddl;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_goes_there_and_back() {
        let entries =
            vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Int64, true)];
        let entries = Arc::new(Field::new("entries", DataType::Struct(entries.into()), false));
        for data_type in [
            DataType::Boolean,
            DataType::Int8,
            DataType::Int64,
            DataType::Float32,
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            instant(),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Decimal128(12, 3),
            DataType::List(Arc::new(Field::new("element", DataType::Int32, true))),
            DataType::Struct(vec![Field::new("a", DataType::Int32, false)].into()),
            DataType::Map(entries, false),
        ] {
            assert_eq!(from_spark(&to_spark(&data_type).unwrap()).unwrap(), data_type);
        }
    }

    #[test]
    fn types_that_spark_does_not_have_become_those_that_hold_them() {
        for (ours, theirs) in [
            (DataType::UInt64, DataType::Int64),
            (DataType::Utf8View, DataType::Utf8),
            (DataType::Timestamp(TimeUnit::Millisecond, None), instant()),
            (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::LargeUtf8)), DataType::Utf8),
        ] {
            assert_eq!(delivered(&ours).unwrap(), theirs, "{ours}");
        }
        assert!(delivered(&DataType::Decimal256(50, 2)).is_err());
    }
}
