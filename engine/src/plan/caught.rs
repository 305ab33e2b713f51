//! Planning that panics is an error of its query.
//!
//! Ballista plans a job in a task that nobody waits for. When a rule of DataFusion, a function whose call is computed while
//! it is planned, or a connector panicked there, the job would stay in the queue for ever, and its client would never hear
//! of it. So the rules of a session and its planner catch panics, and their words become the error of the query.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{Analyzer, AnalyzerRule, OptimizerConfig, OptimizerRule};
use futures::FutureExt as _;
use tonic::Status;

/// Any rule of an optimizer.
type Optimizing = Arc<dyn OptimizerRule + Send + Sync>;
/// Any rule of an analyzer.
type Analyzing = Arc<dyn AnalyzerRule + Send + Sync>;

/// A rule whose panics are errors.
struct Caught<R>(R);

/// Returns an optimizer's rule whose panics are errors.
pub(super) fn rule(rule: Optimizing) -> Optimizing {
    Arc::new(Caught(rule))
}

/// Returns DataFusion's rules of the analyzer, whose panics are errors.
pub(super) fn analyzer_rules() -> Vec<Analyzing> {
    Analyzer::new().rules.into_iter().map(|rule| Arc::new(Caught(rule)) as Analyzing).collect()
}

/// Awaits `planning`, whose panics are errors.
pub(super) async fn planning<T>(planning: impl Future<Output = Result<T>>) -> Result<T> {
    let planned = AssertUnwindSafe(planning).catch_unwind().await;
    planned.unwrap_or_else(|panic| Err(panicked("the planner", panic.as_ref())))
}

impl OptimizerRule for Caught<Optimizing> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        catch(&format!("the rule {}", self.name()), || self.0.rewrite(plan, config))
    }
}

impl AnalyzerRule for Caught<Analyzing> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        catch(&format!("the rule {}", self.name()), || self.0.analyze(plan, config))
    }
}

impl fmt::Debug for Caught<Optimizing> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caught").field(&self.0).finish()
    }
}

impl fmt::Debug for Caught<Analyzing> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caught").field(&self.0).finish()
    }
}

/// Awaits the answer to a request that brings a plan, and whose panics are errors.
pub(crate) async fn answer<T>(
    answer: impl Future<Output = std::result::Result<T, Status>>,
) -> std::result::Result<T, Status> {
    let answered = AssertUnwindSafe(answer).catch_unwind().await;
    answered.unwrap_or_else(|panic| {
        let error = panicked("the decoder of plans", panic.as_ref());
        Err(Status::invalid_argument(error.to_string()))
    })
}

/// Reads a plan, or calls a rule. What it may leave half done is its plan, which is lost with it.
pub(crate) fn catch<T>(who: &str, rule: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(rule)).unwrap_or_else(|panic| Err(panicked(who, panic.as_ref())))
}

/// The words of a panic.
pub(crate) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn panicked(who: &str, panic: &(dyn Any + Send)) -> DataFusionError {
    let text = words(panic);
    tracing::error!(panic = text, "{who} panicked");
    DataFusionError::Execution(format!("planning failed: {who} panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use async_trait::async_trait;
    use datafusion::catalog::{Session, TableProvider};
    use datafusion::execution::SessionStateBuilder;
    use datafusion::logical_expr::{Expr, TableType};
    use datafusion::physical_plan::ExecutionPlan;
    use datafusion::prelude::SessionContext;
    use tokio::runtime::Handle;
    use tonic::Code;

    use super::*;
    use crate::Config;
    use crate::connectors::registry::Connectors;
    use crate::functions::Functions;
    use crate::plan::state::{Role, session_config, session_state};

    /// A table that cannot be planned.
    #[derive(Debug)]
    struct Panicking;

    #[async_trait]
    impl TableProvider for Panicking {
        fn schema(&self) -> SchemaRef {
            Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
        }

        fn table_type(&self) -> TableType {
            TableType::Base
        }

        async fn scan(
            &self,
            _: &dyn Session,
            _: Option<&Vec<usize>>,
            _: &[Expr],
            _: Option<usize>,
        ) -> Result<Arc<dyn ExecutionPlan>> {
            panic!("no such partition")
        }
    }

    /// As a rule of an optimizer it panics where a plan has a column `broken`, and as one of an analyzer always.
    #[derive(Debug)]
    struct Broken;

    impl OptimizerRule for Broken {
        fn name(&self) -> &str {
            "broken"
        }

        fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
            assert!(!plan.schema().has_column_with_unqualified_name("broken"), "index out of bounds");
            Ok(Transformed::no(plan))
        }
    }

    impl AnalyzerRule for Broken {
        fn name(&self) -> &str {
            "broken"
        }

        fn analyze(&self, _: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
            panic!("index out of bounds")
        }
    }

    fn context() -> SessionContext {
        let boom = |_: i64| -> i64 { panic!("boom: {}", 7) };
        let config = Config { functions: Functions::new().scalar("boom", boom), ..Config::default() };
        let connectors = Arc::new(Connectors::new(&config, Handle::current()));
        let state = session_state(Role::Server, session_config(&config, &connectors), &connectors).unwrap();
        let state = SessionStateBuilder::new_from_existing(state).with_optimizer_rule(rule(Arc::new(Broken)));
        let context = SessionContext::new_with_state(state.build());
        context.register_table("panicking", Arc::new(Panicking)).unwrap();
        context
    }

    #[tokio::test]
    async fn planning_that_panics_is_an_error_with_its_words() {
        let context = context();
        for (sql, expected) in [
            ("SELECT n FROM panicking", "planning failed: the planner panicked: no such partition"),
            ("SELECT boom(1)", "panicked: boom: 7"),
            ("SELECT 1 AS broken", "planning failed: the rule broken panicked: index out of bounds"),
        ] {
            let plan = context.state().create_logical_plan(sql).await.unwrap();
            let error = context.state().create_physical_plan(&plan).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{sql}: {error}");
        }
        let rules =
            context.state().analyzer().rules.iter().map(|rule| format!("{rule:?}")).collect::<Vec<_>>();
        let bare: Vec<_> = rules.iter().filter(|rule| !rule.starts_with("Caught")).collect();
        assert!(bare.iter().all(|rule| rule.starts_with("PlanGuard")), "all rules but our own: {bare:?}");
        let analyzer = Caught(Arc::new(Broken) as Analyzing);
        let plan = context.state().create_logical_plan("SELECT 1").await.unwrap();
        let error = analyzer.analyze(plan, &ConfigOptions::default()).unwrap_err().to_string();
        assert!(error.contains("the rule broken panicked"), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_panics_is_an_error_with_its_words() {
        let status = answer(async { Err::<(), _>(Status::not_found("no such job")) }).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        let broken = async {
            let list: Option<()> = None;
            list.map(Ok).expect("list array")
        };
        let status = answer(broken).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("panicked: list array"), "{status}");
    }
}
