//! What authentication and TLS cost: the same queries on two clusters of processes, one open and one with everything on.
//!
//! Both have a scheduler and two executors on this machine and take turns, so that a machine that slows down slows both.
//! Every result has to be the same. Two figures: a warm report over a small collection, which is nearly all messages, and a
//! shuffle of every row of a cached table, which is nearly all transfer.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use firesteel_engine::report;
use firesteel_engine::{ClientTls, Config, Dialer, Outcome, Secret, Session};
use firesteel_testkit::certificates::Authority;
use firesteel_testkit::{Cluster, ClusterSettings};

use crate::answer::Answer;
use crate::seeded::{self, Layout, ServerArgs};
use crate::statistics::{Times, quantile, quotient};

/// Documents of the collection whose report is nearly all messages.
const SMALL: u64 = 4_000;
const EXECUTORS: usize = 2;
/// Every `_id` is a group of its own, so every row crosses the shuffle.
const SHUFFLE: &str = "SELECT count(*) AS groups, sum(n) AS rows FROM (SELECT _id, count(*) AS n FROM predictions GROUP BY _id)";

#[derive(Debug, Args)]
pub(crate) struct LocksArgs {
    /// Documents that are shuffled
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    docs: u64,
    /// Rounds of each query on each cluster, after one that warms up
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    runs: u16,
    #[command(flatten)]
    server: ServerArgs,
}

/// A cluster and a session on it.
struct Side {
    name: &'static str,
    session: Session,
    /// Killed when dropped.
    _cluster: Cluster,
}

pub(crate) async fn run(args: LocksArgs) -> anyhow::Result<()> {
    let small = seeded::ensure(&args.server, SMALL, Layout::Clustered).await?;
    let large = seeded::ensure(&args.server, args.docs, Layout::Clustered).await?;
    let folder = tempfile::Builder::new().prefix("firesteel-locks-").tempdir()?;
    println!(
        "scheduler and {EXECUTORS} executors as processes, twice: open, and with tokens, a cluster secret and TLS"
    );

    let sides = open_both(&args, &small, folder.path()).await?;
    compare(&format!("a warm report over {SMALL} documents"), &sides, args.runs, async |side| {
        let report = report::run(&side.session, None).await?;
        ensure!(report.totals.images == SMALL, "the report counts {}", report.totals.images);
        Ok(format!("{:?}", Answer::of(&report)?.counts()))
    })
    .await?;
    close(sides).await;

    let sides = open_both(&args, &large, folder.path()).await?;
    for side in &sides {
        let _: Outcome = side.session.execute("CACHE TABLE predictions").await?;
    }
    compare(&format!("a shuffle of {} cached rows", args.docs), &sides, args.runs, async |side| {
        rows(&side.session, SHUFFLE).await
    })
    .await?;
    close(sides).await;
    Ok(())
}

async fn open_both(args: &LocksArgs, database: &str, folder: &Path) -> anyhow::Result<[Side; 2]> {
    let uri = &args.server.mongodb_uri;
    let cache = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let base = |name: &str| -> anyhow::Result<ClusterSettings> {
        let mut settings = ClusterSettings::new(args.server.binary()?, uri, database);
        settings.vcores = 1;
        Ok(settings.with("FIRESTEEL_CACHE_DIR", &cache(name)))
    };
    let open = start("open", base("open")?, Config::new(uri, database)).await?;

    let (token, member) = (Secret::random(), Secret::random());
    let [users, secret] = ["users", "secret"].map(|name| folder.join(name));
    private(&users, &format!("bench writer {}\n", token.expose()))?;
    private(&secret, member.expose())?;
    let authority = Authority::new(folder, "locks");
    let files = authority.sign(folder);
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let (users, secret) = (path(&users), path(&secret));
    let (certificate, key, ca) = (path(&files.certificate), path(&files.key), path(&authority.file));
    let member =
        ["--cluster-secret-file", &secret, "--tls-cert", &certificate, "--tls-key", &key, "--tls-ca", &ca];
    let settings = base("locked")?.scheduler(&member).scheduler(&["--tokens-file", &users]).executor(&member);
    let trusted = ClientTls::open(&authority.file)?;
    let dialer = Dialer::default().with_tls(Some(trusted)).with_credential(Some(token));
    let locked = start("locked", settings, Config { dialer, ..Config::new(uri, database) }).await?;
    Ok([open, locked])
}

async fn start(name: &'static str, settings: ClusterSettings, config: Config) -> anyhow::Result<Side> {
    let mut cluster = Cluster::prepare(settings);
    cluster.start_scheduler();
    let executors: Vec<usize> = (0..EXECUTORS).map(|_| cluster.add_executor()).collect();
    for executor in executors {
        cluster.executor_id(executor);
    }
    let session = Session::connect(&cluster.url(), config).await?;
    Ok(Side { name, session, _cluster: cluster })
}

async fn close(sides: [Side; 2]) {
    for side in sides {
        side.session.shutdown().await;
    }
}

/// Runs `query` on both sides in turn and prints the figures.
async fn compare(
    what: &str,
    sides: &[Side; 2],
    runs: u16,
    query: impl AsyncFn(&Side) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let mut times = [Times::default(), Times::default()];
    let mut expected = None;
    for round in 0..=runs {
        for place in order(round) {
            let side = &sides[place];
            let begun = Instant::now();
            let answer = query(side).await.with_context(|| format!("{what}, {}", side.name))?;
            let took = begun.elapsed();
            ensure!(
                *expected.get_or_insert_with(|| answer.clone()) == answer,
                "{what}: the {} cluster has another answer",
                side.name
            );
            if round > 0 {
                times[place].push(took);
            }
        }
    }
    println!("\n{what}, {runs} rounds in turn");
    for (side, times) in sides.iter().zip(&times) {
        let figures = times.figures();
        println!(
            "  {:<8}{:>9.1} ms  ({:.1} to {:.1})",
            side.name,
            figures.median * 1e3,
            figures.min * 1e3,
            figures.max * 1e3
        );
    }
    let [open, locked] = &times;
    let mut pairs: Vec<f64> =
        open.seconds().iter().zip(locked.seconds()).map(|(open, locked)| quotient(*locked, *open)).collect();
    pairs.sort_by(f64::total_cmp);
    println!(
        "  locked / open: {:.3} (medians), {:.3} (median of the pairs)",
        quotient(locked.median(), open.median()),
        quantile(&pairs, 0.5)
    );
    Ok(())
}

/// Which side begins: each as often as the other.
fn order(round: u16) -> [usize; 2] {
    if round.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

async fn rows(session: &Session, sql: &str) -> anyhow::Result<String> {
    let batches = session.sql(sql).await?.batches().await?;
    Ok(arrow::util::pretty::pretty_format_batches(&batches)?.to_string())
}

/// Writes a file that only its owner can read.
fn private(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text)?;
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_begins_as_often_as_the_other() {
        let begins: usize = (1..=14).map(|round| order(round)[0]).sum();
        assert_eq!(begins, 7);
        assert!(order(1) != order(2));
    }
}
