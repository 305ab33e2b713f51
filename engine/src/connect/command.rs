//! Commands: views, statements of SQL, and writing.

use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::LogicalPlan;
use firesteel_common::access::Role;
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::command::CommandType;
use firesteel_proto::spark::connect::execute_plan_response::{ResponseType, SqlCommandResult};
use firesteel_proto::spark::connect::relation::RelType;
use firesteel_proto::spark::connect::write_operation::{SaveMode, SaveType, save_table::TableSaveMethod};

use super::error::{Kind, Result, SparkError};
use super::execute::Execution;
use super::frame::Frame;
use super::relation::{FileOptions, backticked, quoted_table, table_exists, text_literal};
use super::statement;
use crate::query::sql::Outcome;

impl Execution {
    /// Runs a command.
    pub(super) async fn command(&self, command: &proto::Command) -> Result<()> {
        let kind = command
            .command_type
            .as_ref()
            .ok_or_else(|| SparkError::unsupported("a command of an unknown kind"))?;
        match kind {
            CommandType::SqlCommand(sql) => self.sql(sql).await,
            CommandType::CreateDataframeView(view) => self.view(view).await,
            CommandType::WriteOperation(write) => self.write(write).await,
            CommandType::WriteOperationV2(write) => self.write_to(write).await,
            CommandType::RegisterFunction(_) | CommandType::RegisterTableFunction(_) => {
                Err(SparkError::unsupported(
                    "functions in Python; functions are written in Rust and registered on every process",
                ))
            }
            CommandType::RegisterDataSource(_) => Err(SparkError::unsupported("a data source in Python")),
            CommandType::WriteStreamOperationStart(_)
            | CommandType::StreamingQueryCommand(_)
            | CommandType::StreamingQueryManagerCommand(_)
            | CommandType::StreamingQueryListenerBusCommand(_) => {
                Err(SparkError::unsupported("a streaming query"))
            }
            CommandType::GetResourcesCommand(_) | CommandType::CreateResourceProfileCommand(_) => {
                Err(SparkError::unsupported("resources and their profiles"))
            }
            CommandType::CheckpointCommand(_) | CommandType::RemoveCachedRemoteRelationCommand(_) => {
                Err(SparkError::unsupported("a checkpoint"))
            }
            CommandType::MergeIntoTableCommand(_) => Err(SparkError::unsupported("MERGE INTO")),
            CommandType::MlCommand(_) => Err(SparkError::unsupported("machine learning")),
            CommandType::ExecuteExternalCommand(_) | CommandType::PipelineCommand(_) => {
                Err(SparkError::unsupported("external commands and pipelines"))
            }
        }
    }

    /// A statement: a query becomes a plan that the client runs, and anything else is done at once.
    async fn sql(&self, command: &proto::SqlCommand) -> Result<()> {
        let sql = match command.input.as_ref().and_then(|input| input.rel_type.as_ref()) {
            Some(RelType::Sql(sql)) => sql.clone(),
            Some(_) => return Err(SparkError::unsupported("SQL over other data frames")),
            None => proto::Sql {
                query: command.sql.clone(),
                args: command.args.clone(),
                pos_args: command.pos_args.clone(),
                named_arguments: command.named_arguments.clone(),
                pos_arguments: command.pos_arguments.clone(),
            },
        };
        let (state, limits) =
            (self.session.engine.context().state(), self.session.engine.connectors().limits());
        let text = statement::with_arguments(&sql, limits)?;
        let parsed = statement::parse(&state, &text, limits)?;
        self.caller.needs(parsed.role)?;
        let kind = if parsed.is_query {
            // What is wrong with it is told now, and not when its rows are asked for.
            self.translator().sql(&sql).await?;
            RelType::Sql(sql)
        } else {
            match self.session.engine.execute(&text).await? {
                Outcome::Done(_) => {}
                Outcome::Rows(rows) => {
                    let plan = rows.into_frame().into_parts().1;
                    self.finish(plan).await?;
                }
            }
            let nothing = proto::LocalRelation { data: None, schema: Some(EMPTY.to_owned()) };
            RelType::LocalRelation(nothing)
        };
        let relation = Some(proto::Relation { common: None, rel_type: Some(kind) });
        self.send(ResponseType::SqlCommandResult(SqlCommandResult { relation }), None).await;
        Ok(())
    }

    /// Runs a plan whose rows nobody asks for.
    async fn finish(&self, plan: LogicalPlan) -> Result<()> {
        let frame = Frame::new(plan);
        let schema = super::output::delivered_schema(&frame.schema()?, &self.session.zone())?;
        self.collect(frame, &schema).await?;
        Ok(())
    }

    async fn view(&self, view: &proto::CreateDataFrameViewCommand) -> Result<()> {
        let input = view.input.as_ref().ok_or_else(|| SparkError::incomplete("the plan of a view"))?;
        let translator = self.translator();
        let plan = translator.within_limits(translator.relation(input).await?.into_plan()?)?;
        let context = self.session.engine.context();
        let name = quoted_table(&view.name)?;
        if let Some(known) = table_exists(&self.session.engine, &view.name)? {
            let known = TableReference::parse_str(&known);
            if !view.replace {
                let message = format!(
                    "Cannot create the temporary view `{}` because it already exists. Choose a different name, drop or \
                     replace the existing view.",
                    view.name
                );
                return Err(SparkError::new(
                    Kind::Analysis,
                    "TEMP_TABLE_OR_VIEW_ALREADY_EXISTS",
                    "42P07",
                    message,
                ));
            }
            context.deregister_table(known)?;
        }
        let table = Arc::new(ViewTable::new(plan, None));
        context.register_table(TableReference::parse_str(&name), table)?;
        Ok(())
    }

