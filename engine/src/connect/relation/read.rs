//! Rows of tables, of files, of SQL, and of the catalog.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::TableReference;
use datafusion::logical_expr::{Expr, lit};
use firesteel_common::access::Role;
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::catalog::CatType;
use firesteel_proto::spark::connect::read::{DataSource, ReadType};

use super::super::error::{Result, SparkError};
use super::super::frame::{Frame, Output, parts};
use super::super::statement;
use super::super::types;
use super::Translator;
use super::local;
use crate::Session;
use crate::query::sql::Outcome;

/// Numbers the tables that a plan reads files by.
static FILES: AtomicU64 = AtomicU64::new(0);

/// A table's name as SQL writes it, and as the catalog looks it up.
pub(in super::super) fn quoted_table(name: &str) -> Result<String> {
    let mut parts = parts(name)?;
    // Spark's names for where tables are without a prefix.
    while parts.len() > 1
        && ["default", "spark_catalog", "global_temp"].contains(&parts[0].to_lowercase().as_str())
    {
        parts.remove(0);
    }
    let quoted = parts.iter().map(|part| backticked(part.as_str()));
    Ok(quoted.collect::<Vec<_>>().join("."))
}

/// A name as the session's dialect of SQL quotes it. Double quotes are around texts in it.
pub(in super::super) fn backticked(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL writes it.
pub(in super::super) fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The name under which a table is known: its own, or that in lower case.
pub(in super::super) fn table_exists(session: &Session, name: &str) -> Result<Option<String>> {
    let own = quoted_table(name)?;
    for name in [own.clone(), own.to_lowercase()] {
        if session.context().table_exist(TableReference::parse_str(&name))? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

impl Translator<'_> {
    pub(super) async fn read(&self, read: &proto::Read) -> Result<Frame> {
        if read.is_streaming {
            return Err(SparkError::unsupported("a streaming query"));
        }
        match read.read_type.as_ref().ok_or_else(|| SparkError::incomplete("what is read"))? {
            ReadType::NamedTable(table) => self.table(&table.unparsed_identifier).await,
            ReadType::DataSource(source) => self.source(source).await,
        }
    }

    /// The rows of a table of the catalog.
    pub(super) async fn table(&self, name: &str) -> Result<Frame> {
        let known = table_exists(self.session, name)?.ok_or_else(|| SparkError::table(name))?;
        let rows = self.session.table(&known).await?;
        let last = parts(name)?.pop().unwrap_or_default();
        Ok(Frame::new(self.within_limits(rows.into_frame().into_parts().1)?).named(&last))
    }

    /// The rows of a query in SQL.
    pub(in super::super) async fn sql(&self, sql: &proto::Sql) -> Result<Frame> {
        let limits = self.session.connectors().limits();
        let text = statement::with_arguments(sql, limits)?;
        let parsed = statement::parse(&self.state, &text, limits)?;
        if parsed.role > Role::Reader || !parsed.is_query {
            return Err(SparkError::unsupported("a statement that is no query as a part of another plan"));
        }
        self.state_has_tables(&parsed)?;
        match self.session.execute(&text).await? {
            Outcome::Rows(rows) => {
                let mut frame = Frame::new(self.within_limits(rows.into_frame().into_parts().1)?);
                parsed.name_columns(&mut frame);
                // The tables of a query are not seen from outside of it.
                for column in &mut frame.columns {
                    column.qualifier = None;
                }
                Ok(frame)
            }
            Outcome::Done(_) => {
                Err(SparkError::unsupported("a statement without rows as a part of another plan"))
            }
        }
    }

    fn state_has_tables(&self, parsed: &statement::Parsed) -> Result<()> {
        for table in &parsed.tables {
            if !self.session.context().table_exist(table.clone())? {
                return Err(SparkError::table(&table.to_string()));
            }
        }
        Ok(())
    }

    /// The rows of files.
    async fn source(&self, source: &DataSource) -> Result<Frame> {
        let format = source.format.as_deref().unwrap_or("parquet").to_lowercase();
        let stored_as = match format.as_str() {
            "parquet" => "PARQUET",
            "csv" => "CSV",
            "json" => "JSON",
            "mongo" | "mongodb" | "kafka" => {
                let what = format!(
                    "the data source {format}: its tables are those of the catalog, and CREATE EXTERNAL TABLE adds others; \
                     spark.table(name) reads them"
                );
                return Err(SparkError::unsupported(what));
            }
            other => return Err(SparkError::unsupported(format!("the data source {other:?}"))),
        };
        let own = source.options.get("path").into_iter().chain(&source.paths);
        let paths: Vec<&String> = own.collect();
        let [path] = paths.as_slice() else {
            return Err(SparkError::unsupported(format!("reading {} paths at once", paths.len())));
        };
        let options = FileOptions::read(&format, &source.options)?;
        let declared = match source.schema.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => Some(types::schema_from_spark(&types::ddl::parse(text)?)?),
            None => None,
        };
        let frame = self.files(stored_as, path, declared.as_ref(), &options).await?;
        if format == "csv" && declared.is_none() && !options.infer {
            // Without a schema everything is text: read once more, as that.
            let fields = frame.columns.iter().map(|column| Field::new(&column.name, DataType::Utf8, true));
            let texts = Schema::new(fields.collect::<Vec<_>>());
            let frame = self.files(stored_as, path, Some(&texts), &options).await?;
            return Ok(numbered(frame, &options));
        }
        if format == "json" && declared.is_none() {
            // Spark sorts the columns that it finds.
            let mut columns = frame.columns.clone();
            columns.sort_by(|a, b| a.name.cmp(&b.name));
            return frame.project(columns.iter().map(Output::same).collect());
        }
        Ok(if declared.is_none() { numbered(frame, &options) } else { frame })
    }

    /// A table over files, which the catalog knows for a moment.
    async fn files(
        &self,
        stored_as: &str,
        path: &str,
        columns: Option<&Schema>,
        options: &FileOptions,
    ) -> Result<Frame> {
        let name = format!("#files{}", FILES.fetch_add(1, Ordering::Relaxed));
        let mut sql = format!("CREATE EXTERNAL TABLE {} ", backticked(&name));
        if let Some(columns) = columns {
            let columns = columns.fields().iter().map(|field| {
                let data_type = sql_type(field.data_type())?;
                Ok(format!("{} {data_type}", backticked(field.name())))
            });
            let columns = columns.collect::<Result<Vec<_>>>()?.join(", ");
            let _ = write!(sql, "({columns}) ");
        }
        let _ = write!(sql, "STORED AS {stored_as} LOCATION {}", text_literal(path));
        sql.push_str(&options.clause());
        // Only says whether there is a table: the rows are read when the plan runs.
        let _ = self.session.execute(&sql).await?;
        let rows = self.session.table(&backticked(&name)).await;
        let _ = self.session.context().deregister_table(TableReference::bare(name))?;
        let mut frame = Frame::new(rows?.into_frame().into_parts().1);
        for column in &mut frame.columns {
            column.qualifier = None;
        }
        Ok(frame)
    }

    /// Answers a question to the catalog.
    pub(super) async fn catalog(&self, catalog: &proto::Catalog) -> Result<Frame> {
        let kind =
            catalog.cat_type.as_ref().ok_or_else(|| SparkError::unsupported("a question to the catalog"))?;
        let context = self.session.context();
        match kind {
            CatType::CurrentDatabase(_) => one("current_database", lit("default")),
            CatType::CurrentCatalog(_) => one("current_catalog", lit("spark_catalog")),
            CatType::TableExists(table) => {
                one("table_exists", lit(table_exists(self.session, &table.table_name)?.is_some()))
            }
            CatType::DatabaseExists(database) => {
                one("database_exists", lit(database.db_name.eq_ignore_ascii_case("default")))
            }
            CatType::DropTempView(view) => {
                let dropped = match table_exists(self.session, &view.view_name)? {
                    Some(name) => {
                        let name = TableReference::parse_str(&name);
                        let table = context.table_provider(name.clone()).await?;
                        let is_view = table.get_logical_plan().is_some();
                        is_view && context.deregister_table(name)?.is_some()
                    }
                    None => false,
                };
                one("dropped", lit(dropped))
            }
            CatType::IsCached(_) => one("is_cached", lit(false)),
            // Nothing is kept, so nothing has to be forgotten.
            CatType::CacheTable(_)
            | CatType::UncacheTable(_)
            | CatType::ClearCache(_)
            | CatType::RefreshTable(_) => Ok(Frame::new(local::plan(Vec::new(), &Schema::empty())?)),
            CatType::ListTables(_) => {
                let text = |name: &str| Field::new(name, DataType::Utf8, true);
                let schema = Schema::new(vec![
                    text("name"),
                    text("catalog"),
                    Field::new(
                        "namespace",
                        DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))),
                        true,
                    ),
                    text("description"),
                    text("tableType"),
                    Field::new("isTemporary", DataType::Boolean, false),
                ]);
                let mut rows = Vec::new();
                let mut names: Vec<String> =
                    self.session.tables().await?.into_iter().map(|table| table.name).collect();
                names.sort();
                for name in names {
                    let none = || lit(datafusion::common::ScalarValue::Utf8(None));
                    let list = datafusion::common::ScalarValue::new_null_list(DataType::Utf8, true, 1);
                    rows.push(vec![lit(name), none(), lit(list), none(), lit("TEMPORARY"), lit(true)]);
                }
                Ok(Frame::new(local::plan(rows, &schema)?))
            }
            _ => Err(SparkError::unsupported("this question to the catalog")),
        }
    }
}

