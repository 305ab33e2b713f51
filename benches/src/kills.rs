//! The report on a cluster of processes of which some are killed (SIGKILL) midway: how long it takes, and that it counts
//! right or says why not.
//!
//! A wrong count, a failure although somebody could have done the work, or a report that neither ends nor fails by the
//! deadline, fails the program. When and whom to kill comes out
//! of a seed, so a run can be repeated.

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use firesteel_engine::report::{self, Report};
use firesteel_engine::{Config, Session};
use firesteel_testkit::{Cluster, ClusterSettings};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::time::{Duration, Instant};

use crate::answer::Answer;
use crate::seeded::{self, Layout, ServerArgs};
use crate::statistics::Times;

/// After how long without a heartbeat the scheduler gives an executor up.
const EXECUTOR_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a job waits for a first executor to come back.
const NO_EXECUTORS_GRACE: Duration = Duration::from_secs(5);
/// Rounds of the undisturbed report.
const UNDISTURBED: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct KillsArgs {
    /// Documents in the collection
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    docs: u64,
    /// Reports, each with a kill
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    runs: u64,
    /// Decides when and whom to kill
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    server: ServerArgs,
}

/// Who is killed in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// One of two executors; the other takes over.
    One,
    /// Both, and another one starts.
    AllAndOneComes,
    /// Both, and none comes back.
    All,
}

/// What a run does: a pure function of seed and number.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Plan {
    kill: Kill,
    /// Which of the executors, where it is one.
    victim: usize,
    /// When, as a share of the undisturbed time.
    moment: f64,
    /// Whether MongoDB computes the aggregate.
    pushdown: bool,
}

fn plan(seed: u64, run: u64) -> Plan {
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(run));
    let kill = match run % 5 {
        3 => Kill::AllAndOneComes,
        4 => Kill::All,
        _ => Kill::One,
    };
    Plan {
        kill,
        victim: random.random_range(0..2),
        moment: random.random_range(0.05..0.95),
        pushdown: random.random_bool(0.5),
    }
}

pub(crate) async fn run(args: KillsArgs) -> anyhow::Result<()> {
    let uri = &args.server.mongodb_uri;
    let database = seeded::ensure(&args.server, args.docs, Layout::Clustered).await?;
    let mut settings = ClusterSettings::new(args.server.binary()?, uri, &database).scheduler(&[
        "--executor-timeout-seconds",
        &EXECUTOR_TIMEOUT.as_secs().to_string(),
        "--no-executors-grace-period-seconds",
        &NO_EXECUTORS_GRACE.as_secs().to_string(),
    ]);
    settings.vcores = 1;
    let mut cluster = Cluster::start(settings, 2).await;
    let mut config = Config::new(uri, &database);
    config.partitions = Some(4);
    let pushing = Session::connect(&cluster.url(), config.clone()).await?;
    config.scan.aggregate_pushdown = false;
    let reading = Session::connect(&cluster.url(), config).await?;

    println!("{} documents, scheduler and two executors of one slot each, as processes", args.docs);
    let mut expected = None;
    let [pushed, read] =
        [undisturbed(&pushing, &mut expected).await?, undisturbed(&reading, &mut expected).await?];
    let expected: Answer = expected.context("no report was made")?;
    let (counted, _) = expected.counts();
    ensure!(counted == args.docs, "the report counts {counted}");
    println!(
        "undisturbed: {:.2} s with pushdown, {:.2} s without (medians of {UNDISTURBED})",
        pushed.median(),
        read.median()
    );
    println!(
        "{:>3}  {:<18}{:<10}{:>10}{:>10}{:>10}  ended with",
        "run", "killed", "pushdown", "at", "took", "limit"
    );

    let mut late = 0;
    for run in 0..args.runs {
        let plan = plan(args.seed, run);
        let (session, time) = if plan.pushdown { (&pushing, &pushed) } else { (&reading, &read) };
        let undisturbed = Duration::from_secs_f64(time.median());
        let limit = undisturbed * 2 + EXECUTOR_TIMEOUT;
        let moment = undisturbed.mul_f64(plan.moment);
        let (ended, took) = disturbed(&mut cluster, session, plan, moment, limit).await?;
        let with = match (&ended, plan.kill) {
            (Ok(report), _) if Answer::of(report)?.agrees(&expected) => "the right result".to_owned(),
            (Ok(report), _) => {
                bail!("run {run} counted {} images, or counted them wrong", report.totals.images)
            }
            // Nobody is left who could do the work: the error says so.
            (Err(error), Kill::All) if error.to_string().contains("executor") => format!("an error: {error}"),
            (Err(error), _) => bail!("run {run} ({plan:?}) failed: {error}"),
        };
        let in_time = if took <= limit { "" } else { " (late)" };
        late += u64::from(took > limit);
        println!(
            "{run:>3}  {:<18}{:<10}{:>8.2} s{:>8.2} s{:>8.2} s  {with}{in_time}",
            match plan.kill {
                Kill::One => "one of two",
                Kill::AllAndOneComes => "both, one comes",
                Kill::All => "both, none comes",
            },
            if plan.pushdown { "on" } else { "off" },
            moment.as_secs_f64(),
            took.as_secs_f64(),
            limit.as_secs_f64(),
        );
        while cluster.executors().len() < 2 {
            cluster.add_executor();
        }
        cluster.wait_for_executors(2).await;
    }
    println!(
        "{} runs: no wrong count, none hanging, {late} over twice the undisturbed time plus heartbeat timeout",
        args.runs
    );
    pushing.shutdown().await;
    reading.shutdown().await;
    Ok(())
}

