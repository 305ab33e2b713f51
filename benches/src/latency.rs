//! How long a small report takes on a warm engine, and where the time goes.

use anyhow::ensure;
use firesteel_engine::dataflow::Timings;
use firesteel_engine::report::{self, Report};
use firesteel_engine::{Config, Session};
use std::time::{Duration, Instant};

use crate::statistics::Times;

/// A part of a job, and how to read it off.
pub(crate) type Part = (&'static str, fn(&Timings) -> Duration);

/// The parts of a job, in their order.
pub(crate) const PARTS: [Part; 5] = [
    ("planning, in the client", |timings| timings.planning),
    ("planning, on the scheduler", |timings| timings.scheduling),
    ("stages, on the executor", |timings| timings.execution),
    ("messages with the scheduler", |timings| timings.messages),
    ("fetching the result", |timings| timings.fetching),
];

/// The times of a report over a small collection.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// From the call to the tables.
    pub(crate) total: Times,
    /// Before the job: the table, and whether MongoDB answers.
    pub(crate) opening: Times,
    /// Those of [`PARTS`].
    pub(crate) parts: [Times; PARTS.len()],
}

/// Runs the report `rounds` times on an engine that has run it before.
pub(crate) async fn measure(uri: &str, database: &str, docs: u64, rounds: usize) -> anyhow::Result<Latency> {
    let session = Session::embedded(Config::new(uri, database)).await?;
    let mut latency = Latency::default();
    let warm_up = rounds.div_ceil(4);
    for round in 0..warm_up + rounds {
        let start = Instant::now();
        let job = report::job(&session, None).await?;
        let opening = start.elapsed();
        let (rows, timings) = Box::pin(job.collect_timed()).await?;
        let report = Report::fold(&report::counts(&rows)?, timings.total);
        let total = start.elapsed();
        ensure!(report.totals.images == docs, "the report counts {} of {docs}", report.totals.images);
        if round >= warm_up {
            latency.total.push(total);
            latency.opening.push(opening);
            for (times, (_, part)) in latency.parts.iter_mut().zip(PARTS) {
                times.push(part(&timings));
            }
        }
    }
    session.shutdown().await;
    Ok(latency)
}