fn one(name: &str, value: Expr) -> Result<Frame> {
    let data_type = match &value {
        Expr::Literal(value, _) => value.data_type(),
        _ => DataType::Utf8,
    };
    let schema = Schema::new(vec![Field::new(name, data_type, false)]);
    Ok(Frame::new(local::plan(vec![vec![value]], &schema)?))
}

/// Columns of a file without a header are `_c0`, `_c1`, ….
fn numbered(mut frame: Frame, options: &FileOptions) -> Frame {
    if options.numbered {
        for (index, column) in frame.columns.iter_mut().enumerate() {
            column.name = format!("_c{index}");
        }
    }
    frame
}

/// The type of a column as SQL writes it.
fn sql_type(data_type: &DataType) -> Result<String> {
    Ok(match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 => "VARCHAR".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(_, _) => "TIMESTAMP".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        other => return Err(SparkError::unsupported(format!("{other} in the schema of files"))),
    })
}

/// How files are read or written.
pub(in super::super) struct FileOptions {
    /// The engine's options, as in `OPTIONS`.
    engine: Vec<(&'static str, String)>,
    infer: bool,
    numbered: bool,
}

impl FileOptions {
    /// The clause of a statement.
    pub(in super::super) fn clause(&self) -> String {
        if self.engine.is_empty() {
            return String::new();
        }
        let pairs = self.engine.iter().map(|(key, value)| format!("'{key}' {}", text_literal(value)));
        format!(" OPTIONS ({})", pairs.collect::<Vec<_>>().join(", "))
    }

