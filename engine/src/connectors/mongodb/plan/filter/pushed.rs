//! A filter as the server gets it, and a column as the server sees it.

use arrow::datatypes::{DataType, Schema, TimeUnit};
use bson::{Bson, DateTime, Document, doc};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};

use crate::connectors::mongodb::schema::kind::BsonKind;

/// A query, and whether it needs a second look.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pushed {
    /// Matches exactly the rows that the expression is true for.
    Exact(Document),
    /// Matches these and perhaps more.
    Inexact(Document),
}

impl Pushed {
    /// What DataFusion is told about the filter.
    pub(crate) fn support(&self) -> TableProviderFilterPushDown {
        match self {
            Self::Exact(_) => TableProviderFilterPushDown::Exact,
            Self::Inexact(_) => TableProviderFilterPushDown::Inexact,
        }
    }

    /// The same query, whose answer the engine looks at again.
    pub(crate) fn rechecked(self) -> Self {
        Self::Inexact(self.query())
    }

    /// The query for all of several filters; `None` where there are none.
    pub(crate) fn all(filters: impl IntoIterator<Item = Self>) -> Option<Document> {
        let mut queries: Vec<Document> = filters.into_iter().map(Self::query).collect();
        match queries.len() {
            0 => None,
            1 => queries.pop(),
            _ => Some(doc! { "$and": queries }),
        }
    }

    fn query(self) -> Document {
        match self {
            Self::Exact(query) | Self::Inexact(query) => query,
        }
    }

    /// `operator` over both queries.
    pub(super) fn join(self, operator: &str, other: Self) -> Self {
        let exact = matches!((&self, &other), (Self::Exact(_), Self::Exact(_)));
        let (left, right) = (self.query(), other.query());
        let query = match either(&left, &right).filter(|_| operator == "$or") {
            Some(query) => query,
            None => doc! { operator: [left, right] },
        };
        if exact { Self::Exact(query) } else { Self::Inexact(query) }
    }
}

/// One of several values of one field, as the list that the optimizer made alternatives of: an index finds those at once.
fn either(left: &Document, right: &Document) -> Option<Document> {
    let values = |query: &Document| {
        let (field, condition) = query.iter().next().filter(|_| query.len() == 1)?;
        let condition = condition.as_document().filter(|condition| condition.len() == 1)?;
        let values = match (condition.get("$eq"), condition.get("$in")) {
            (Some(value), None) => vec![value.clone()],
            (None, Some(Bson::Array(values))) => values.clone(),
            _ => return None,
        };
        Some((field.clone(), values))
    };
    let ((field, mut all), (other, more)) = (values(left)?, values(right)?);
    all.extend(more);
    (field == other).then(|| doc! { field: { "$in": all } })
}

/// A column as MongoDB sees it.
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) data_type: &'a DataType,
}

impl<'a> Field<'a> {
    pub(super) fn of(expr: &'a Expr, schema: &'a Schema) -> Option<Self> {
        let Expr::Column(column) = expr else { return None };
        let field = schema.field_with_name(column.name()).ok()?;
        // Documents hold something else than the text that the engine sees, and an array matches by its elements.
        if BsonKind::of(field).is_some() || field.data_type().is_nested() {
            return None;
        }
        Some(Self { name: field.name(), data_type: field.data_type() })
    }

    pub(super) fn matches(&self, condition: impl Into<Bson>) -> Document {
        doc! { self.name: condition.into() }
    }

    /// A literal as a BSON value that compares with this column as SQL would. A null compares with nothing.
    pub(super) fn value(&self, value: &ScalarValue) -> Option<Bson> {
        match (self.data_type, value) {
            (
                DataType::Utf8,
                ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text),
            ) => text.clone().map(Bson::String),
            (DataType::Boolean, ScalarValue::Boolean(flag)) => flag.map(Bson::Boolean),
            (DataType::Int32 | DataType::Int64, value) => integer(value).map(Bson::Int64),
            (DataType::Float64, ScalarValue::Float64(double)) => {
                double.filter(|double| !double.is_nan()).map(Bson::Double)
            }
            (DataType::Timestamp(TimeUnit::Millisecond, _), ScalarValue::TimestampMillisecond(millis, _)) => {
                millis.map(|millis| Bson::DateTime(DateTime::from_millis(millis)))
            }
            _ => None,
        }
    }
}

fn integer(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(value) => value.map(i64::from),
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) => value.map(i64::from),
        ScalarValue::Int64(value) => *value,
        ScalarValue::UInt8(value) => value.map(i64::from),
        ScalarValue::UInt16(value) => value.map(i64::from),
        ScalarValue::UInt32(value) => value.map(i64::from),
        ScalarValue::UInt64(value) => value.and_then(|value| i64::try_from(value).ok()),
        _ => None,
    }
}
