//! Says no to plans that are too large, before any rule walks them.
//!
//! A text of a few hundred bytes may be a plan without end: `WITH a AS (…), b AS (SELECT * FROM a, a), c AS (SELECT * FROM b, b) …`
//! doubles with each name. What one text of SQL becomes is counted before it is planned; this counts what a plan from a client, or
//! a view of a view, holds.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::datasource::listing::{ListingTable, ListingTableUrl};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use crate::connectors::files::FileStores;
use crate::limits::SqlLimits;
use crate::{ConfigField, Error};

/// The rule, which runs first.
#[derive(Debug)]
pub(super) struct PlanGuard {
    pub(super) limits: SqlLimits,
}

impl AnalyzerRule for PlanGuard {
    fn name(&self) -> &'static str {
        "firesteel_plan_guard"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        check(&plan, &self.limits)?;
        Ok(plan)
    }
}

/// Refuses plans that write files where this process may not.
#[derive(Debug)]
pub(super) struct WrittenFiles {
    pub(super) stores: Arc<FileStores>,
}

impl AnalyzerRule for WrittenFiles {
    fn name(&self) -> &'static str {
        "firesteel_written_files"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            match node {
                LogicalPlan::Copy(copy) => {
                    self.stores.check_written(&ListingTableUrl::parse(&copy.output_url)?)?;
                }
                LogicalPlan::Dml(statement) => {
                    let table = source_as_provider(&statement.target)?;
                    let paths = table.downcast_ref::<ListingTable>().map(ListingTable::table_paths);
                    for path in paths.into_iter().flatten() {
                        self.stores.check_written(path)?;
                    }
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }
}

/// Checks that a plan has no more nodes, and is no deeper, than the limits allow. It takes time for what is allowed alone.
///
/// # Errors
/// [`Error::OverLimit`].
pub(crate) fn check(plan: &LogicalPlan, limits: &SqlLimits) -> Result<()> {
    let mut left = limits.plan_nodes;
    PlanGuard { limits: *limits }.count(plan, 1, &mut left)
}

impl PlanGuard {
    /// Counts the nodes of a plan that is `depth` deep in another.
    fn count(&self, plan: &LogicalPlan, depth: usize, left: &mut usize) -> Result<()> {
        let mut waiting = vec![(plan, depth)];
        while let Some((node, depth)) = waiting.pop() {
            if depth > self.limits.depth {
                return Err(over("the depth of the plan", self.limits.depth, ConfigField::LimitsSqlDepth));
            }
            *left = left.checked_sub(1).ok_or_else(|| {
                over("the nodes of the plan", self.limits.plan_nodes, ConfigField::LimitsPlanNodes)
            })?;
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    let inner = match expr {
                        Expr::ScalarSubquery(subquery) => Some(subquery),
                        Expr::Exists(exists) => Some(&exists.subquery),
                        Expr::InSubquery(among) => Some(&among.subquery),
                        Expr::SetComparison(comparison) => Some(&comparison.subquery),
                        _ => None,
                    };
                    if let Some(inner) = inner {
                        self.count(&inner.subquery, depth + 1, left)?;
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
            waiting.extend(node.inputs().into_iter().map(|input| (input, depth + 1)));
        }
        Ok(())
    }
}

fn over(what: &str, most: usize, setting: ConfigField) -> datafusion::error::DataFusionError {
    Error::OverLimit { what: what.to_owned(), most: most as u64, setting }.into()
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn checked(sql: &str) -> crate::Result<()> {
        let plan = SessionContext::new().state().create_logical_plan(sql).await?;
        PlanGuard { limits: SqlLimits::default() }.analyze(plan, &ConfigOptions::default())?;
        Ok(())
    }

    fn chain(step: &str, names: usize) -> String {
        let next = |n: usize| format!(", t{n} AS ({})", step.replace("LAST", &format!("t{}", n - 1)));
        let rest: String = (1..names).map(next).collect();
        format!("WITH t0 AS (SELECT 1 AS x){rest} SELECT * FROM t{}", names - 1)
    }

    #[tokio::test]
    async fn a_plan_that_doubles_or_never_ends_is_refused() {
        checked(&chain("SELECT a.x FROM LAST a, LAST b", 8)).await.unwrap();
        for (step, names, setting) in [
            ("SELECT a.x FROM LAST a, LAST b", 16, ConfigField::LimitsPlanNodes),
            ("SELECT x FROM LAST UNION ALL SELECT x FROM LAST", 16, ConfigField::LimitsPlanNodes),
            (
                "SELECT (SELECT max(x) FROM LAST) + (SELECT min(x) FROM LAST) AS x",
                16,
                ConfigField::LimitsPlanNodes,
            ),
            ("SELECT x FROM LAST", 600, ConfigField::LimitsSqlDepth),
        ] {
            let error = checked(&chain(step, names)).await.unwrap_err();
            assert_eq!(error.field(), Some(setting), "{step}: {error}");
        }
    }
}
