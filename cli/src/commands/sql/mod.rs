//! `firesteel sql`: a shell for SQL, on an engine in this process or on a cluster.
//!
//! ```text
//!  -c, -f, standard input ──▶ script ──┐
//!  terminal ──▶ repl ──────────────────┴──▶ shell ──▶ session ──▶ scheduler
//!                 └── complete                └── format ──▶ standard output, or a file
//! ```
//!
//! Results go to standard output and everything about them to standard error, so that a pipe sees rows alone. A script
//! ends at its first error. SIGINT cancels the job on the cluster: a script then ends with 130, a terminal gets its
//! prompt back.

mod args;
mod complete;
mod describe;
mod errors;
mod format;
mod meta;
mod output;
mod readable;
mod repl;
mod script;
mod shell;

pub(crate) use self::args::SqlArgs;

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::Context as _;
use firesteel_engine::Config;

use self::output::Output;
use self::shell::{Flow, Shell};
use crate::context::{Context, Outcome};

/// How many rows of a table are shown on a terminal: a screen or two.
const ROWS_ON_A_TERMINAL: usize = 40;
/// How many rows of a table are shown in a file or a pipe. They are kept in memory to align the columns.
const ROWS_ELSEWHERE: usize = 10_000;

/// The source of the statements.
enum Input {
    /// Names of scripts, for errors, and their texts.
    Scripts(Vec<(String, String)>),
    /// A person at a terminal.
    Terminal,
}

pub(crate) async fn run(args: SqlArgs, context: Context) -> anyhow::Result<Outcome> {
    let input = input(&args)?;
    let output = match &args.output {
        Some(path) => Output::file(path)?,
        None => Output::stdout(),
    };
    let config = Config { cache: args.cache.config(), ..args.engine.config(&context.settings)? };
    let session = tokio::select! {
        session = args.session.connect(config) => session?,
        () = context.signals.shutdown.cancelled() => return Ok(Outcome::Interrupted),
    };

    let terminal = std::io::stdout().is_terminal() && args.output.is_none();
    let layout = format::Layout {
        format: args.format,
        expanded: false,
        header: !args.no_header,
        max_rows: match args.max_rows {
            Some(0) => usize::MAX,
            Some(rows) => rows,
            None if terminal => ROWS_ON_A_TERMINAL,
            None => ROWS_ELSEWHERE,
        },
    };
    let interactive = matches!(input, Input::Terminal);
    let options = shell::Options { layout, timing: true, quiet: args.quiet, interactive };
    let mut shell = Shell::new(session.clone(), options, output, &context);
    let flow = match input {
        Input::Scripts(scripts) => shell.scripts(&scripts).await,
        Input::Terminal => repl::run(&mut shell).await,
    };
    let finished = shell.finish();
    session.shutdown().await;
    match flow? {
        Flow::Interrupted => Ok(Outcome::Interrupted),
        Flow::Continue | Flow::Cancelled | Flow::Quit => finished.map(|()| Outcome::Done),
    }
}

/// Reads all scripts before the engine starts, so that a missing file is reported at once.
fn input(args: &SqlArgs) -> anyhow::Result<Input> {
    if !args.commands.is_empty() {
        let scripts = args.commands.iter().map(|sql| (String::new(), sql.clone()));
        return Ok(Input::Scripts(scripts.collect()));
    }
    if args.files.is_empty() {
        if std::io::stdin().is_terminal() {
            return Ok(Input::Terminal);
        }
        return Ok(Input::Scripts(vec![read(Path::new("-"))?]));
    }
    args.files.iter().map(|path| read(path)).collect::<anyhow::Result<_>>().map(Input::Scripts)
}

/// A file's name for errors, and its text.
fn read(path: &Path) -> anyhow::Result<(String, String)> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    Ok((name, text))
}
