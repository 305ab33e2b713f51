//! The project's benchmarks: one subcommand each. Every figure in the README comes from one of them.

mod inference;
mod kills;
mod latency;
mod measure;
mod output;
mod report;
mod seeded;
mod ways;

use clap::Parser;

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "firesteel-benches", about = "Measures the engine beside what a user would pick instead")]
enum Args {
    /// The report, side by side with MongoDB's own aggregation and a raw cursor (`make bench`)
    Report(report::ReportArgs),
    /// The model beside candle's own operations, PyTorch and ONNX Runtime (`make bench-inference`)
    Inference(inference::InferenceArgs),
    /// The report on a cluster whose executors are killed midway (`make bench-kills`)
    Kills(kills::KillsArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse() {
        Args::Report(args) => report::run(args).await,
        Args::Inference(args) => inference::run(&args),
        Args::Kills(args) => kills::run(args).await,
    }
}
