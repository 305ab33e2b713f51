//! The command line of `firesteel sql`.

use std::path::PathBuf;

use clap::Args;

use crate::args::{CacheArgs, EngineArgs, SessionArgs};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SqlFormat {
    /// Tables for people
    Table,
    /// One JSON array a result
    Json,
    /// One JSON object a row and line
    Ndjson,
    /// Comma-separated values with a header
    Csv,
}

impl SqlFormat {
    /// All of them, as they are written.
    pub(super) const NAMES: [&'static str; 4] = ["table", "json", "ndjson", "csv"];
}

/// What to run, how to print it, and on which engine.
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// Runs SQL, several statements with semicolons in between, or a command such as \d; may be given several times.
    /// Ends at the first error
    #[arg(
        short = 'c',
        long = "command",
        value_name = "SQL",
        help_heading = "Input",
        conflicts_with = "files"
    )]
    pub(crate) commands: Vec<String>,
    /// Runs what a file holds; - is standard input. May be given several times. Ends at the first error
    #[arg(short = 'f', long = "file", value_name = "FILE", help_heading = "Input")]
    pub(crate) files: Vec<PathBuf>,
    /// How to print results
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    pub(crate) format: SqlFormat,
    /// Writes results to a file instead of standard output
    #[arg(short = 'o', long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,
    /// The most rows of a table that are shown; 0 = all [default: 40 on a terminal, otherwise 10,000]. JSON and CSV
    /// always have all rows
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub(crate) max_rows: Option<usize>,
    /// Leaves the names of the columns out of tables and CSV
    #[arg(long, help_heading = "Output")]
    pub(crate) no_header: bool,
    /// Prints results and errors, and nothing about them
    #[arg(short = 'q', long, help_heading = "Output")]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
