//! Runs a plan: rows and commands become the parts of an answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use firesteel_common::access::{Caller, Role};
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::execute_plan_response::{ArrowBatch, ResponseType, ResultComplete};
use firesteel_proto::spark::connect::plan::OpType;
use firesteel_proto::spark::connect::relation::RelType;
use futures::FutureExt as _;

use super::error::{Kind, Result, SparkError};
use super::frame::Frame;
use super::operation::Operation;
use super::relation::{Translator, count};
use super::session::ClientSession;
use super::show::{self, Layout};
use super::{output, types};
use crate::cluster::role_of_plan;
use crate::dataflow::Dataset;
use crate::limits::Deep;
use crate::plan::guard;

/// One run of a plan.
pub(super) struct Execution {
    pub(super) session: Arc<ClientSession>,
    pub(super) operation: Arc<Operation>,
    pub(super) caller: Caller,
}

impl Execution {
    /// Runs a plan to its end, and ends the answer.
    pub(super) async fn run(self, plan: proto::Plan) {
        let answered = AssertUnwindSafe(Deep::new(self.answer(&plan))).catch_unwind().await;
        // A client would wait without end for the answer of a plan that nobody makes any more.
        let end = match answered.unwrap_or_else(|_| Err(panicked())) {
            Ok(()) => {
                if self.operation.reattachable {
                    self.send(ResponseType::ResultComplete(ResultComplete {}), None).await;
                }
                Ok(())
            }
            Err(error) => Err(self.session.failed(error)),
        };
        self.operation.finish(end);
        if !self.operation.reattachable {
            // Its stream has what is left of the answer, and nobody can come back for it.
            self.session.forget(&self.operation.id);
        }
    }

    async fn answer(&self, plan: &proto::Plan) -> Result<()> {
        match plan.op_type.as_ref().ok_or_else(|| SparkError::incomplete("what to run"))? {
            OpType::Root(relation) => self.rows(relation).await,
            OpType::Command(command) => self.command(command).await,
        }
    }

