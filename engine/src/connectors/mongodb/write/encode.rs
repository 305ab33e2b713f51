//! Rows of Arrow batches as upserts in BSON.
//!
//! A column's BSON type follows from its Arrow type and from its mark ([`kind`](crate::connectors::mongodb::schema::kind)): text
//! that is marked as ObjectIds is written as ObjectIds. What MongoDB cannot hold exactly is an error that names the row: an unsigned number
//! above 2^63, a decimal with more than 34 digits. Times are BSON dates, in milliseconds: what is finer is cut off.

use std::str::FromStr;

use arrow::array::{Array, AsArray, GenericListArray, OffsetSizeTrait, RecordBatch, StructArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Field, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use bson::oid::ObjectId;
use bson::raw::{CString, RawArrayBuf, RawDocumentBuf, cstr};
use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, Decimal128, RawBson};
use firesteel_common::mongodb::bulk;

use crate::config::WriteConfig;
use crate::connectors::mongodb::read::decode::{decimal, json};
use crate::connectors::mongodb::schema::kind::{BsonKind, nulls_are_absent};
use crate::{Error, Result};

/// Turns rows of a table into upserts.
#[derive(Debug)]
pub(super) struct Encoder {
    collection: String,
    columns: Vec<Column>,
    /// Positions of the key fields.
    keys: Vec<usize>,
    ignore_nulls: bool,
}

#[derive(Debug)]
struct Column {
    name: CString,
    field: Field,
}

impl Encoder {
    /// An encoder of rows of `schema`, which has every key field.
    pub(super) fn new(collection: &str, schema: &Schema, config: &WriteConfig) -> Result<Self> {
        let invalid = |message: String| Error::InvalidWrite { collection: collection.to_owned(), message };
        let mut columns = Vec::new();
        for field in schema.fields() {
            let name =
                CString::try_from(field.name().as_str()).map_err(|error| invalid(error.to_string()))?;
            columns.push(Column { name, field: field.as_ref().clone() });
        }
        let position = |key: &String| {
            let found = schema.index_of(key);
            found.map_err(|_| invalid(format!("the table has no column for the key field `{key}`")))
        };
        let keys = config.key_fields.iter().map(position).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(invalid("without a key field a document cannot be written twice safely".to_owned()));
        }
        Ok(Self { collection: collection.to_owned(), columns, keys, ignore_nulls: config.ignore_nulls })
    }

    /// The upsert of a row: `{q: {key: {$eq: …}}, u: document, upsert: true}`.
    pub(super) fn upsert(&self, batch: &RecordBatch, row: usize) -> Result<RawDocumentBuf> {
        let (mut query, mut document) = (RawDocumentBuf::new(), RawDocumentBuf::new());
        let by_id = self.keys.iter().any(|key| self.columns[*key].field.name() == "_id");
        for (index, column) in self.columns.iter().enumerate() {
            let name = column.field.name();
            let value = value(batch.column(index), row, &column.field)
                .map_err(|reason| self.invalid(batch, row, format!("`{name}`: {reason}")))?;
            if self.keys.contains(&index) {
                if matches!(value, RawBson::Null) {
                    return Err(self.invalid(batch, row, format!("its key `{name}` is null")));
                }
                let mut equals = RawDocumentBuf::new();
                equals.append(cstr!("$eq"), &value);
                query.append(&column.name, equals);
            } else if matches!(value, RawBson::Null)
                && (self.ignore_nulls || nulls_are_absent(&column.field) || (name == "_id" && !by_id))
            {
                // Without an `_id` a document keeps the one that it has, or the server makes one.
                continue;
            }
            document.append(&column.name, value);
        }
        Ok(bulk::upsert(query, document))
    }

    fn invalid(&self, batch: &RecordBatch, row: usize, message: String) -> Error {
        Error::InvalidRow { collection: self.collection.clone(), row: self.describe(batch, row), message }
    }

    /// A row for a message: its first values, as far as they fit in a line.
    fn describe(&self, batch: &RecordBatch, row: usize) -> String {
        let mut told = String::new();
        for (column, array) in self.columns.iter().zip(batch.columns()) {
            let value = arrow::util::display::array_value_to_string(array, row).unwrap_or_default();
            let value: String = value.chars().take(40).collect();
            let value = if array.is_null(row) { "null".to_owned() } else { value };
            let part = format!("{}: {value}", column.field.name());
            if told.len() + part.len() > 200 {
                told.push_str(", …");
                break;
            }
            if !told.is_empty() {
                told.push_str(", ");
            }
            told.push_str(&part);
        }
        told
    }
}

