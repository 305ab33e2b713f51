//! What a plan does, and so which role it takes.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use firesteel_common::access::Role;

use crate::connectors::cache::CacheJob;

/// Ballista's node that keeps the result of its input.
const CACHE_NODE: &str = "BallistaCacheNode";

/// The role that running `plan` takes: [`Role::Writer`] where any part of it, those in subqueries and views among them,
/// writes rows or files, defines or drops something, or keeps a table in the cache.
///
/// # Errors
/// A plan that cannot be walked.
pub(crate) fn role_of(plan: &LogicalPlan) -> Result<Role> {
    let mut role = Role::Reader;
    plan.apply_with_subqueries(|node| {
        if role_of_node(node)? > role {
            role = Role::Writer;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(role)
}

fn role_of_node(node: &LogicalPlan) -> Result<Role> {
    Ok(match node {
        LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Ddl(_) => Role::Writer,
        LogicalPlan::Extension(extension) if extension.node.name() == CACHE_NODE => Role::Writer,
        LogicalPlan::TableScan(scan) => match source_as_provider(&scan.source) {
            Ok(table) if table.downcast_ref::<CacheJob>().is_some() => Role::Writer,
            Ok(table) => match table.get_logical_plan() {
                Some(view) => role_of(&view)?,
                None => Role::Reader,
            },
            // Not a table of a plan that can be run.
            Err(_) => Role::Reader,
        },
        _ => Role::Reader,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::datasource::{ViewTable, provider_as_source};
    use datafusion::logical_expr::LogicalPlanBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn plan(sql: &str) -> LogicalPlan {
        let context = SessionContext::new();
        context.sql("CREATE TABLE t AS VALUES (1), (2)").await.unwrap();
        context.state().create_logical_plan(sql).await.unwrap()
    }

    #[tokio::test]
    async fn a_plan_that_writes_takes_a_writer_however_deep_it_is() {
        for (sql, role) in [
            ("SELECT * FROM t", Role::Reader),
            ("SELECT * FROM t WHERE column1 IN (SELECT max(column1) FROM t)", Role::Reader),
            ("EXPLAIN SELECT * FROM t", Role::Reader),
            ("SET datafusion.execution.batch_size = 100", Role::Reader),
            ("INSERT INTO t VALUES (3)", Role::Writer),
            ("EXPLAIN ANALYZE INSERT INTO t VALUES (3)", Role::Writer),
            ("COPY (SELECT * FROM t) TO '/tmp/t.csv' STORED AS CSV", Role::Writer),
            ("CREATE TABLE u AS SELECT * FROM t", Role::Writer),
            ("CREATE VIEW v AS SELECT * FROM t", Role::Writer),
            ("CREATE EXTERNAL TABLE u STORED AS CSV LOCATION '/tmp/t.csv'", Role::Writer),
            ("DROP TABLE t", Role::Writer),
        ] {
            assert_eq!(role_of(&plan(sql).await).unwrap(), role, "{sql}");
        }
    }

    #[tokio::test]
    async fn a_write_inside_a_view_takes_a_writer() {
        let write = plan("INSERT INTO t VALUES (3)").await;
        let view = provider_as_source(Arc::new(ViewTable::new(write, None)));
        let reading = LogicalPlanBuilder::scan("v", view, None).unwrap().build().unwrap();
        assert_eq!(role_of(&reading).unwrap(), Role::Writer);
    }
}
