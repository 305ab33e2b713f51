//! The progress and the cancellation of running jobs.

use std::time::{Duration, Instant};

use firesteel_engine::{Error, Query, Session};
use firesteel_testkit::{SOON, wait_until};

use super::{Fixture, predictions};

/// A query that takes minutes: it joins 400 documents with themselves three times.
const LONG: &str = "SELECT count(*) FROM predictions a, predictions b, predictions c, predictions d \
                    WHERE a.confidence + b.confidence + c.confidence + d.confidence > 99";

async fn start(session: &Session, sql: &str) -> anyhow::Result<Query> {
    Ok(session.start(session.sql(sql).await?, sql).await?)
}

/// Waits for the first rows, which arrive when the job ends.
async fn drive(mut query: Query) -> Option<Result<(), Error>> {
    query.next().await.map(|batch| batch.map(drop))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_reports_progress_and_can_be_cancelled() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("jobs").await? else { return Ok(()) };
    fixture.fill("predictions", true, &predictions(400, 4)).await?;
    let session = &fixture.session;

    let query = start(session, LONG).await?;
    let watch = query.watch();
    let driven = tokio::spawn(drive(query));
    wait_until("a task of the job runs", SOON, async || {
        let progress = watch.progress().await.expect("progress");
        progress.is_some_and(|p| p.running > 0 && p.tasks >= p.done + p.running && p.stage <= p.stages)
    })
    .await;
    let activity = session.activity().await?.expect("our own scheduler tells");
    assert_eq!(activity.executors.len(), 1);
    assert_eq!(activity.executors[0].vcores, 3);
    assert_eq!(activity.jobs.len(), 1);
    assert!(activity.jobs[0].name.contains("SELECT count(*) FROM predictions a"), "{activity:?}");

    // Another query of the session is another job, which neither waits nor is cancelled.
    assert_eq!(watch.cancel().await?, 1);
    match driven.await? {
        Some(Err(Error::Cancelled)) => {}
        other => panic!("the job was to be cancelled, and gave {other:?}"),
    }
    assert_eq!(session.activity().await?.expect("an activity").jobs, []);
    assert!(watch.progress().await?.is_none());

    // The slots of the cancelled job are free again.
    let counted: Vec<(i64,)> = session.sql("SELECT count(*) FROM predictions").await?.collect_as().await?;
    assert_eq!(counted, [(400,)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_cancelled_at_any_moment_leaves_no_job() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("cancel").await? else { return Ok(()) };
    fixture.fill("predictions", true, &predictions(400, 4)).await?;
    let session = &fixture.session;
    for wait in [0, 1, 5, 20, 50, 100, 200, 400] {
        let mut query = start(session, LONG).await?;
        // A future that is not polled does not start.
        let early = tokio::time::timeout(Duration::from_millis(wait), query.next()).await;
        assert!(early.is_err(), "it was to take longer than {wait} ms");
        let asked = Instant::now();
        assert!(query.cancel().await?, "after {wait} ms");
        assert!(asked.elapsed() < Duration::from_secs(10), "after {wait} ms: {:?}", asked.elapsed());
        let left = session.activity().await?.expect("an activity").jobs;
        assert_eq!(left, [], "after {wait} ms");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_one_query_leaves_the_others_alone() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("others").await? else { return Ok(()) };
    fixture.fill("predictions", true, &predictions(400, 4)).await?;
    let session = &fixture.session;
    let (first, second) = (start(session, LONG).await?, start(session, LONG).await?);
    let (one, other) = (first.watch(), second.watch());
    let driven = [tokio::spawn(drive(first)), tokio::spawn(drive(second))];
    let jobs = async || session.activity().await.expect("an answer").expect("an activity").jobs.len();
    wait_until("both jobs run", SOON, async || jobs().await == 2).await;
    assert_eq!(one.cancel().await?, 1);
    assert_eq!(jobs().await, 1);
    assert!(other.progress().await?.is_some());

    // Cancels all jobs of the session, also those that were not started as a `Query`.
    let collected = tokio::spawn(session.sql(LONG).await?.collect());
    wait_until("a third job runs", SOON, async || jobs().await == 2).await;
    assert_eq!(session.watch().cancel().await?, 2);
    assert_eq!(jobs().await, 0);
    assert!(matches!(collected.await?, Err(Error::Cancelled)));
    for driven in driven {
        assert!(matches!(driven.await?, Some(Err(Error::Cancelled))));
    }
    Ok(())
}
