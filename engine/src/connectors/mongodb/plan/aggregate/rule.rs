//! Replaces partial aggregates over scans by groups of the server, while a query is planned.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};

use super::cost::{Split, split};
use super::exec::MongoGroupExec;

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct AggregatePushdown;

impl PhysicalOptimizerRule for AggregatePushdown {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(node));
            };
            let pushed = match aggregate.mode() {
                AggregateMode::Partial => push(aggregate)?,
                AggregateMode::Single => push_single(aggregate)?,
                _ => None,
            };
            Ok(pushed.map_or_else(|| Transformed::no(node), Transformed::yes))
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &str {
        "firesteel_aggregate_pushdown"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn push(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(node) = MongoGroupExec::of(aggregate)? else { return Ok(None) };
    let scan = node.scan();
    // The other modes let documents pass that do not fit, which a group does not show one by one.
    let strict = scan.decode.mode.is_failfast();
    if !scan.aggregate_pushdown || !strict || scan.limit.is_some() {
        return Ok(None);
    }
    let ranges = node.properties().partitioning.partition_count();
    let node = match split(scan.clustered, ranges) {
        Split::Whole if ranges != 1 => node.over_everything()?,
        Split::Whole | Split::Ranges => node,
    };
    Ok(Some(Arc::new(node)))
}

/// An aggregate in one step becomes one in two.
fn push_single(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (by, functions, filters) =
        (aggregate.group_expr(), aggregate.aggr_expr().to_vec(), aggregate.filter_expr().to_vec());
    let partial = AggregateExec::try_new(
        AggregateMode::Partial,
        by.clone(),
        functions.clone(),
        filters.clone(),
        Arc::clone(aggregate.input()),
        aggregate.input_schema(),
    )?;
    let Some(pushed) = push(&partial)? else { return Ok(None) };
    let merged = AggregateExec::try_new(
        AggregateMode::Final,
        by.as_final(),
        functions,
        filters,
        pushed,
        aggregate.input_schema(),
    )?;
    Ok(Some(Arc::new(merged.with_limit_options(aggregate.limit_options()))))
}
