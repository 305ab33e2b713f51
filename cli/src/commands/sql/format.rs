//! How rows are printed: tables and records for people, CSV and JSON for programs.
//!
//! CSV and JSON go out batch by batch, in a form that holds every value ([`readable`]). A table's columns are as wide as their widest value, so its rows are kept until
//! the last one is there, though only as many as will be shown.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, JsonFormat, LineDelimited};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;

use super::args::SqlFormat;
use super::readable::{self, Numbers};

/// How tables show a null, so that it differs from an empty text.
const NULL: &str = "NULL";

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) format: SqlFormat,
    /// Whether a table has one line per value instead of one per row.
    pub(super) expanded: bool,
    /// Whether tables and CSV begin with the column names.
    pub(super) header: bool,
    /// The most rows of a table that are shown.
    pub(super) max_rows: usize,
}

/// How many rows were printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Printed {
    /// The rows of the result.
    pub(super) rows: usize,
    /// How many of them were shown.
    pub(super) shown: usize,
}

/// The writer of rows. It is `Send` because queries are awaited between two writes.
pub(super) type Out<'a> = &'a mut (dyn Write + Send);

/// Prints one result.
pub(super) struct Printer<'a> {
    layout: Layout,
    schema: SchemaRef,
    state: State<'a>,
    printed: Printed,
}

enum State<'a> {
    Table { kept: Vec<RecordBatch>, out: Out<'a> },
    Csv(Box<arrow::csv::Writer<Out<'a>>>),
    Json(arrow::json::Writer<Out<'a>, JsonArray>),
    Lines(arrow::json::Writer<Out<'a>, LineDelimited>),
}

impl<'a> Printer<'a> {
    pub(super) fn new(layout: Layout, schema: SchemaRef, out: Out<'a>) -> Self {
        let state = match layout.format {
            SqlFormat::Table => State::Table { kept: Vec::new(), out },
            SqlFormat::Csv => {
                State::Csv(Box::new(arrow::csv::WriterBuilder::new().with_header(layout.header).build(out)))
            }
            SqlFormat::Json => State::Json(json(out)),
            SqlFormat::Ndjson => State::Lines(json(out)),
        };
        Self { layout, schema, state, printed: Printed::default() }
    }

    /// Adds the next batch of rows.
    pub(super) fn batch(&mut self, batch: &RecordBatch) -> io::Result<()> {
        self.printed.rows += batch.num_rows();
        match &mut self.state {
            State::Table { kept, .. } => {
                let shown = batch.num_rows().min(self.layout.max_rows - self.printed.shown);
                if shown > 0 {
                    kept.push(readable::readable(&batch.slice(0, shown)).map_err(plain)?);
                }
                self.printed.shown += shown;
                return Ok(());
            }
            State::Csv(writer) => writer.write(&flat(batch).map_err(plain)?).map_err(plain)?,
            State::Json(writer) => writer.write(&readable::json(batch).map_err(plain)?).map_err(plain)?,
            State::Lines(writer) => writer.write(&readable::json(batch).map_err(plain)?).map_err(plain)?,
        }
        self.printed.shown = self.printed.rows;
        Ok(())
    }

    /// Prints what is left at the end: the table, the closing bracket of JSON, the header of a CSV without rows.
    pub(super) fn finish(self) -> io::Result<Printed> {
        let Self { layout, schema, state, printed } = self;
        match state {
            State::Table { kept, out } => {
                out.write_all(table(layout, &schema, &kept).map_err(plain)?.as_bytes())?
            }
            State::Csv(mut writer) => {
                if printed.rows == 0 {
                    writer.write(&flat(&RecordBatch::new_empty(schema)).map_err(plain)?).map_err(plain)?;
                }
            }
            State::Json(mut writer) => {
                writer.finish().map_err(plain)?;
                writer.into_inner().write_all(b"\n")?;
            }
            State::Lines(mut writer) => writer.finish().map_err(plain)?,
        }
        Ok(printed)
    }
}

fn json<'a, F: JsonFormat>(out: Out<'a>) -> arrow::json::Writer<Out<'a>, F> {
    // Every row has every key, so that a reader can tell a null from a column that is not there.
    let writer = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
    writer.with_encoder_factory(Arc::new(Numbers)).build(out)
}

/// Keeps an I/O error as it is, so that a reader that has gone away differs from rows that cannot be printed.
fn plain(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::other(error.to_string()),
    }
}

