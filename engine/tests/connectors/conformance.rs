//! What every connector has to do alike, as one list of checks that runs over each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firesteel_engine::{Config, Error};
use firesteel_testkit::{InProcessCluster, SOON, wait_until};
use futures::future::BoxFuture;

use crate::cluster;

/// Adds a row to a source while queries run.
pub(crate) type AddRow = Arc<dyn Fn(usize) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// A connector under test: a table of `rows` rows with the columns `sequence`, `label` and `confidence`.
pub(crate) struct Subject {
    /// The label of the connector's scans in metrics.
    pub(crate) label: &'static str,
    pub(crate) cluster: InProcessCluster,
    pub(crate) table: String,
    pub(crate) rows: usize,
    /// A condition that the source evaluates exactly, where it has any.
    pub(crate) exact: Option<&'static str>,
    /// A condition that only narrows what the source sends, where it has any.
    pub(crate) inexact: Option<&'static str>,
    /// Adds to the source; `None` where it is a snapshot by itself.
    pub(crate) add: Option<AddRow>,
}

impl Subject {
    /// All checks.
    pub(crate) async fn conforms(self) -> anyhow::Result<()> {
        self.projects().await?;
        self.filters().await?;
        self.limits().await?;
        self.counts_rows_and_bytes().await?;
        self.cancels().await?;
        self.reads_at_one_point().await?;
        self.cluster.stop().await
    }

    async fn count(&self, sql: &str) -> anyhow::Result<i64> {
        let rows = self.cluster.session.sql(sql).await?.collect_as::<(i64,)>().await?;
        assert_eq!(rows.len(), 1, "{sql}");
        Ok(rows[0].0)
    }

    async fn plan(&self, sql: &str) -> anyhow::Result<String> {
        Ok(self.cluster.session.sql(sql).await?.explain().await?)
    }

    async fn projects(&self) -> anyhow::Result<()> {
        let sql = format!("SELECT label FROM {}", self.table);
        let plan = self.plan(&sql).await?;
        assert!(plan.contains("projection=[label]"), "only what is read is asked for: {plan}");
        let rows = self.cluster.session.sql(&sql).await?.collect_as::<(Option<String>,)>().await?;
        assert_eq!(rows.len(), self.rows);
        // A query that reads no column still has its rows.
        assert_eq!(self.count(&format!("SELECT count(*) FROM {}", self.table)).await?, self.rows as i64);
        Ok(())
    }

    /// A condition gives the same rows whoever evaluates it.
    async fn filters(&self) -> anyhow::Result<()> {
        let never = "abs(sequence) < 100 AND label || '' <> 'cat'";
        for (condition, again) in [(self.exact, false), (self.inexact, true), (Some(never), true)] {
            let Some(condition) = condition else { continue };
            let sql = format!("SELECT sequence, label, confidence FROM {} WHERE {condition}", self.table);
            let plan = self.plan(&sql).await?;
            assert_eq!(plan.contains("FilterExec"), again, "{condition}: {plan}");
            let pushed = self.count(&format!("SELECT count(sequence) FROM ({sql})")).await?;
            // Above a limit no condition is pushed.
            let all = format!("(SELECT * FROM {} ORDER BY sequence LIMIT {})", self.table, self.rows);
            let here = self.count(&format!("SELECT count(sequence) FROM {all} WHERE {condition}")).await?;
            assert_eq!(pushed, here, "{condition}");
            assert!(pushed > 0 && pushed < self.rows as i64, "{condition} leaves {pushed}");
        }
        Ok(())
    }

    async fn limits(&self) -> anyhow::Result<()> {
        let sql = format!("SELECT sequence FROM {} LIMIT 7", self.table);
        let plan = self.plan(&sql).await?;
        assert!(plan.contains("limit=7"), "a scan ends when it has enough: {plan}");
        assert_eq!(self.cluster.session.sql(&sql).await?.collect_as::<(i64,)>().await?.len(), 7);
        Ok(())
    }

