//! A scheduler and two executors in this process, joined over loopback as they are between machines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use firesteel_engine::cluster::{Executor, ExecutorConfig, MemoryLimit, Scheduler, SchedulerConfig};
use firesteel_engine::{Config, Result, Session};
use firesteel_testkit::{SOON, http, wait_until};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A cluster, and a session that is connected to it.
pub(crate) struct Cluster {
    pub(crate) session: Session,
    health: Vec<SocketAddr>,
    stop: CancellationToken,
    running: Vec<JoinHandle<Result<()>>>,
}

impl Cluster {
    pub(crate) async fn start(mut config: Config) -> anyhow::Result<Self> {
        config.vcores = Some(2);
        let stop = CancellationToken::new();
        let scheduler = SchedulerConfig {
            bind_port: 0,
            flight_sql: false,
            grace: Duration::ZERO,
            ..SchedulerConfig::new(config.clone())
        };
        let scheduler = Scheduler::bind(scheduler).await?;
        let address = scheduler.address();
        let mut running = vec![tokio::spawn(scheduler.run(stop.clone()))];
        let mut health = Vec::new();
        for _ in 0..2 {
            let executor = ExecutorConfig {
                scheduler_host: address.ip().to_string(),
                scheduler_port: address.port(),
                bind_port: 0,
                bind_grpc_port: 0,
                bind_health_port: 0,
                memory: MemoryLimit::Unlimited,
                grace: Duration::ZERO,
                ..ExecutorConfig::new(config.clone())
            };
            let executor = Executor::bind(executor).await?;
            health.push(executor.health_address());
            running.push(tokio::spawn(executor.run(stop.clone())));
        }
        let session = Session::connect(&format!("df://{address}"), config).await?;
        let all_there = async || {
            let activity = session.activity().await;
            activity.is_ok_and(|activity| activity.is_some_and(|activity| activity.executors.len() == 2))
        };
        wait_until("both executors are there", SOON, all_there).await;
        Ok(Self { session, health, stop, running })
    }

    /// What each executor says of a metric of the scans of a source.
    pub(crate) async fn scanned(&self, what: &str, source: &str) -> anyhow::Result<Vec<f64>> {
        let name = format!("firesteel_scan_{what}_total{{source=\"{source}\"}}");
        let mut values = Vec::new();
        for address in &self.health {
            let answer = http(*address, "GET", "/metrics").await?;
            values.push(answer.metric(&name).unwrap_or_default());
        }
        Ok(values)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.session.shutdown().await;
        self.stop.cancel();
        for role in self.running {
            role.await??;
        }
        Ok(())
    }
}

/// Numbers from 0 in batches of this many rows.
pub(crate) fn numbers(batches: i64, rows: i64) -> Arc<Vec<arrow::record_batch::RecordBatch>> {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    let batch = |batch: i64| {
        let numbers = || batch * rows..(batch + 1) * rows;
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers()));
        let kind: ArrayRef = Arc::new(StringArray::from_iter_values(
            numbers().map(|n| if n % 2 == 0 { "even" } else { "odd" }),
        ));
        arrow::record_batch::RecordBatch::try_from_iter([("n", n), ("kind", kind)]).expect("two columns")
    };
    Arc::new((0..batches).map(batch).collect())
}
