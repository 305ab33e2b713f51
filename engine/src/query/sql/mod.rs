//! Statements of SQL: which of them are answered here, and which become a job on the cluster.
//!
//! ```text
//!  text ──▶ cache statement? ──yes──▶ cache: jobs that write, a catalog that changes
//!    │ no
//!    ▼
//!  DataFusion's parser and planner ──▶ DDL, SET, PREPARE: change this session, at once
//!                                      DESCRIBE, SHOW: answered from this session's catalog
//!                                      queries, INSERT INTO, COPY: a plan that runs when it is collected
//! ```
//!
//! The catalog is the session's own: a table that a statement makes is seen by this session alone, and travels to the
//! scheduler inside each plan that reads it. Executors therefore have to find a file under the same name, and a relative name,
//! which would mean another file in every process, is made absolute here.

mod fields;
mod location;
mod names;
mod parse;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use datafusion::logical_expr::{CreateMemoryTable, DdlStatement, LogicalPlan, Statement};
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;

pub(crate) use self::parse::{CacheStatement, cache_statement};
use crate::dataflow::Dataset;
use crate::limits::{Deep, check_sql};
use crate::plan::settings;
use crate::{Error, Result, Session};

/// The result of a statement.
#[derive(Clone, Debug)]
#[must_use = "rows are computed when they are collected: an INSERT that nobody collects inserts nothing"]
pub enum Outcome {
    /// Rows, not yet computed. `INSERT INTO` and `COPY` give one row, `count`, and write when it is collected.
    Rows(Dataset),
    /// The statement is done. The text says what was done, such as `CREATE VIEW`.
    Done(String),
}

