//! Plans queries where the sources are: on the scheduler, or in this process.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use super::caught;
use crate::connectors::registry::Connectors;
use crate::error::failed_task;

/// DataFusion's planner with the rules of the connectors behind those of the session.
///
/// They cannot be among the session's own physical optimizers: Ballista's adaptive planner uses rules of its own instead of
/// those, and again after every stage. So they are added for the one time that a query is planned.
#[derive(Debug)]
pub(super) struct Planner {
    pub(super) connectors: Arc<Connectors>,
}

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::default();
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
            return caught::planning(planner.create_physical_plan(plan, session)).await;
        };
        let builder = SessionStateBuilder::new_from_existing(state.clone());
        let builder = builder.with_session_id(state.session_id().to_owned());
        let rules = self.connectors.iter().flat_map(|connector| connector.rules());
        let state = rules.fold(builder, SessionStateBuilder::with_physical_optimizer_rule).build();
        // The scheduler makes a text of an error, which may quote the query: as data it cannot be taken for something else.
        caught::planning(planner.create_physical_plan(plan, &state)).await.map_err(failed_task)
    }
}
