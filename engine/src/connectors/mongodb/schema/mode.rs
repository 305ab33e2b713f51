//! What becomes of a document that does not fit the schema, and what that means for pushdown.
//!
//! | mode | a value of another type | filters | limit | aggregates |
//! |---|---|---|---|---|
//! | FAILFAST | fails the query where the column is read | exact where the query is | pushed | may be pushed |
//! | PERMISSIVE | is null, and the document goes into the corrupt-record column | never exact | pushed | never pushed |
//! | DROPMALFORMED | drops the document | exact where the query is | not pushed | never pushed |
//!
//! In the last two a result depends neither on pushdown nor on which columns a query reads:
//!
//! * DROPMALFORMED checks every column of the table, whatever the query reads. What is left fits the schema, and over
//!   such documents a pushed filter is right; of the others it does not matter whether the server lets them pass.
//!   The server's limit would count documents that are dropped afterwards.
//! * PERMISSIVE takes a value that does not fit for a null. The server does not, so a filter is pushed only where a
//!   null never makes it true ([`rejects_nulls`]): then every document that the engine would keep passes the server,
//!   and the engine looks again. Where the corrupt-record column is read, every column of the table is checked, and
//!   whole documents are fetched.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::config::{ReadMode, ScanConfig};
use crate::connectors::mongodb::read::decode::exact::Written;

/// How a scan treats documents that do not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DecodeOptions {
    pub(crate) mode: ReadMode,
    /// The columns that documents are checked against, where they are not those that come out.
    pub(crate) documents: Option<SchemaRef>,
    /// The column of the output that shows documents that do not fit.
    pub(crate) corrupt_record: Option<String>,
    /// The columns that the statement writes back into a collection, and how: a value that would come back as another one
    /// is an error in any mode.
    pub(crate) written: Vec<Written>,
}

impl DecodeOptions {
    /// How a scan of `table` that yields the columns `read` treats documents.
    pub(crate) fn of(config: &ScanConfig, table: &SchemaRef, read: &Schema) -> Self {
        let name = config.corrupt_record_column.as_str();
        let (documents, corrupt_record) = match config.mode {
            ReadMode::FailFast => (None, None),
            ReadMode::Permissive if read.field_with_name(name).is_ok() => {
                (Some(Arc::new(without(table, name))), Some(name.to_owned()))
            }
            ReadMode::Permissive => (None, None),
            ReadMode::DropMalformed => (Some(Arc::clone(table)), None),
        };
        Self { mode: config.mode, documents, corrupt_record, written: Vec::new() }
    }

    /// The fields of documents that are read for a scan that yields the columns `schema`.
    pub(crate) fn columns<'a>(&'a self, schema: &'a Schema) -> Vec<&'a str> {
        let documents = self.documents.as_deref().unwrap_or(schema);
        documents.fields().iter().map(|field| field.name().as_str()).collect()
    }
}

/// The columns of `table` that documents have.
pub(crate) fn document_columns(config: &ScanConfig, table: &SchemaRef) -> SchemaRef {
    match config.mode {
        ReadMode::Permissive => Arc::new(without(table, &config.corrupt_record_column)),
        ReadMode::FailFast | ReadMode::DropMalformed => Arc::clone(table),
    }
}

/// Checks that the corrupt-record column, where the mode uses it and the schema has it, can hold a document.
pub(crate) fn check_corrupt_record(
    collection: &str,
    config: &ScanConfig,
    schema: &Schema,
) -> crate::Result<()> {
    let name = config.corrupt_record_column.as_str();
    match schema.field_with_name(name) {
        Ok(field) if config.mode == ReadMode::Permissive && *field.data_type() != DataType::Utf8 => {
            Err(crate::Error::InvalidSchema {
                collection: collection.to_owned(),
                field: name.to_owned(),
                message: format!(
                    "it shows documents that do not fit, as a text, and is {}",
                    field.data_type()
                ),
            })
        }
        _ => Ok(()),
    }
}

