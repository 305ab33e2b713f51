//! Relations of Spark as plans of the engine.

mod aggregate;
mod join;
mod local;
mod missing;
mod read;
mod shape;

use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::relation::RelType;
use futures::future::BoxFuture;

pub(super) use self::read::{FileOptions, backticked, quoted_table, table_exists, text_literal};
use super::error::{Result, SparkError};
use super::frame::{Frame, Output};
use super::scope::Scope;
use crate::plan::guard;
use crate::{ConfigField, Error, Session};

/// Translates relations for a session.
pub(super) struct Translator<'a> {
    pub(super) session: &'a Session,
    pub(super) state: SessionState,
    pub(super) zone: String,
    pub(super) registered: Vec<String>,
    /// How many relations are translated so far.
    relations: AtomicUsize,
}

impl<'a> Translator<'a> {
    pub(super) fn new(session: &'a Session, zone: &str) -> Self {
        let registered = session.connectors().functions().names().map(str::to_owned).collect();
        let (state, zone) = (session.context().state(), zone.to_owned());
        Self { session, state, zone, registered, relations: AtomicUsize::new(0) }
    }

    /// What expressions over `frame` mean.
    pub(super) fn scope<'f>(&'f self, frame: &'f Frame) -> Scope<'f> {
        Scope { state: &self.state, frame, zone: &self.zone, registered: &self.registered }
    }

    /// Translates a relation.
    pub(super) fn relation<'f>(&'f self, relation: &'f proto::Relation) -> BoxFuture<'f, Result<Frame>> {
        Box::pin(async move {
            self.count_one()?;
            let frame = self.operator(relation).await?;
            Ok(frame.belongs_to(relation.common.as_ref().and_then(|common| common.plan_id)))
        })
    }

    /// Counts a relation: a plan of more than the engine's limit has nodes costs nothing further.
    fn count_one(&self) -> Result<()> {
        let most = self.session.connectors().limits().plan_nodes;
        if self.relations.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(());
        }
        let (what, setting) = ("the relations of the plan".to_owned(), ConfigField::LimitsPlanNodes);
        Err(Error::OverLimit { what, most: most as u64, setting }.into())
    }

    /// A plan that is within the limits, the views that it reads and what they read among it.
    pub(super) fn within_limits(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        guard::check(&plan, self.session.connectors().limits())?;
        Ok(plan)
    }

    /// An input that must be there.
    pub(super) async fn input(&self, input: Option<&proto::Relation>) -> Result<Frame> {
        self.relation(input.ok_or_else(|| SparkError::incomplete("the input of a relation"))?).await
    }

    async fn operator(&self, relation: &proto::Relation) -> Result<Frame> {
        let kind = relation
            .rel_type
            .as_ref()
            .ok_or_else(|| SparkError::unsupported("a relation of an unknown kind"))?;
        match kind {
            RelType::Read(read) => self.read(read).await,
            RelType::Sql(sql) => self.sql(sql).await,
            RelType::LocalRelation(local) => self.local(local),
            RelType::Range(range) => local::range(range),
            RelType::Project(project) => self.project(project).await,
            RelType::Filter(filter) => {
                let frame = self.input(filter.input.as_deref()).await?;
                let scope = self.scope(&frame);
                let condition = scope.condition(scope.required(filter.condition.as_ref())?)?;
                let plan = LogicalPlanBuilder::from(frame.plan.clone()).filter(condition)?.build()?;
                Ok(frame.over(plan))
            }
            RelType::Join(join) => self.join(join).await,
            RelType::SetOp(operation) => self.set_operation(operation).await,
            RelType::Sort(sort) => {
                let frame = self.input(sort.input.as_deref()).await?;
                let keys = self.scope(&frame).order(&sort.order)?;
                let plan = LogicalPlanBuilder::from(frame.plan.clone()).sort(keys)?.build()?;
                Ok(frame.over(plan))
            }
            RelType::Limit(limit) => {
                let frame = self.input(limit.input.as_deref()).await?;
                let plan = LogicalPlanBuilder::from(frame.plan.clone())
                    .limit(0, Some(count(limit.limit)?))?
                    .build()?;
                Ok(frame.over(plan))
            }
            RelType::Offset(offset) => {
                let frame = self.input(offset.input.as_deref()).await?;
                let plan = LogicalPlanBuilder::from(frame.plan.clone())
                    .limit(count(offset.offset)?, None)?
                    .build()?;
                Ok(frame.over(plan))
            }
            RelType::Aggregate(aggregate) => self.aggregate(aggregate).await,
            RelType::Deduplicate(deduplicate) => self.deduplicate(deduplicate).await,
            RelType::SubqueryAlias(alias) => {
                Ok(self.input(alias.input.as_deref()).await?.named(&alias.alias))
            }
            // Where rows lie is the engine's to decide; which there are does not depend on it.
            RelType::Repartition(repartition) => self.input(repartition.input.as_deref()).await,
            RelType::RepartitionByExpression(repartition) => self.input(repartition.input.as_deref()).await,
            RelType::Hint(hint) => self.input(hint.input.as_deref()).await,
            RelType::ToDf(names) => self.renamed_all(names).await,
            RelType::WithColumnsRenamed(renamed) => self.renamed(renamed).await,
            RelType::WithColumns(columns) => self.with_columns(columns).await,
            RelType::Drop(drop) => self.drop_columns(drop).await,
            RelType::ToSchema(schema) => self.to_schema(schema).await,
            RelType::Unpivot(unpivot) => self.unpivot(unpivot).await,
            RelType::FillNa(fill) => self.fill(fill).await,
            RelType::DropNa(drop) => self.drop_nulls(drop).await,
            RelType::Replace(replace) => self.replace(replace).await,
            RelType::Catalog(catalog) => self.catalog(catalog).await,
            RelType::WithRelations(with) if with.references.is_empty() => {
                self.input(with.root.as_deref()).await
            }
            RelType::Sample(sample) => self.sample(sample).await,
            other => Err(SparkError::unsupported(name_of(other))),
        }
    }

    async fn sample(&self, sample: &proto::Sample) -> Result<Frame> {
        if sample.with_replacement.unwrap_or(false) {
            return Err(SparkError::unsupported("a sample with replacement"));
        }
        let frame = self.input(sample.input.as_deref()).await?;
        // Which rows are drawn differs from Spark's, and from run to run.
        let drawn = datafusion::functions::expr_fn::random();
        let condition = drawn.lt(lit(sample.upper_bound - sample.lower_bound));
        let plan = LogicalPlanBuilder::from(frame.plan.clone()).filter(condition)?.build()?;
        Ok(frame.over(plan))
    }

    async fn project(&self, project: &proto::Project) -> Result<Frame> {
        let frame = match project.input.as_deref() {
            Some(input) => self.relation(input).await?,
            None => Frame::new(LogicalPlanBuilder::empty(true).build()?),
        };
        if let Some(exploded) = self.explode(&frame, &project.expressions)? {
            return Ok(exploded);
        }
        let outputs = self.scope(&frame).outputs(&project.expressions)?;
        self.projected(frame, outputs)
    }

    /// Computes columns, those over windows among them.
    pub(super) fn projected(&self, frame: Frame, outputs: Vec<Output>) -> Result<Frame> {
        if outputs.iter().any(|output| aggregate::has_aggregate(&output.expr)) {
            // `df.select(max("a"))` is one group of all rows.
            return aggregate::grouped(frame, Vec::new(), outputs);
        }
        let exprs: Vec<_> = outputs.iter().map(|output| output.expr.clone()).collect();
        let windows = datafusion::logical_expr::utils::find_window_exprs(&exprs);
        if windows.is_empty() {
            return frame.project(outputs);
        }
        let plan = LogicalPlanBuilder::window_plan(frame.plan.clone(), windows)?;
        frame.over(plan).project(outputs)
    }
}

