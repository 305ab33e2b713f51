//! `make chaos` and `make soak`: the real processes under faults from a seed, and an oracle that says whether every image was counted
//! exactly once.
//!
//! A schedule ([`schedule`]) is a pure function of the seed. [`run`] brings up servers ([`servers`]) and roles ([`fleet`]), has
//! [`inject`] do what the schedule says while images are produced, and hands what is there in the end to the comparisons in
//! [`oracle`]. docs/chaos.md says what is injected and what is promised.
//!
//! A signal drops what runs, and with it every process; one that kills the harness leaves none either ([`launch`]).

mod clock;
mod cure;
mod disk;
mod expected;
mod fault;
mod fleet;
mod inject;
mod launch;
mod ledger;
mod many;
mod meddle;
mod oracle;
mod ports;
mod process;
mod proxy;
mod queries;
mod record;
mod resources;
mod run;
mod schedule;
mod servers;
mod soak;
mod table;
mod topic;
mod watch;
mod world;

use anyhow::Context as _;
use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How long tasks that outlive the run may take before the process ends without them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// What is logged unless `FIRESTEEL_LOG` says otherwise. Outages of servers are the run's subject, not news.
const LOG: &str = "firesteel_chaos=info,error,rdkafka=off,librdkafka=off,mongodb=off";

#[derive(Debug, Parser)]
#[command(
    name = "firesteel-chaos",
    about = "Counts every image under fire: faults from a seed, and an oracle"
)]
enum Args {
    /// One run; the same seed and arguments make the same schedule again
    Run(many::OneArgs),
    /// Many runs in a row, with a record of each (`make chaos`)
    Many(many::ManyArgs),
    /// The highest rate that holds, held for long, and then a multiple of it, with a plot (`make soak`)
    Soak(soak::SoakArgs),
    /// The table of faults and verdicts, as Markdown, from the records of runs
    Table(table::TableArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == launch::ARGUMENT) {
        launch::become_program(arguments)?;
    }
    let args = Args::parse();
    let filter = std::env::var("FIRESTEEL_LOG").unwrap_or_else(|_| LOG.to_owned());
    let filter = EnvFilter::try_new(&filter).context("FIRESTEEL_LOG is not a log filter")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            passed = Box::pin(run_all(args)) => Ok(if passed? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            _ = interrupt.recv() => Ok(ExitCode::from(130)),
            _ = terminate.recv() => Ok(ExitCode::from(143)),
        }
    });
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    ended
}

/// Whether all that was promised was kept.
async fn run_all(args: Args) -> anyhow::Result<bool> {
    match args {
        Args::Run(args) => many::one(args).await,
        Args::Many(args) => many::many(args).await,
        Args::Soak(args) => soak::run(args).await,
        Args::Table(args) => table::print(&args).map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Args::command().debug_assert();
    }
}
