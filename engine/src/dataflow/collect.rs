//! `collect`: runs a plan and brings its rows here.

use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::logical_expr::LogicalPlan;
use futures::future::BoxFuture;

use super::{Dataset, FromRow, Rows};
use crate::{Error, Result};

/// Whether running a plan twice does nothing twice.
pub(crate) fn only_reads(plan: &LogicalPlan) -> bool {
    let writes = plan.exists(|node| {
        Ok(matches!(
            node,
            LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Ddl(_) | LogicalPlan::Statement(_)
        ))
    });
    matches!(writes, Ok(false))
}

impl Dataset {
    /// Runs the plan. The rows come in no particular order unless the plan sorts them.
    pub async fn collect(self) -> Result<Rows> {
        let schema = std::sync::Arc::new(self.frame.schema().as_arrow().clone());
        Ok(Rows::new(schema, self.batches().await?))
    }

    /// Runs the plan and converts each row, such as to `(String, i64)`.
    pub async fn collect_as<T: FromRow>(self) -> Result<Vec<T>> {
        self.collect().await?.typed()
    }

    /// Runs the plan and gives the rows as Arrow batches.
    pub fn batches(self) -> BoxFuture<'static, Result<Vec<RecordBatch>>> {
        Box::pin(async move {
            // Held to the end: the files of a cached table stay while a plan reads them.
            let _reading = self.frame.logical_plan().clone();
            let again = self.frame.clone();
            match self.frame.collect().await.map_err(Error::from) {
                Err(error) if error.is_lost_work() && only_reads(again.logical_plan()) => {
                    tracing::warn!(%error, "an executor was lost with a part of the result, running the query again");
                    Ok(again.collect().await?)
                }
                ended => ended,
            }
        })
    }

    /// The optimized logical plan and the physical plan, as text.
    pub async fn explain(self) -> Result<String> {
        let rows: Vec<(String, String)> = Self::new(self.frame.explain(false, false)?).collect_as().await?;
        Ok(rows.into_iter().map(|(kind, plan)| format!("{kind}\n{plan}\n")).collect())
    }
}
