//! `collect`: runs a plan and brings its rows here.

use arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;

use super::run::Run;
use super::{Dataset, FromRow, Rows};
use crate::Result;

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
            let (state, plan) = self.frame.into_parts();
            Run::start(state, plan).await?.collect().await
        })
    }

    /// The optimized logical plan and the physical plan, as text.
    pub async fn explain(self) -> Result<String> {
        let rows: Vec<(String, String)> = Self::new(self.frame.explain(false, false)?).collect_as().await?;
        Ok(rows.into_iter().map(|(kind, plan)| format!("{kind}\n{plan}\n")).collect())
    }
}