fn without(schema: &Schema, name: &str) -> Schema {
    let fields: Vec<_> = schema.fields().iter().filter(|field| field.name() != name).cloned().collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// `schema` as a table in this mode has it: parts of documents and lists may be null, and so may any column where a
/// value that does not fit becomes one.
pub(crate) fn table_schema(config: &ScanConfig, schema: &Schema) -> Schema {
    let permissive = config.mode == ReadMode::Permissive;
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| nullable_parts(field).with_nullable(permissive || field.is_nullable()))
        .collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

fn nullable_parts(field: &Field) -> Field {
    let part = |field: &Field| nullable_parts(field).with_nullable(true);
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| part(field)).collect()),
        DataType::List(element) => DataType::List(Arc::new(part(element))),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// Whether `filter` is never true because a column is null.
///
/// The forms are listed that are known to be so; any other counts as one that is not.
pub(crate) fn rejects_nulls(filter: &Expr) -> bool {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            rejects_nulls(left) && rejects_nulls(right)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            matches!(
                op,
                Operator::Eq
                    | Operator::NotEq
                    | Operator::Lt
                    | Operator::LtEq
                    | Operator::Gt
                    | Operator::GtEq
            ) && is_plain(left)
                && is_plain(right)
        }
        Expr::InList(InList { expr, list, .. }) => is_plain(expr) && list.iter().all(is_plain),
        Expr::Between(between) => {
            [&between.expr, &between.low, &between.high].into_iter().all(|expr| is_plain(expr))
        }
        Expr::Like(like) => is_plain(&like.expr) && is_plain(&like.pattern),
        // Below a NOT the tests for a value turn into tests for a null.
        Expr::Not(inner) => !tests_value(inner) && rejects_nulls(inner),
        Expr::Alias(alias) => rejects_nulls(&alias.expr),
        Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) | Expr::IsTrue(inner) | Expr::IsFalse(inner) => {
            is_plain(inner)
        }
        other => is_plain(other),
    }
}

/// Whether `expr` holds a test that is false, and not unknown, of a null.
fn tests_value(expr: &Expr) -> bool {
    match expr {
        Expr::IsNotNull(_) | Expr::IsNotUnknown(_) | Expr::IsTrue(_) | Expr::IsFalse(_) => true,
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => tests_value(left) || tests_value(right),
        Expr::Not(inner) => tests_value(inner),
        Expr::Alias(alias) => tests_value(&alias.expr),
        _ => false,
    }
}

fn is_plain(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_) | Expr::Literal(..))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn what_a_null_can_make_true_is_told_apart() {
        let equal = || col("a").eq(lit(1));
        for (filter, expected) in [
            (equal(), true),
            (col("a").not_eq(lit(1)), true),
            (!equal(), true),
            (!equal().and(col("b").lt(lit(2))), true),
            (col("a").in_list(vec![lit(1)], true), true),
            (col("a").between(lit(1), lit(2)), true),
            (col("a").like(lit("x%")), true),
            (!col("a").like(lit("x%")), true),
            (col("a").is_not_null(), true),
            (col("flag"), true),
            (!col("flag"), true),
            (equal().or(col("b").is_not_null()), true),
            (col("a").is_null(), false),
            (!col("a").is_not_null(), false),
            (!!col("a").is_not_null(), false),
            (!(equal().and(col("b").is_not_null())), false),
            (col("flag").is_not_true(), false),
            (!col("flag").is_true(), false),
            (Expr::IsNotFalse(Box::new(col("flag"))), false),
            (Expr::IsUnknown(Box::new(col("flag"))), false),
            (equal().or(col("b").is_null()), false),
            (Expr::IsTrue(Box::new(col("a").is_null())), false),
            (
                Expr::BinaryExpr(BinaryExpr::new(
                    Box::new(col("a")),
                    Operator::IsDistinctFrom,
                    Box::new(lit(1)),
                )),
                false,
            ),
        ] {
            assert_eq!(rejects_nulls(&filter), expected, "{filter}");
        }
    }
}