    async fn write(&self, write: &proto::WriteOperation) -> Result<()> {
        self.caller.needs(Role::Writer)?;
        if !write.partitioning_columns.is_empty()
            || write.bucket_by.is_some()
            || !write.clustering_columns.is_empty()
        {
            return Err(SparkError::unsupported("partitionBy, bucketBy and clusterBy"));
        }
        if !write.sort_column_names.is_empty() {
            return Err(SparkError::unsupported("sortBy"));
        }
        let input = write.input.as_ref().ok_or_else(|| SparkError::incomplete("what is written"))?;
        let frame = self.translator().relation(input).await?;
        match &write.save_type {
            Some(SaveType::Path(path)) => self.save(frame, write, path).await,
            Some(SaveType::Table(table)) => {
                let name = &table.table_name;
                let append =
                    table.save_method() == TableSaveMethod::InsertInto || write.mode() == SaveMode::Append;
                match table_exists(&self.session.engine, name)? {
                    Some(_) if write.mode() == SaveMode::Ignore => Ok(()),
                    Some(known) if append && write.mode() != SaveMode::Overwrite => {
                        self.insert(frame, &known).await
                    }
                    Some(_) if write.mode() == SaveMode::Overwrite => {
                        Err(SparkError::unsupported("overwriting a table; append adds rows to it"))
                    }
                    Some(_) => {
                        let message =
                            format!("Cannot create table or view `{name}` because it already exists.");
                        Err(SparkError::new(Kind::Analysis, "TABLE_OR_VIEW_ALREADY_EXISTS", "42P07", message))
                    }
                    None if append => Err(SparkError::table(name)),
                    None => Err(SparkError::unsupported(
                        "saveAsTable of a table that is not there; CREATE EXTERNAL TABLE says where it is kept",
                    )),
                }
            }
            None if ["noop"].contains(&write.source.as_deref().unwrap_or_default()) => {
                self.finish(frame.ordered()?).await
            }
            None => match write.options.get("path") {
                Some(path) => self.save(frame, write, path).await,
                None => Err(SparkError::unsupported(format!(
                    "writing to {} without a path",
                    write.source.as_deref().unwrap_or("a data source")
                ))),
            },
        }
    }

    async fn write_to(&self, write: &proto::WriteOperationV2) -> Result<()> {
        use proto::write_operation_v2::Mode;
        self.caller.needs(Role::Writer)?;
        if write.mode() != Mode::Append {
            return Err(SparkError::unsupported("writeTo by other than append()"));
        }
        let known = table_exists(&self.session.engine, &write.table_name)?;
        let known = known.ok_or_else(|| SparkError::table(&write.table_name))?;
        let input = write.input.as_ref().ok_or_else(|| SparkError::incomplete("what is written"))?;
        let frame = self.translator().relation(input).await?;
        self.insert(frame, &known).await
    }

    /// Adds rows to a table, by the names of its columns.
    async fn insert(&self, frame: Frame, table: &str) -> Result<()> {
        let columns: Vec<String> = frame.names().iter().map(|name| backticked(name)).collect();
        let sql =
            |view: &str| format!("INSERT INTO {table} ({0}) SELECT {0} FROM {view}", columns.join(", "));
        self.through_view(frame, sql).await
    }

    /// Writes files.
    async fn save(&self, frame: Frame, write: &proto::WriteOperation, path: &str) -> Result<()> {
        let format = write.source.as_deref().unwrap_or("parquet").to_lowercase();
        if !["parquet", "csv", "json"].contains(&format.as_str()) {
            return Err(SparkError::unsupported(format!("writing files of the format {format:?}")));
        }
        let options = FileOptions::read(&format, &write.options)?.clause();
        let folder = super::files::Folder::new(&self.session.engine, path)?;
        let mut old = Vec::new();
        match write.mode() {
            SaveMode::Append => {}
            SaveMode::Overwrite => old = folder.files().await?,
            SaveMode::Ignore if !folder.files().await?.is_empty() => return Ok(()),
            SaveMode::Ignore => {}
            SaveMode::ErrorIfExists | SaveMode::Unspecified => {
                if !folder.files().await?.is_empty() {
                    let message = format!(
                        "Path {path} already exists. Set mode as \"overwrite\" to overwrite the existing path."
                    );
                    return Err(SparkError::new(Kind::Analysis, "PATH_ALREADY_EXISTS", "42K04", message));
                }
            }
        }
        let place = text_literal(folder.location());
        let stored_as = format.to_uppercase();
        self.through_view(frame, |view| {
            format!("COPY (SELECT * FROM {view}) TO {place} STORED AS {stored_as}{options}")
        })
        .await?;
        // Last, because they may be what was read.
        folder.delete(old).await
    }

    /// Runs a statement over rows that have a name in it for as long as it is planned.
    async fn through_view(&self, frame: Frame, sql: impl FnOnce(&str) -> String) -> Result<()> {
        let view = format!("#rows{}", self.operation.id);
        let context = self.session.engine.context();
        let table = Arc::new(ViewTable::new(frame.into_plan()?, None));
        context.register_table(TableReference::bare(view.clone()), table)?;
        let planned = self.session.engine.execute(&sql(&backticked(&view))).await;
        context.deregister_table(TableReference::bare(view))?;
        match planned? {
            Outcome::Rows(rows) => self.finish(rows.into_frame().into_parts().1).await,
            Outcome::Done(_) => Ok(()),
        }
    }
}

/// A schema without columns.
const EMPTY: &str = r#"{"type":"struct","fields":[]}"#;

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;

    #[test]
    fn nothing_has_no_columns() {
        let parsed = super::super::types::ddl::parse(EMPTY).unwrap();
        assert_eq!(super::super::types::schema_from_spark(&parsed).unwrap(), Schema::empty());
    }
}