/// The batch with nested values as text, because CSV has no form for them.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let batch = readable::readable(batch)?;
    if !batch.schema().fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch);
    }
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        if !column.data_type().is_nested() {
            return Ok((Arc::clone(field), Arc::clone(column)));
        }
        let field = Arc::new(Field::new(field.name(), DataType::Utf8, true));
        Ok((field, Arc::new(as_text(column, "null")?) as ArrayRef))
    });
    let (fields, columns): (Vec<_>, Vec<_>) =
        columns.collect::<Result<Vec<_>, ArrowError>>()?.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Each value as text. A null stays a null; a null inside of a nested value becomes `null`.
fn as_text(column: &ArrayRef, null: &str) -> Result<StringArray, ArrowError> {
    let options = FormatOptions::default().with_null(null);
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let text = |row| (!column.is_null(row)).then(|| formatter.value(row).try_to_string()).transpose();
    (0..column.len()).map(text).collect()
}

fn table(layout: Layout, schema: &SchemaRef, kept: &[RecordBatch]) -> Result<String, ArrowError> {
    if is_plan(schema) && !layout.expanded {
        return plan(kept);
    }
    if layout.expanded {
        return records(schema, kept);
    }
    let empty = [RecordBatch::new_empty(Arc::clone(schema))];
    let batches = if kept.is_empty() { empty.as_slice() } else { kept };
    let options = FormatOptions::default().with_null(NULL);
    let text = pretty_format_batches_with_options(batches, &options)?.to_string();
    if layout.header {
        return Ok(text + "\n");
    }
    // Drops the header and the lines above and below it.
    Ok(text.lines().skip(header_lines(&text)).map(|line| format!("{line}\n")).collect())
}

/// The lines of a table before its first row: up to the second line of dashes.
fn header_lines(table: &str) -> usize {
    table
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("+-"))
        .nth(1)
        .map_or(0, |(line, _)| line + 1)
}

/// Whether these are the columns of `EXPLAIN`.
fn is_plan(schema: &Schema) -> bool {
    matches!(schema.fields().as_ref(), [kind, plan] if kind.name() == "plan_type" && plan.name() == "plan")
}

/// Prints plans with their own indentation, without a box around them.
fn plan(kept: &[RecordBatch]) -> Result<String, ArrowError> {
    let mut text = String::new();
    for batch in kept {
        let (kinds, plans) = (as_text(batch.column(0), "")?, as_text(batch.column(1), "")?);
        for (kind, plan) in kinds.iter().zip(plans.iter()) {
            let separator = if text.is_empty() { "" } else { "\n" };
            let (kind, plan) = (kind.unwrap_or_default(), plan.unwrap_or_default().trim_end());
            text.push_str(&format!("{separator}{kind}:\n{plan}\n"));
        }
    }
    Ok(text)
}