    /// Executors add up what their scans count.
    async fn counts_rows_and_bytes(&self) -> anyhow::Result<()> {
        let sum =
            async |what| Ok::<f64, anyhow::Error>(self.cluster.scanned(what, self.label).await?.iter().sum());
        let (rows, bytes): (f64, f64) = (sum("rows").await?, sum("bytes").await?);
        let sql = format!("SELECT sequence, label, confidence FROM {}", self.table);
        let found = self.cluster.session.sql(&sql).await?.batches().await?;
        assert_eq!(found.iter().map(|batch| batch.num_rows()).sum::<usize>(), self.rows);
        // A task is counted when it has ended, which may be after its rows have arrived.
        let counted = async || sum("rows").await.is_ok_and(|now| now >= rows + self.rows as f64);
        wait_until("all rows are counted", SOON, counted).await;
        let read = sum("bytes").await? - bytes;
        assert!(read >= self.rows as f64, "{} rows of {} have {read} bytes", self.rows, self.label);
        assert!(sum("partitions").await? > 0.0 && sum("seconds").await? > 0.0);
        Ok(())
    }

    async fn cancels(&self) -> anyhow::Result<()> {
        let table = &self.table;
        let sql = format!(
            "SELECT count(*) FROM {table} a, {table} b, {table} c WHERE a.label || b.label < c.label"
        );
        let mut query = self.cluster.session.start(self.cluster.session.sql(&sql).await?, &sql).await?;
        let watch = query.watch();
        let runs = wait_until("the job runs", SOON, async || {
            watch.progress().await.is_ok_and(|progress| progress.is_some_and(|progress| progress.running > 0))
        });
        // A query runs as long as its rows are waited for.
        tokio::select! {
            () = runs => {}
            rows = query.next() => anyhow::bail!("the query ended before it was cancelled: {rows:?}"),
        }
        assert!(tokio::time::timeout(SOON, query.cancel()).await??, "the job was cancelled");
        // Nothing of it holds the slots.
        let idle = async || {
            let activity = self.cluster.session.activity().await;
            activity.is_ok_and(|activity| activity.is_some_and(|activity| activity.jobs.is_empty()))
        };
        wait_until("no job runs", SOON, idle).await;
        let statement = format!("SELECT count(*) FROM {table}");
        let count = self.count(&statement);
        assert_eq!(tokio::time::timeout(SOON, count).await??, self.rows as i64);
        Ok(())
    }

    /// All scans of a query see one state, whatever is written meanwhile.
    async fn reads_at_one_point(&self) -> anyhow::Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = self.add.clone().map(|add| {
            let (stop, first) = (Arc::clone(&stop), self.rows);
            tokio::spawn(async move {
                let mut row = first;
                while !stop.load(Ordering::Relaxed) {
                    add(row).await?;
                    row += 1;
                }
                Ok::<usize, anyhow::Error>(row)
            })
        });
        let (table, mut last) = (&self.table, 0);
        let sql = format!(
            "SELECT count(sequence) FROM {table} UNION ALL SELECT count(label || 'x') FROM {table} \
             UNION ALL SELECT sum(n) FROM (SELECT count(*) AS n FROM {table} GROUP BY label)"
        );
        for round in 0..10 {
            let counts = self.cluster.session.sql(&sql).await?.collect_as::<(i64,)>().await?;
            assert!(counts.iter().all(|count| *count == counts[0]), "round {round}: {counts:?}");
            assert!(counts.len() == 3 && counts[0].0 >= last, "round {round}: {counts:?} after {last}");
            last = counts[0].0;
        }
        stop.store(true, Ordering::Relaxed);
        match writer {
            Some(writer) => {
                let written = writer.await??;
                assert!(written > self.rows, "rows were added while the queries ran");
                assert_eq!(self.count(&format!("SELECT count(*) FROM {table}")).await?, written as i64);
            }
            None => assert_eq!(last, self.rows as i64),
        }
        Ok(())
    }
}

/// A server that is not there is an error that names its address and its setting, wherever the query is planned.
pub(crate) async fn names_a_server_that_is_away(
    mut config: Config,
    table: &str,
    role: &str,
    address: &str,
) -> anyhow::Result<()> {
    config.connect_timeout = Duration::from_secs(1);
    let cluster = cluster(config).await?;
    let query = cluster.session.sql(&format!("SELECT count(*) FROM {table}")).await?;
    let error = tokio::time::timeout(SOON, query.collect()).await?.expect_err("no server is there");
    assert!(
        matches!(&error, Error::Unreachable { role: found, address: at, .. } if *found == role && at == address),
        "{error:?}"
    );
    cluster.stop().await
}
