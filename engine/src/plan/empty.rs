//! Keeps the columns of a relation that can have no rows, as `WHERE 1 = 0` leaves one.
//!
//! DataFusion's optimizer replaces what can have no rows by an `EmptyRelation` with the same columns. Its protobuf form
//! (datafusion-proto 55) says nothing of columns, so on the scheduler a `SELECT *` has none and `count(label)` finds no
//! `label`. An empty table says the same and travels with its schema.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::Column;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The name of the table in plans.
const NAME: &str = "no_rows";

/// The rule, for sessions whose plans travel.
#[derive(Debug)]
pub(super) struct KeepEmptyColumns;

impl OptimizerRule for KeepEmptyColumns {
    fn name(&self) -> &'static str {
        "firesteel_keep_empty_columns"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema }) = &plan else {
            return Ok(Transformed::no(plan));
        };
        if schema.fields().is_empty() {
            return Ok(Transformed::no(plan));
        }
        // Columns of several tables may have one name: here each gets its own.
        let field =
            |(number, field): (usize, &Arc<Field>)| field.as_ref().clone().with_name(format!("c{number}"));
        let columns: Vec<Field> = schema.fields().iter().enumerate().map(field).collect();
        let table = EmptyTable::new(Arc::new(Schema::new(columns)));
        let named = schema.iter().enumerate().map(|(number, (table, field))| {
            let column = Expr::Column(Column::new(Some(NAME), format!("c{number}")));
            column.alias_qualified(table.cloned(), field.name().clone())
        });
        let named: Vec<Expr> = named.collect();
        let empty = LogicalPlanBuilder::scan(NAME, provider_as_source(Arc::new(table)), None)?;
        Ok(Transformed::yes(empty.project(named)?.build()?))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn no_columns_are_lost_and_no_rows_are_made() {
        let state = SessionStateBuilder::new().with_default_features().build();
        let mut rules = state.optimizers().to_vec();
        rules.push(Arc::new(KeepEmptyColumns));
        let state = SessionStateBuilder::new_from_existing(state).with_optimizer_rules(rules).build();
        let context = SessionContext::new_with_state(state);
        context.sql("CREATE TABLE t AS VALUES (1, 'a'), (2, 'b')").await.unwrap().collect().await.unwrap();
        for (sql, columns, rows) in [
            ("SELECT * FROM t WHERE 1 = 0", 2, 0),
            ("SELECT a.column1, b.column1 FROM t a JOIN t b ON a.column2 = b.column2 WHERE false", 2, 0),
            ("SELECT count(column2), max(column1) FROM t WHERE false", 2, 1),
            ("SELECT column2, count(*) FROM t WHERE 1 = 2 GROUP BY column2", 2, 0),
            ("SELECT * FROM t WHERE column1 > 1 UNION ALL SELECT * FROM t WHERE false", 2, 1),
            ("SELECT 1", 1, 1),
        ] {
            let frame = context.sql(sql).await.unwrap();
            let plan = frame.clone().into_optimized_plan().unwrap();
            let bare = plan.display_indent().to_string().contains("EmptyRelation: rows=0");
            assert!(!bare, "{sql}: {}", plan.display_indent());
            let batches = frame.collect().await.unwrap();
            let found: usize = batches.iter().map(|batch| batch.num_rows()).sum();
            assert_eq!((plan.schema().fields().len(), found), (columns, rows), "{sql}");
        }
    }
}
