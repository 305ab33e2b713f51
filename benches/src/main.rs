//! The project's benchmarks: one subcommand each. Every figure in the README comes from one of them.
//!
//! | subcommand | `make` | measures |
//! | --- | --- | --- |
//! | `report` | `bench` | the report beside MongoDB's own aggregation and a raw cursor |
//! | `compare` | `compare` | the report beside Spark, DuckDB, Polars and DataFusion, and the queries of TPC-H |
//! | `inference` | `bench-inference` | the model beside candle's own operations, PyTorch and ONNX Runtime |
//! | `ingest` | `bench-ingest` | the way of an image: its rate, and the processor time of each process beside the model |
//! | `kills` | `bench-kills` | the report on a cluster whose executors are killed midway |
//! | `locks` | `bench-locks` | what authentication and TLS cost |
//!
//! A signal drops what runs, and with it every process and every folder that it made.

mod answer;
mod compare;
mod group;
mod inference;
mod ingest;
mod kills;
mod latency;
mod locks;
mod output;
mod report;
mod seeded;
mod server_process;
mod signals;
mod statistics;
mod target;
mod variants;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The planner walks deep plans recursively; the binary's stacks are as large.
const STACK_BYTES: usize = 32 << 20;
/// How long tasks that outlive their benchmark may take before the process ends without them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// What is logged unless `FIRESTEEL_LOG` says otherwise. What goes wrong with a query is its own error.
const LOG: &str = "warn,ballista=off,ballista_core=off,ballista_scheduler=off,ballista_executor=off,datafusion=off,\
    h2=off,hyper=off,tonic=off";

#[derive(Debug, Parser)]
#[command(name = "firesteel-benches", about = "Measures the engine beside what a user would pick instead")]
enum Args {
    /// The report, side by side with MongoDB's own aggregation and a raw cursor (`make bench`)
    Report(report::ReportArgs),
    /// The same job here, on Spark and on other engines, over the same data: who answers what, how fast, at what cost
    /// (`make compare`)
    ///
    /// Seeds predictions in MongoDB and lets spark-submit, this engine, MongoDB's own $group, and DuckDB, Polars and
    /// DataFusion over a Parquet export take turns. All have to agree before a figure is printed.
    Compare(compare::CompareArgs),
    /// The model beside candle's own operations, PyTorch and ONNX Runtime (`make bench-inference`)
    Inference(inference::InferenceArgs),
    /// Images from producers to MongoDB, each role a process: the rate, and what each costs an image (`make bench-ingest`)
    Ingest(ingest::IngestArgs),
    /// The report on a cluster whose executors are killed midway (`make bench-kills`)
    Kills(kills::KillsArgs),
    /// The same queries on an open cluster and on one with tokens and TLS: what the locks cost (`make bench-locks`)
    Locks(locks::LocksArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    seeded::refuse_secrets(std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()))?;
    let filter = std::env::var("FIRESTEEL_LOG").unwrap_or_else(|_| LOG.to_owned());
    let filter = EnvFilter::try_new(&filter).context("FIRESTEEL_LOG is not a log filter")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // What runs is no `Send`, so it gets a thread with a large stack instead of a worker.
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || start(args))?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn start(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
        .context("cannot start the async runtime")?;
    let ended = runtime.block_on(async {
        let stopped = signals::listen()?;
        tokio::select! {
            ended = Box::pin(run(args)) => ended.map(|()| ExitCode::SUCCESS),
            Ok(code) = stopped => Ok(ExitCode::from(code)),
        }
    });
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    ended
}

async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Report(args) => report::run(args).await,
        Args::Compare(args) => compare::run(args).await,
        Args::Inference(args) => inference::run(&args).await,
        Args::Ingest(args) => ingest::run(&args).await,
        Args::Kills(args) => kills::run(args).await,
        Args::Locks(args) => locks::run(args).await,
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