/// A number of rows.
pub(super) fn count(number: i32) -> Result<usize> {
    usize::try_from(number).map_err(|_| SparkError::argument(format!("{number} is no number of rows.")))
}

/// What a relation that is not supported is called.
fn name_of(kind: &RelType) -> &'static str {
    match kind {
        RelType::MapPartitions(_) => "mapInPandas and mapInArrow: functions in Python",
        RelType::GroupMap(_) | RelType::CoGroupMap(_) => "applyInPandas: functions in Python",
        RelType::ApplyInPandasWithState(_) | RelType::WithWatermark(_) => "a streaming query",
        RelType::CommonInlineUserDefinedTableFunction(_) => "a table function in Python",
        RelType::CommonInlineUserDefinedDataSource(_) => "a data source in Python",
        RelType::CachedLocalRelation(_) | RelType::ChunkedCachedLocalRelation(_) => {
            "rows sent as an artifact"
        }
        RelType::CachedRemoteRelation(_) => "a checkpoint",
        RelType::ShowString(_) | RelType::HtmlString(_) | RelType::Tail(_) => {
            "show or tail below another operator"
        }
        RelType::Summary(_) | RelType::Describe(_) => "describe and summary",
        RelType::Crosstab(_) | RelType::Cov(_) | RelType::Corr(_) | RelType::ApproxQuantile(_) => {
            "crosstab, cov, corr and approxQuantile of a data frame"
        }
        RelType::FreqItems(_) | RelType::SampleBy(_) => "freqItems and sampleBy",
        RelType::CollectMetrics(_) => "observe",
        RelType::Parse(_) => "reading CSV or JSON out of a column",
        RelType::AsOfJoin(_) | RelType::LateralJoin(_) | RelType::NearestByJoin(_) => {
            "as-of, lateral and nearest joins"
        }
        RelType::Transpose(_) => "transpose",
        RelType::UnresolvedTableValuedFunction(_) => "a table function",
        RelType::MlRelation(_) => "machine learning",
        RelType::WithRelations(_) => "a plan that refers to others",
        _ => "a relation of this kind",
    }
}