impl Session {
    /// Runs one statement of SQL.
    ///
    /// Statements that change the session (`CREATE EXTERNAL TABLE`, `CREATE VIEW`, `CREATE TABLE … AS`, `DROP`, `SET`,
    /// `PREPARE`, `CACHE TABLE` and its kin) are done when this returns. Everything else gives rows, which are computed
    /// when they are collected.
    pub fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(Deep::new(async move {
            check_sql(sql, self.connectors().limits())?;
            if let Some(mut statement) = cache_statement(sql)? {
                if let CacheStatement::Cache { query: Some(query), .. } = &mut statement
                    && fields::may_have(sql)
                {
                    fields::in_query(query);
                }
                return Box::pin(self.execute_cache(statement)).await;
            }
            let state = self.context().state();
            let dialect = state.config().options().sql_parser.dialect;
            let mut statement = state.sql_to_statement(sql, &dialect)?;
            if fields::may_have(sql) {
                fields::in_statement(&mut statement);
            }
            names::in_declaration(&mut statement);
            names::in_statement(self.context(), sql, &mut statement).await;
            let names = self.cached().freeze_names().await;
            let plan = Box::pin(state.statement_to_plan(statement)).await?;
            drop(names);
            Box::pin(self.execute_plan(plan)).await
        }))
    }

    /// The result of a statement in SQL, not yet run; of one that has none, no rows. See [`Session::execute`].
    pub fn sql<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<Dataset>> {
        Box::pin(async move {
            match self.execute(query).await? {
                Outcome::Rows(rows) => Ok(rows),
                Outcome::Done(_) => Ok(Dataset::new(self.context().read_empty()?)),
            }
        })
    }

    async fn execute_plan(&self, plan: LogicalPlan) -> Result<Outcome> {
        match plan {
            LogicalPlan::Ddl(ddl) => self.execute_ddl(ddl).await,
            LogicalPlan::Statement(Statement::TransactionStart(_) | Statement::TransactionEnd(_)) => {
                Err(Error::UnsupportedStatement {
                    statement: "a transaction",
                    instead: "every statement stands alone, and a query reads one snapshot",
                })
            }
            LogicalPlan::Statement(statement @ Statement::Execute(_)) => {
                let frame = self.context().execute_logical_plan(LogicalPlan::Statement(statement)).await?;
                self.rows(frame.logical_plan().clone()).await
            }
            LogicalPlan::Statement(statement) => {
                if let Statement::SetVariable(set) = &statement {
                    settings::check_one(&set.variable, &set.value)?;
                }
                let done = match &statement {
                    Statement::SetVariable(_) => "SET",
                    Statement::ResetVariable(_) => "RESET",
                    Statement::Prepare(_) => "PREPARE",
                    _ => "DEALLOCATE",
                };
                self.context().execute_logical_plan(LogicalPlan::Statement(statement)).await?;
                Ok(Outcome::Done(done.to_owned()))
            }
            LogicalPlan::DescribeTable(describe) => local_rows(describe_schema(&describe.schema)?),
            LogicalPlan::Copy(mut copy) => {
                copy.output_url = location::absolute(&copy.output_url)?;
                self.rows(LogicalPlan::Copy(copy)).await
            }
            plan => self.rows(plan).await,
        }
    }

    async fn execute_ddl(&self, ddl: DdlStatement) -> Result<Outcome> {
        let done = match &ddl {
            DdlStatement::CreateExternalTable(_) => "CREATE EXTERNAL TABLE",
            DdlStatement::CreateMemoryTable(_) => "CREATE TABLE",
            DdlStatement::CreateView(_) => "CREATE VIEW",
            DdlStatement::CreateCatalogSchema(_) => "CREATE SCHEMA",
            DdlStatement::CreateCatalog(_) => "CREATE DATABASE",
            DdlStatement::DropTable(_) => "DROP TABLE",
            DdlStatement::DropView(_) => "DROP VIEW",
            DdlStatement::DropCatalogSchema(_) => "DROP SCHEMA",
            DdlStatement::DropFunction(_) => "DROP FUNCTION",
            DdlStatement::CreateIndex(_) => {
                return Err(Error::UnsupportedStatement {
                    statement: "CREATE INDEX",
                    instead: "indexes are made in MongoDB",
                });
            }
            DdlStatement::CreateFunction(_) => {
                return Err(Error::UnsupportedStatement {
                    statement: "CREATE FUNCTION",
                    instead: "functions are written in Rust and registered on every process",
                });
            }
        };
        let ddl = match ddl {
            DdlStatement::CreateExternalTable(mut table) => {
                if location::is_file_format(&table.file_type) {
                    for location in &mut table.locations {
                        *location = location::absolute(location)?;
                    }
                }
                // The statement's text may hold a password that the factory refuses, so it is not kept.
                table.definition = None;
                if table.or_replace {
                    self.forget_cached(&table.name).await?;
                }
                DdlStatement::CreateExternalTable(table)
            }
            DdlStatement::CreateMemoryTable(table) => return self.create_table(table).await,
            DdlStatement::CreateView(view) => {
                if view.or_replace {
                    self.forget_cached(&view.name).await?;
                }
                DdlStatement::CreateView(view)
            }
            DdlStatement::DropTable(drop) => {
                if self.drop_created(&drop.name).await? {
                    return Ok(Outcome::Done(done.to_owned()));
                }
                self.forget_cached(&drop.name).await?;
                DdlStatement::DropTable(drop)
            }
            DdlStatement::DropView(drop) => {
                self.forget_cached(&drop.name).await?;
                DdlStatement::DropView(drop)
            }
            other => other,
        };
        self.context().execute_logical_plan(LogicalPlan::Ddl(ddl)).await?;
        Ok(Outcome::Done(done.to_owned()))
    }

    /// `CREATE TABLE … AS`. Executors could not read a table in this process's memory, so the rows are kept where cached
    /// tables are.
    async fn create_table(&self, table: CreateMemoryTable) -> Result<Outcome> {
        if matches!(*table.input, LogicalPlan::EmptyRelation(_)) {
            return Err(Error::UnsupportedStatement {
                statement: "CREATE TABLE without a query",
                instead: "CREATE TABLE … AS SELECT …, or CREATE EXTERNAL TABLE … STORED AS …",
            });
        }
        let rows = self.create_table_as(table).await?;
        Ok(Outcome::Done(rows.map_or_else(
            || "CREATE TABLE: it is there already".to_owned(),
            |rows| format!("CREATE TABLE: {rows} rows"),
        )))
    }

    /// Wraps a plan as rows that are computed when they are collected.
    async fn rows(&self, plan: LogicalPlan) -> Result<Outcome> {
        self.check_sources(&plan).await?;
        let frame = datafusion::dataframe::DataFrame::new(self.context().state(), plan);
        Ok(Outcome::Rows(Dataset::new(frame)))
    }
}

/// Wraps rows that this process already has. They are not sent to the cluster.
pub(crate) fn local_rows(batch: RecordBatch) -> Result<Outcome> {
    Ok(Outcome::Rows(Dataset::new(SessionContext::new().read_batch(batch)?)))
}

/// Lists the columns of a table, one in each row.
fn describe_schema(schema: &Schema) -> Result<RecordBatch> {
    let fields = || schema.fields().iter();
    let names: StringArray = fields().map(|field| Some(field.name().as_str())).collect();
    let types: StringArray = fields().map(|field| Some(field.data_type().to_string())).collect();
    let nullable: BooleanArray = fields().map(|field| Some(field.is_nullable())).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("column_name", Arc::new(names)),
        ("data_type", Arc::new(types)),
        ("is_nullable", Arc::new(nullable)),
    ];
    Ok(RecordBatch::try_from_iter(columns).map_err(datafusion::error::DataFusionError::from)?)
}