/// The times of the report when nobody is killed, after one that warms up. Every report is the same.
async fn undisturbed(session: &Session, expected: &mut Option<Answer>) -> anyhow::Result<Times> {
    let mut times = Times::default();
    for round in 0..=UNDISTURBED {
        let begun = Instant::now();
        let report = report::run(session, None).await?;
        if round > 0 {
            times.push(begun.elapsed());
        }
        let answer = Answer::of(&report)?;
        ensure!(
            answer.agrees(expected.get_or_insert_with(|| answer.clone())),
            "two undisturbed reports differ"
        );
    }
    Ok(times)
}

/// A report during which somebody is killed: what came of it, and how long that took.
async fn disturbed(
    cluster: &mut Cluster,
    session: &Session,
    plan: Plan,
    moment: Duration,
    limit: Duration,
) -> anyhow::Result<(firesteel_engine::Result<Report>, Duration)> {
    let job = tokio::spawn({
        let session = session.clone();
        async move { report::run(&session, None).await }
    });
    let begun = Instant::now();
    tokio::time::sleep(moment).await;
    let executors = cluster.executors();
    match plan.kill {
        Kill::One => cluster.kill(executors[plan.victim % executors.len()]),
        Kill::AllAndOneComes | Kill::All => executors.iter().for_each(|number| cluster.kill(*number)),
    }
    if plan.kill == Kill::AllAndOneComes {
        cluster.add_executor();
    }
    // Far beyond what may be called late.
    let deadline = limit * 4 + NO_EXECUTORS_GRACE;
    let Ok(ended) = tokio::time::timeout(deadline, job).await else {
        bail!("the report hangs: nothing after {:.0} s ({plan:?})", deadline.as_secs_f64());
    };
    Ok((ended?, begun.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_number_decide_what_a_run_does() {
        let plans: Vec<Plan> = (0..20).map(|run| plan(7, run)).collect();
        assert_eq!(plans, (0..20).map(|run| plan(7, run)).collect::<Vec<_>>());
        let count = |kill| plans.iter().filter(|plan| plan.kill == kill).count();
        assert_eq!((count(Kill::One), count(Kill::AllAndOneComes), count(Kill::All)), (12, 4, 4));
        assert!(plans.iter().all(|plan| (0.05..0.95).contains(&plan.moment) && plan.victim < 2));
        assert_ne!(plans, (0..20).map(|run| plan(8, run)).collect::<Vec<_>>());
    }
}
