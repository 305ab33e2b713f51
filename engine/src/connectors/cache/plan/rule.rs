//! Puts the aggregate over dictionaries where it may help, while a query is planned.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};

use crate::connectors::cache::read::aggregate::{CachedAggregateExec, suits};
use crate::connectors::cache::read::pipeline::Pipeline;
use crate::connectors::cache::read::scan::CachedScanExec;

/// Puts [`CachedAggregateExec`] over every aggregate of a cached table that it may help.
#[derive(Debug)]
pub(crate) struct CachedAggregateRule;

impl PhysicalOptimizerRule for CachedAggregateRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let rewritten = plan.transform_down(|node| {
            if node.downcast_ref::<CachedAggregateExec>().is_some() {
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
            }
            let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(node));
            };
            if suits(aggregate) && reads_cache(aggregate.input()) {
                let over: Arc<dyn ExecutionPlan> = Arc::new(CachedAggregateExec::new(node));
                return Ok(Transformed::new(over, true, TreeNodeRecursion::Jump));
            }
            Ok(Transformed::no(node))
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &'static str {
        "cached_aggregate"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether the rows come from a cached table by a way that a [`Pipeline`] may know. Ballista takes a repartitioning that
/// only spreads rows out of the plan.
fn reads_cache(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(spread) = plan.downcast_ref::<RepartitionExec>() {
        return !matches!(spread.partitioning(), Partitioning::Hash(..)) && reads_cache(spread.input());
    }
    plan.downcast_ref::<CachedScanExec>().is_some()
        || Pipeline::of(plan).is_some()
        || matches!(plan.children().as_slice(), [child] if child.downcast_ref::<RepartitionExec>().is_some() && reads_cache(child))
}