/// Prints one line per value, as `psql` does after `\x`.
fn records(schema: &SchemaRef, kept: &[RecordBatch]) -> Result<String, ArrowError> {
    let width = schema.fields().iter().map(|field| field.name().chars().count()).max().unwrap_or_default();
    let (mut text, mut record) = (String::new(), 0);
    for batch in kept {
        let columns = batch.columns().iter().map(|column| as_text(column, "null"));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            record += 1;
            text.push_str(&format!("-[ record {record} ]-\n"));
            for (field, column) in schema.fields().iter().zip(&columns) {
                let value = if column.is_null(row) { NULL } else { column.value(row) };
                // Further lines of a value stand below its first.
                let value = value.replace('\n', &format!("\n{:width$} | ", ""));
                text.push_str(&format!("{:<width$} | {value}\n", field.name()));
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, ListArray, StructArray, TimestampMillisecondArray};
    use arrow::datatypes::{Fields, Int64Type};

    fn batch() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("name", Arc::new(StringArray::from(vec![Some("a,\"b\""), Some(""), None]))),
            ("count", Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]))),
            ("rate", Arc::new(Float64Array::from(vec![0.5, f64::NAN, 1e300]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![0, 1500, 86_400_000]).with_timezone("UTC"))),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .expect("a batch")
    }

    fn layout(format: SqlFormat) -> Layout {
        Layout { format, expanded: false, header: true, max_rows: 100 }
    }

    fn printed(layout: Layout, batches: &[RecordBatch]) -> (String, Printed) {
        let mut out = Vec::new();
        let schema = batches[0].schema();
        let mut printer = Printer::new(layout, schema, &mut out);
        for batch in batches {
            printer.batch(batch).expect("printable");
        }
        let printed = printer.finish().expect("printable");
        (String::from_utf8(out).expect("text"), printed)
    }

    #[test]
    fn csv_quotes_what_needs_it_and_has_one_header() {
        let (text, counts) = printed(layout(SqlFormat::Csv), &[batch().slice(0, 2), batch().slice(2, 1)]);
        assert_eq!(
            text,
            "name,count,rate,at\n\
             \"a,\"\"b\"\"\",1,0.5,1970-01-01T00:00:00Z\n\
             ,,NaN,1970-01-01T00:00:01.500Z\n\
             ,-3,1e300,1970-01-02T00:00:00Z\n"
        );
        assert_eq!(counts, Printed { rows: 3, shown: 3 });
        let no_header = Layout { header: false, ..layout(SqlFormat::Csv) };
        assert_eq!(printed(no_header, &[batch().slice(2, 1)]).0, ",-3,1e300,1970-01-02T00:00:00Z\n");
        assert_eq!(printed(layout(SqlFormat::Csv), &[batch().slice(0, 0)]).0, "name,count,rate,at\n");
    }

    #[test]
    fn json_is_one_array_with_every_key() {
        let (text, _) = printed(layout(SqlFormat::Json), &[batch().slice(0, 2), batch().slice(2, 1)]);
        let rows: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(rows[0]["name"], "a,\"b\"");
        assert_eq!(rows[1]["count"], serde_json::Value::Null);
        assert_eq!(rows[2]["at"], "1970-01-02T00:00:00Z");
        assert!(text.ends_with("]\n"));
        assert_eq!(printed(layout(SqlFormat::Json), &[batch().slice(0, 0)]).0, "[]\n");
    }

    #[test]
    fn ndjson_is_one_object_a_line() {
        let (text, _) = printed(layout(SqlFormat::Ndjson), &[batch()]);
        let rows: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[2]["count"], -3);
        assert_eq!(printed(layout(SqlFormat::Ndjson), &[batch().slice(0, 0)]).0, "");
    }

    #[test]
    fn a_table_tells_nulls_from_empty_texts_and_shows_no_more_than_it_should() {
        let two = batch().project(&[0, 1]).expect("columns");
        let (text, counts) = printed(layout(SqlFormat::Table), std::slice::from_ref(&two));
        assert_eq!(
            text,
            "+-------+-------+\n\
             | name  | count |\n\
             +-------+-------+\n\
             | a,\"b\" | 1     |\n\
             |       | NULL  |\n\
             | NULL  | -3    |\n\
             +-------+-------+\n"
        );
        assert_eq!(counts, Printed { rows: 3, shown: 3 });
        let few = Layout { max_rows: 4, ..layout(SqlFormat::Table) };
        let (text, counts) = printed(few, &[two.clone(), two.clone(), two.clone()]);
        assert_eq!(text.lines().count(), 4 + 4);
        assert_eq!(counts, Printed { rows: 9, shown: 4 });
        let bare = Layout { header: false, ..layout(SqlFormat::Table) };
        let (text, _) = printed(bare, std::slice::from_ref(&two));
        assert!(text.starts_with("| a,\"b\" | 1     |\n"), "{text}");
        let (text, _) = printed(layout(SqlFormat::Table), &[two.slice(0, 0)]);
        assert!(text.contains("| name | count |"), "{text}");
    }

    #[test]
    fn records_have_one_line_a_value() {
        let expanded = Layout { expanded: true, ..layout(SqlFormat::Table) };
        let (text, _) = printed(expanded, &[batch().project(&[0, 1]).expect("columns").slice(1, 2)]);
        assert_eq!(
            text,
            "-[ record 1 ]-\nname  | \ncount | NULL\n-[ record 2 ]-\nname  | NULL\ncount | -3\n"
        );
    }

    #[test]
    fn plans_are_printed_as_they_are_indented() {
        let columns: [(&str, ArrayRef); 2] = [
            ("plan_type", Arc::new(StringArray::from(vec!["logical_plan", "physical_plan"]))),
            ("plan", Arc::new(StringArray::from(vec!["A\n  B", "C\n  D\n"]))),
        ];
        let plan = RecordBatch::try_from_iter(columns).expect("a batch");
        let (text, _) = printed(layout(SqlFormat::Table), &[plan]);
        assert_eq!(text, "logical_plan:\nA\n  B\n\nphysical_plan:\nC\n  D\n");
    }

    #[test]
    fn nested_values_are_text_in_csv_and_nested_in_json() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        let fields = Fields::from(vec![Field::new("a", DataType::Int64, true)]);
        let inner: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let columns: [(&str, ArrayRef); 2] =
            [("list", Arc::new(list)), ("struct", Arc::new(StructArray::new(fields, vec![inner], None)))];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
                .expect("a batch");
        let (text, _) = printed(layout(SqlFormat::Csv), std::slice::from_ref(&batch));
        assert_eq!(text, "list,struct\n\"[1, null]\",{a: 7}\n,{a: null}\n");
        let (text, _) = printed(layout(SqlFormat::Json), &[batch]);
        let rows: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(rows[0], serde_json::json!({ "list": [1, null], "struct": { "a": 7 } }));
    }
}
