//! Logs: structured, to standard error, drawn around the progress bars and never through them.

use std::io;

use anyhow::Context as _;
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Directives that quieten the libraries at the level that the user asked for. They repeat themselves at `info`, and the
/// consumers report a lost broker once, where librdkafka reports it again and again.
const QUIET: &str = "ballista=warn,ballista_core=warn,ballista_scheduler=warn,ballista_executor=warn,\
    datafusion=warn,librdkafka=off,rdkafka=off,h2=warn,hyper=warn,tonic=warn";

/// The filter of commands that print an answer. They report the failure of a query as their own error, once.
pub(crate) const ANSWERING: &str = "warn,ballista=off,ballista_core=off,ballista_scheduler=off,ballista_executor=off,\
    datafusion=off,librdkafka=off,rdkafka=off,h2=off,hyper=off,tonic=off";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Installs the subscriber. `filter` is a level, or directives in `tracing`'s syntax.
pub(crate) fn init(filter: &str, format: LogFormat, bars: &MultiProgress) -> anyhow::Result<()> {
    let filter = if filter.contains('=') { filter.to_owned() } else { format!("{filter},{QUIET}") };
    let filter =
        EnvFilter::try_new(&filter).with_context(|| format!("--log {filter:?} is not a log filter"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(AroundBars(bars.clone()))
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    let installed = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("cannot install the log subscriber: {error}"))
}

struct AroundBars(MultiProgress);

struct Line(MultiProgress);

impl<'a> MakeWriter<'a> for AroundBars {
    type Writer = Line;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self.0.clone())
    }
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