/// The value at `row`, as `field` declares it; an error says what cannot be written.
fn value(array: &dyn Array, row: usize, field: &Field) -> Result<RawBson, String> {
    if array.is_null(row) {
        return Ok(RawBson::Null);
    }
    let date = |millis: i64| Ok(RawBson::DateTime(DateTime::from_millis(millis)));
    macro_rules! primitive {
        ($kind:ty) => {
            array.as_primitive::<$kind>().value(row)
        };
    }
    match array.data_type() {
        DataType::Null => Ok(RawBson::Null),
        DataType::Boolean => Ok(RawBson::Boolean(array.as_boolean().value(row))),
        DataType::Int8 => Ok(RawBson::Int32(primitive!(Int8Type).into())),
        DataType::Int16 => Ok(RawBson::Int32(primitive!(Int16Type).into())),
        DataType::Int32 => Ok(RawBson::Int32(primitive!(Int32Type))),
        DataType::Int64 => Ok(RawBson::Int64(primitive!(Int64Type))),
        DataType::UInt8 => Ok(RawBson::Int32(primitive!(UInt8Type).into())),
        DataType::UInt16 => Ok(RawBson::Int32(primitive!(UInt16Type).into())),
        DataType::UInt32 => Ok(RawBson::Int64(primitive!(UInt32Type).into())),
        DataType::UInt64 => {
            let value = primitive!(UInt64Type);
            i64::try_from(value).map(RawBson::Int64).map_err(|_| format!("{value} is too large for a long"))
        }
        DataType::Float16 => Ok(RawBson::Double(primitive!(Float16Type).to_f64())),
        DataType::Float32 => Ok(RawBson::Double(primitive!(Float32Type).into())),
        DataType::Float64 => Ok(RawBson::Double(primitive!(Float64Type))),
        DataType::Decimal128(_, scale) => {
            decimal::to_decimal128(primitive!(Decimal128Type), *scale).map(RawBson::Decimal128)
        }
        DataType::Decimal256(..) | DataType::Decimal32(..) | DataType::Decimal64(..) => {
            let text = arrow::util::display::array_value_to_string(array, row);
            let text = text.map_err(|error| error.to_string())?;
            let decimal = Decimal128::from_str(&text).map_err(|error| format!("{text}: {error}"))?;
            Ok(RawBson::Decimal128(decimal))
        }
        DataType::Utf8 => text(array.as_string::<i32>().value(row), field),
        DataType::LargeUtf8 => text(array.as_string::<i64>().value(row), field),
        DataType::Utf8View => text(array.as_string_view().value(row), field),
        DataType::Binary => Ok(binary(array.as_binary::<i32>().value(row), field)),
        DataType::LargeBinary => Ok(binary(array.as_binary::<i64>().value(row), field)),
        DataType::BinaryView => Ok(binary(array.as_binary_view().value(row), field)),
        DataType::FixedSizeBinary(_) => Ok(binary(array.as_fixed_size_binary().value(row), field)),
        DataType::Date32 => date(i64::from(primitive!(Date32Type)) * 86_400_000),
        DataType::Date64 => date(primitive!(Date64Type)),
        DataType::Timestamp(TimeUnit::Second, _) => {
            let seconds = primitive!(TimestampSecondType);
            seconds.checked_mul(1_000).map_or_else(|| Err(format!("{seconds} s is out of range")), date)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => date(primitive!(TimestampMillisecondType)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            date(primitive!(TimestampMicrosecondType).div_euclid(1_000))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            date(primitive!(TimestampNanosecondType).div_euclid(1_000_000))
        }
        DataType::Struct(_) => structure(array.as_struct(), row, field),
        DataType::List(_) => list(array.as_list::<i32>(), row, field),
        DataType::LargeList(_) => list(array.as_list::<i64>(), row, field),
        DataType::FixedSizeList(..) => elements(array.as_fixed_size_list().value(row).as_ref(), field),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied().unwrap_or_default();
            value(dictionary.values().as_ref(), key, field)
        }
        other => Err(format!("type {other} cannot be written to MongoDB")),
    }
}

fn text(text: &str, field: &Field) -> Result<RawBson, String> {
    match BsonKind::of(field) {
        Some(BsonKind::ObjectId) => ObjectId::from_str(text)
            .map(RawBson::ObjectId)
            .map_err(|_| format!("{text:?} is no ObjectId, 24 hex digits")),
        Some(BsonKind::Symbol) => Ok(RawBson::Symbol(text.to_owned())),
        Some(BsonKind::Extended) => {
            json::parse(text).map_err(|reason| format!("{text:?} is no extended JSON: {reason}"))
        }
        Some(BsonKind::Any | BsonKind::Binary(_)) | None => Ok(RawBson::String(text.to_owned())),
    }
}

fn binary(bytes: &[u8], field: &Field) -> RawBson {
    let subtype = match BsonKind::of(field) {
        Some(BsonKind::Binary(subtype)) => subtype.into(),
        _ => BinarySubtype::Generic,
    };
    RawBson::Binary(Binary { subtype, bytes: bytes.to_vec() })
}

/// A nested document. Its fields are declared by the table where it declares a structure, else by the values.
fn structure(array: &StructArray, row: usize, field: &Field) -> Result<RawBson, String> {
    let declared = match field.data_type() {
        DataType::Struct(fields) if fields.len() == array.num_columns() => fields,
        _ => array.fields(),
    };
    let mut document = RawDocumentBuf::new();
    for (field, column) in declared.iter().zip(array.columns()) {
        let name = CString::try_from(field.name().as_str()).map_err(|error| error.to_string())?;
        let value =
            value(column.as_ref(), row, field).map_err(|reason| format!("`{}`: {reason}", field.name()))?;
        if matches!(value, RawBson::Null) && nulls_are_absent(field) {
            continue;
        }
        document.append(&name, value);
    }
    Ok(RawBson::Document(document))
}

fn list<O: OffsetSizeTrait>(
    array: &GenericListArray<O>,
    row: usize,
    field: &Field,
) -> Result<RawBson, String> {
    elements(array.value(row).as_ref(), field)
}

fn elements(array: &dyn Array, field: &Field) -> Result<RawBson, String> {
    let undeclared = Field::new_list_field(array.data_type().clone(), true);
    let declared = match field.data_type() {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            element.as_ref()
        }
        _ => &undeclared,
    };
    let mut elements = RawArrayBuf::new();
    for row in 0..array.len() {
        elements.push(value(array, row, declared)?);
    }
    Ok(RawBson::Array(elements))
}