    /// Translates for this session.
    pub(super) fn translator(&self) -> Translator<'_> {
        Translator::new(&self.session.engine, &self.session.zone())
    }

    /// Sends a part of the answer.
    pub(super) async fn send(&self, part: ResponseType, schema: Option<proto::DataType>) {
        let response = proto::ExecutePlanResponse {
            session_id: self.session.id.clone(),
            server_side_session_id: self.session.server_id.clone(),
            operation_id: self.operation.id.clone(),
            response_type: Some(part),
            schema,
            ..proto::ExecutePlanResponse::default()
        };
        self.operation.push(response).await;
    }

    async fn rows(&self, relation: &proto::Relation) -> Result<()> {
        let translator = self.translator();
        match &relation.rel_type {
            Some(RelType::ShowString(show)) => {
                let frame = translator.input(show.input.as_deref()).await?;
                let layout = layout(show.num_rows, show.truncate, show.vertical)?;
                let (names, batches) = self.first(frame, layout.rows).await?;
                let text = show::table(&names, &batches, layout)?;
                self.local("show_string", text).await
            }
            Some(RelType::HtmlString(show)) => {
                let frame = translator.input(show.input.as_deref()).await?;
                let layout = layout(show.num_rows, show.truncate, false)?;
                let (names, batches) = self.first(frame, layout.rows).await?;
                let text = show::html(&names, &batches, layout)?;
                self.local("html_string", text).await
            }
            Some(RelType::Tail(tail)) => {
                let frame = translator.input(tail.input.as_deref()).await?;
                let schema = output::delivered_schema(&frame.schema()?, &self.session.zone())?;
                let spark = types::schema_to_spark(&frame.schema()?)?;
                let batches = self.collect(frame, &schema).await?;
                let whole = concat_batches(&schema_of(&batches, &schema), &batches)?;
                let keep = count(tail.limit)?.min(whole.num_rows());
                let last = whole.slice(whole.num_rows() - keep, keep);
                self.batches(&spark, &schema, vec![last]).await
            }
            _ => {
                let frame = translator.relation(relation).await?;
                self.stream(frame).await
            }
        }
    }

    /// Rows as text, with one more than is shown where there are more.
    async fn first(&self, frame: Frame, rows: usize) -> Result<(Vec<String>, Vec<RecordBatch>)> {
        let plan = datafusion::logical_expr::LogicalPlanBuilder::from(frame.plan.clone())
            .limit(0, Some(rows.saturating_add(1)))?
            .build()?;
        let frame = frame.over(plan);
        let schema = output::delivered_schema(&frame.schema()?, &self.session.zone())?;
        let names = frame.names();
        Ok((names, self.collect(frame, &schema).await?))
    }

    async fn local(&self, name: &str, text: String) -> Result<()> {
        let batch = show::batch(name, text)?;
        let schema = batch.schema();
        self.batches(&types::schema_to_spark(&schema)?, &schema, vec![batch]).await
    }

    /// Sends rows that are known.
    async fn batches(
        &self,
        spark: &proto::DataType,
        schema: &SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<()> {
        let mut sent = 0_usize;
        for batch in batches.iter().flat_map(output::pieces) {
            sent += self.batch(spark, &batch, sent).await?;
        }
        if sent == 0 {
            self.batch(spark, &RecordBatch::new_empty(Arc::clone(schema)), 0).await?;
        }
        Ok(())
    }

    async fn batch(&self, spark: &proto::DataType, batch: &RecordBatch, before: usize) -> Result<usize> {
        let rows = batch.num_rows();
        let part = ArrowBatch {
            row_count: i64::try_from(rows).unwrap_or(i64::MAX),
            data: output::encode(batch)?.into(),
            start_offset: i64::try_from(before).ok(),
        };
        let schema = (before == 0).then(|| spark.clone());
        self.send(ResponseType::ArrowBatch(part), schema).await;
        Ok(rows)
    }

    /// Runs a plan and sends its rows as they come.
    async fn stream(&self, frame: Frame) -> Result<()> {
        let zone = self.session.zone();
        let visible = frame.schema()?;
        let schema = output::delivered_schema(&visible, &zone)?;
        let spark = types::schema_to_spark(&visible)?;
        let mut sent = 0;
        let mut query = self.start(frame).await?;
        loop {
            let next = tokio::select! {
                next = query.next() => next,
                () = self.operation.cancel.cancelled() => {
                    let _ = query.cancel().await?;
                    return Err(cancelled());
                }
            };
            let Some(batch) = next.transpose()? else { break };
            let batch = output::delivered_batch(&batch, &schema, &zone)?;
            for piece in output::pieces(&batch) {
                sent += self.batch(&spark, &piece, sent).await?;
            }
        }
        if sent == 0 {
            self.batch(&spark, &RecordBatch::new_empty(schema), 0).await?;
        }
        Ok(())
    }

    /// Runs a plan and returns its rows.
    pub(super) async fn collect(&self, frame: Frame, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let zone = self.session.zone();
        let mut query = self.start(frame).await?;
        let mut batches = Vec::new();
        loop {
            let next = tokio::select! {
                next = query.next() => next,
                () = self.operation.cancel.cancelled() => {
                    let _ = query.cancel().await?;
                    return Err(cancelled());
                }
            };
            match next.transpose()? {
                Some(batch) => batches.push(output::delivered_batch(&batch, schema, &zone)?),
                None => return Ok(batches),
            }
        }
    }

    async fn start(&self, frame: Frame) -> Result<crate::Query> {
        let plan = frame.ordered()?;
        self.run_plan(plan).await
    }

    /// Starts the job of a plan that the caller may run.
    pub(super) async fn run_plan(&self, plan: datafusion::logical_expr::LogicalPlan) -> Result<crate::Query> {
        let engine = &self.session.engine;
        guard::check(&plan, engine.connectors().limits())?;
        self.caller.needs(role_of_plan(&plan)?.max(Role::Reader))?;
        engine.check_sources(&plan).await?;
        let frame = datafusion::dataframe::DataFrame::new(engine.context().state(), plan);
        Ok(engine.start(Dataset::new(frame), "Spark Connect").await?)
    }
}

/// What an operation that was ended before time says.
fn cancelled() -> SparkError {
    SparkError::new(Kind::Runtime, "OPERATION_CANCELED", "HY008", "Operation has been canceled.")
}

fn panicked() -> SparkError {
    SparkError::new(
        Kind::Runtime,
        "INTERNAL_ERROR",
        "XX000",
        "The plan made the server fail; its log says how.",
    )
}

fn layout(rows: i32, truncate: i32, vertical: bool) -> Result<Layout> {
    Ok(Layout { rows: count(rows)?, truncate: count(truncate.max(0))?, vertical })
}

/// The schema of batches: what a plan takes for never null may be null in some of them.
fn schema_of(batches: &[RecordBatch], schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().enumerate().map(|(index, field)| {
        let nullable = batches.iter().any(|batch| batch.schema().field(index).is_nullable());
        field.as_ref().clone().with_nullable(field.is_nullable() || nullable)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