    /// Reads Spark's options; one that is not known is an error, as it would change what is read.
    pub(in super::super) fn read(format: &str, options: &HashMap<String, String>) -> Result<Self> {
        let csv = format == "csv";
        let mut read = Self { engine: Vec::new(), infer: false, numbered: csv };
        let mut header = false;
        for (key, value) in options {
            let is_true = value.eq_ignore_ascii_case("true");
            match key.to_lowercase().as_str() {
                "path" => {}
                "header" if csv => header = is_true,
                "inferschema" if csv => read.infer = is_true,
                "sep" | "delimiter" if csv => read.engine.push(("format.delimiter", value.clone())),
                "quote" if csv => read.engine.push(("format.quote", value.clone())),
                "escape" if csv => read.engine.push(("format.escape", value.clone())),
                "multiline" | "recursivefilelookup" | "mergeschema" if !is_true => {}
                "compression" | "codec" if value.eq_ignore_ascii_case("none") && format != "parquet" => {}
                "compression" if format == "parquet" => {
                    read.engine.push(("format.compression", value.clone()))
                }
                _ => {
                    return Err(SparkError::unsupported(format!(
                        "the option {key:?} = {value:?} of {format}"
                    )));
                }
            }
        }
        if csv {
            read.engine.push(("format.has_header", header.to_string()));
            read.numbered = !header;
        }
        read.engine.sort();
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_s_name_is_quoted_part_by_part() {
        for (name, quoted) in [
            ("predictions", "`predictions`"),
            ("default.t", "`t`"),
            ("spark_catalog.default.t", "`t`"),
            ("`a.b`", "`a.b`"),
            ("a.`b``c`", "`a`.`b``c`"),
        ] {
            assert_eq!(quoted_table(name).unwrap(), quoted, "{name}");
        }
    }

    #[test]
    fn options_that_are_not_known_are_refused() {
        let options = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<HashMap<_, _>>()
        };
        let read = FileOptions::read("csv", &options(&[("header", "true"), ("sep", ";")])).unwrap();
        assert_eq!(
            read.engine,
            [("format.delimiter", ";".to_owned()), ("format.has_header", "true".to_owned())]
        );
        assert!(!read.numbered);
        assert!(FileOptions::read("csv", &options(&[("nullValue", "x")])).is_err());
        assert!(FileOptions::read("json", &options(&[("multiLine", "true")])).is_err());
    }
}
