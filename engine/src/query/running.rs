//! A running query: rows as they arrive, how far its job is, and its end before time.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use ballista_core::extension::SessionConfigExt as _;
use futures::future::BoxFuture;

use super::session::Session;
use crate::Result;
use crate::dataflow::Dataset;
use crate::jobs::{Activity, Watch};
use crate::plan::Run;

/// How much of a query's text its job is named after, in characters.
const NAME_CHARACTERS: usize = 80;

/// A query that runs. Rows arrive once its last stage has finished.
///
/// Dropping it leaves the job running on the cluster: [`Query::cancel`] ends it.
pub struct Query {
    schema: SchemaRef,
    run: Box<Run>,
    watch: Watch,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query")
            .field("schema", &self.schema)
            .field("watch", &self.watch)
            .field("answered", &self.run.answered())
            .finish_non_exhaustive()
    }
}

impl Query {
    /// The columns of the result.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; none at the end. May be dropped and called again.
    ///
    /// Where an executor is lost with work that the cluster cannot recover, a query that only reads is run again, three
    /// times at most.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.run.next().await
    }

    /// Says how far the job is. It works beside [`Query::next`].
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Cancels the job on the cluster and waits until its tasks have been told to stop.
    ///
    /// False where that could not be confirmed within ten seconds, because the job is still being planned: it may run.
    pub async fn cancel(mut self) -> Result<bool> {
        if self.run.answered() {
            // The job has ended; only its rows were still on their way.
            return Ok(true);
        }
        self.run.disable_rerun();
        // It ends with the job's failure, or with rows where the job was faster.
        Ok(self.watch.cancel_until(self.run.next()).await?.is_some())
    }
}

impl Session {
    /// Starts a query. `text` names its job for people who look at the cluster.
    pub fn start<'a>(&'a self, dataset: Dataset, text: &'a str) -> BoxFuture<'a, Result<Query>> {
        Box::pin(async move {
            let (mut state, plan) = dataset.into_frame().into_parts();
            let prefix = self.inner.job_names.next();
            let name = format!("{prefix}{}", shortened(text));
            let config = state.config().clone().with_ballista_job_name(&name);
            *state.config_mut() = config;
            let run = Box::new(Run::start(state, plan).await?);
            let watch = Watch::new(self.inner.jobs.clone(), prefix);
            Ok(Query { schema: run.schema(), run, watch })
        })
    }

    /// Watches over all jobs of this session.
    pub fn watch(&self) -> Watch {
        Watch::new(self.inner.jobs.clone(), self.inner.job_names.prefix.clone())
    }

    /// The executors and jobs of the whole cluster. `None` where its scheduler does not report them, as plain Ballista's.
    pub async fn activity(&self) -> Result<Option<Activity>> {
        self.inner.jobs.activity("").await
    }

    /// Host and port of the scheduler.
    pub fn scheduler_address(&self) -> &str {
        self.inner.jobs.address()
    }

    /// Whether scheduler and executor live in this process.
    pub fn is_embedded(&self) -> bool {
        self.inner.reads_here
    }
}

/// The start of a text, on one line.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(NAME_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_after_the_start_of_its_query() {
        assert_eq!(shortened("SELECT 1"), "SELECT 1");
        assert_eq!(shortened("SELECT\n\t1 "), "SELECT 1");
        assert_eq!(shortened(&"ä".repeat(81)), format!("{}…", "ä".repeat(80)));
        assert_eq!(shortened(""), "");
    }
}
