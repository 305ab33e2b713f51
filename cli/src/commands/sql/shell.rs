//! Runs statements and backslash commands one after the other, and prints what comes of them.

use anyhow::{Context as _, anyhow};
use arrow::array::RecordBatch;
use firesteel_engine::{Error, Outcome, Query, Session, TableInfo};
use indicatif::MultiProgress;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args::SqlFormat;
use super::errors::explain;
use super::format::{Layout, Printed, Printer};
use super::meta::{self, Meta};
use super::output::Output;
use super::script::{self, Step};
use super::{describe, errors};
use crate::context::Context;
use crate::signals::Signals;
use crate::tasks::TaskProgress;

/// How files may include each other, so that a circle ends.
const DEEPEST_INCLUDE: usize = 16;

/// Whether to go on with the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    /// The user wants to leave, or nobody reads the output any more.
    Quit,
    /// Ctrl-C at a terminal ended what ran, and what was to run after it in the same script.
    Cancelled,
    /// A signal asks for the end of the process.
    Interrupted,
}

/// What the user can change with backslash commands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) layout: Layout,
    /// Whether to say how long a statement took.
    pub(super) timing: bool,
    /// Whether to say nothing but rows and errors.
    pub(super) quiet: bool,
    /// Whether a person is at the other end.
    pub(super) interactive: bool,
}

pub(super) struct Shell {
    pub(super) session: Session,
    pub(super) signals: Signals,
    options: Options,
    output: Output,
    bars: MultiProgress,
    depth: usize,
}

impl Shell {
    pub(super) fn new(session: Session, options: Options, output: Output, context: &Context) -> Self {
        let (signals, bars) = (context.signals.clone(), context.bars.clone());
        Self { session, signals, options, output, bars, depth: 0 }
    }

    /// Runs texts until one of them fails. Each has a name for errors, which may be empty.
    pub(super) async fn scripts(&mut self, scripts: &[(String, String)]) -> anyhow::Result<Flow> {
        for (name, text) in scripts {
            match self.script(name, text).await? {
                Flow::Continue => {}
                stop => return Ok(stop),
            }
        }
        Ok(Flow::Continue)
    }

    /// Runs a text until something in it fails.
    pub(super) async fn script(&mut self, name: &str, text: &str) -> anyhow::Result<Flow> {
        let mut left = text;
        while let Some((step, rest)) = script::next(left) {
            let (Step::Sql(part) | Step::Meta(part)) = step;
            let line = script::line_of(text, part);
            let flow = match script::as_meta(step) {
                Step::Sql(sql) => self.statement(sql).await,
                Step::Meta(command) => self.meta(command).await,
            };
            let flow = flow.map_err(|error| match name {
                "" => error,
                name => anyhow!("{name}, line {line}: {error}"),
            })?;
            if flow != Flow::Continue {
                return Ok(flow);
            }
            left = rest;
        }
        Ok(Flow::Continue)
    }

    /// Writes what is still in memory.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.output.flush().or_else(|error| self.output.failure(error).map_or(Ok(()), Err))
    }

    async fn statement(&mut self, sql: &str) -> anyhow::Result<Flow> {
        let started = Instant::now();
        let signals = self.signals.clone();
        let mut interrupted = pin!(signals.interrupted());
        let progress = TaskProgress::start(&self.bars, self.session.watch(), "running".to_owned());
        let query = tokio::select! {
            query = begin(&self.session, sql) => query,
            () = &mut interrupted => {
                drop(progress);
                // What a statement had started before it gave rows, such as the filling of a cache.
                self.session.watch().cancel().await.map_err(|error| explained(&error, &[]))?;
                return Ok(self.stopped());
            }
        };
        match query {
            Ok(Begun::Rows(query)) => self.rows(query, interrupted, progress, started).await,
            Ok(Begun::Done(words)) => {
                drop(progress);
                self.note(&words, started.elapsed());
                Ok(Flow::Continue)
            }
            Err(error) => {
                drop(progress);
                Err(self.with_hint(error).await)
            }
        }
    }

    /// Prints the rows of a query as they arrive.
    async fn rows(
        &mut self,
        mut query: Query,
        mut interrupted: Pin<&mut impl Future<Output = ()>>,
        progress: TaskProgress,
        started: Instant,
    ) -> anyhow::Result<Flow> {
        let mut progress = Some(progress);
        let mut printer = Printer::new(self.options.layout, Arc::clone(query.schema()), self.output.writer());
        let ended = loop {
            let batch = tokio::select! {
                biased;
                () = &mut interrupted => break Ended::Interrupted,
                batch = query.next() => batch,
            };
            // A bar is drawn over what is printed beside it.
            progress = None;
            match batch {
                Some(Ok(batch)) => {
                    if let Err(error) = printer.batch(&batch) {
                        break Ended::Unwritten(error);
                    }
                }
                Some(Err(error)) => break Ended::Failed(error),
                None => break Ended::Well,
            }
        };
        drop(progress);
        let printed = match ended {
            Ended::Well => printer.finish().and_then(|printed| self.output.flush().map(|()| printed)),
            Ended::Unwritten(error) => {
                drop(printer);
                query.cancel().await.map_err(|error| explained(&error, &[]))?;
                Err(error)
            }
            Ended::Interrupted => {
                drop(printer);
                return self.cancel(query).await;
            }
            Ended::Failed(error) => {
                drop(printer);
                return Err(self.with_hint(error).await);
            }
        };
        match printed {
            Ok(printed) => {
                self.note(&counted(printed), started.elapsed());
                Ok(Flow::Continue)
            }
            Err(error) => self.output.failure(error).map_or(Ok(Flow::Quit), Err),
        }
    }

    /// Ends a query on the cluster. A second signal ends the wait for it.
    async fn cancel(&mut self, query: Query) -> anyhow::Result<Flow> {
        let cancelled = tokio::select! {
            cancelled = query.cancel() => cancelled.map_err(|error| explained(&error, &[]))?,
            () = self.signals.interrupted(), if self.options.interactive => false,
        };
        if !cancelled {
            eprintln!("the job may still be running: \\jobs shows it, \\cancel cancels it");
        }
        Ok(self.stopped())
    }

    /// A signal ends a script; at a terminal SIGINT does not end the shell.
    fn stopped(&self) -> Flow {
        if self.signals.shutdown.is_cancelled() {
            return Flow::Interrupted;
        }
        eprintln!("cancelled");
        Flow::Cancelled
    }

    /// Says what came of a statement, where people read along.
    fn note(&self, words: &str, took: Duration) {
        let Options { layout, timing, quiet, interactive } = self.options;
        if quiet || !(interactive || layout.format == SqlFormat::Table) {
            return;
        }
        let took = if timing { format!(", {:.3} s", took.as_secs_f64()) } else { String::new() };
        eprintln!("({words}{took})");
    }

    /// The error, with the names of tables that may have been meant.
    async fn with_hint(&self, error: Error) -> anyhow::Error {
        let tables = self.session.tables().await.unwrap_or_default();
        explained(&error, &tables)
    }

    async fn meta(&mut self, line: &str) -> anyhow::Result<Flow> {
        let layout = &mut self.options.layout;
        match Meta::parse(line).map_err(|problem| anyhow!(problem))? {
            Meta::Tables { pattern } => {
                let mut tables = self.session.tables().await?;
                tables.retain(|table| meta::matches(&pattern, &table.name));
                return self.print(&describe::tables(&tables)?);
            }
            Meta::Columns { table } => return self.columns(&table).await,
            Meta::Functions { pattern } => {
                let mut functions = self.session.functions();
                functions.retain(|function| meta::matches(&pattern, &function.name));
                return self.print(&describe::functions(&functions)?);
            }
            Meta::Format(format) => {
                layout.format = format.unwrap_or(layout.format);
                self.say(format!("format is {:?}", self.options.layout.format).to_lowercase());
            }
            Meta::Expanded(on) => {
                layout.expanded = on.unwrap_or(!layout.expanded);
                self.say(format!("expanded is {}", on_off(self.options.layout.expanded)));
            }
            Meta::Timing(on) => {
                self.options.timing = on.unwrap_or(!self.options.timing);
                self.say(format!("timing is {}", on_off(self.options.timing)));
            }
            Meta::MaxRows(rows) => {
                layout.max_rows =
                    rows.map_or(layout.max_rows, |rows| if rows == 0 { usize::MAX } else { rows });
                let shown = layout.max_rows;
                let rows = if shown == usize::MAX { "all".to_owned() } else { shown.to_string() };
                self.say(format!("shown rows of a table: {rows}"));
            }
            Meta::Include(path) => return self.include(&path).await,
            Meta::Output(path) => {
                self.finish()?;
                self.output = path.map_or_else(|| Ok(Output::stdout()), |path| Output::file(&path))?;
            }
            Meta::ConnectionInfo => {
                let activity = self.session.activity().await?;
                return self.tell(&describe::connection(&self.session, activity.as_ref()));
            }
            Meta::Jobs => {
                let activity = self.session.activity().await?;
                let activity = activity.context("this scheduler does not tell what runs")?;
                return self.print(&describe::jobs(&activity)?);
            }
            Meta::Cancel => {
                let cancelled = self.session.watch().cancel().await?;
                self.say(format!("cancelled jobs: {cancelled}"));
            }
            Meta::Help => return self.tell(&meta::help()),
            Meta::Quit => return Ok(Flow::Quit),
        }
        Ok(Flow::Continue)
    }

    /// Confirms a change to a person.
    fn say(&self, text: String) {
        if self.options.interactive && !self.options.quiet {
            eprintln!("{text}");
        }
    }

    async fn columns(&mut self, wanted: &str) -> anyhow::Result<Flow> {
        let tables = self.session.tables().await?;
        let full = |table: &TableInfo| {
            let name = format!("{}.{}", table.schema, table.name);
            table.name.eq_ignore_ascii_case(wanted)
                || name.eq_ignore_ascii_case(wanted)
                || format!("{}.{name}", table.catalog).eq_ignore_ascii_case(wanted)
        };
        let Some(table) = tables.iter().find(|table| full(table)) else {
            let names = tables.iter().map(|table| table.name.as_str());
            let hint = errors::nearest(wanted, names).map(|name| format!("; did you mean {name}?"));
            return Err(anyhow!(
                "there is no table {wanted}{}",
                hint.unwrap_or("; \\d lists them".to_owned())
            ));
        };
        self.print(&describe::columns(table)?)
    }

    async fn include(&mut self, path: &Path) -> anyhow::Result<Flow> {
        if self.depth == DEEPEST_INCLUDE {
            return Err(anyhow!("{}: files include each other {DEEPEST_INCLUDE} deep", path.display()));
        }
        let (name, text) = super::read(path)?;
        self.depth += 1;
        let flow = Box::pin(self.script(&name, &text)).await;
        self.depth -= 1;
        flow
    }

    /// Prints rows that are here already.
    fn print(&mut self, batch: &RecordBatch) -> anyhow::Result<Flow> {
        let layout = Layout { max_rows: usize::MAX, ..self.options.layout };
        let mut printer = Printer::new(layout, batch.schema(), self.output.writer());
        let printed = printer.batch(batch).and_then(|()| printer.finish());
        self.written(printed.map(drop))
    }

    fn tell(&mut self, text: &str) -> anyhow::Result<Flow> {
        let written = self.output.writer().write_all(text.as_bytes());
        self.written(written)
    }

    fn written(&mut self, written: std::io::Result<()>) -> anyhow::Result<Flow> {
        match written.and_then(|()| self.output.flush()) {
            Ok(()) => Ok(Flow::Continue),
            Err(error) => self.output.failure(error).map_or(Ok(Flow::Quit), Err),
        }
    }
}

fn explained(error: &Error, tables: &[TableInfo]) -> anyhow::Error {
    anyhow!(explain(error, tables))
}

/// How the printing of a result came to its end.
enum Ended {
    Well,
    Interrupted,
    /// The query failed.
    Failed(Error),
    /// The rows could not be written.
    Unwritten(std::io::Error),
}

/// A statement that is under way.
enum Begun {
    Rows(Query),
    /// It gives no rows, and is done.
    Done(String),
}

async fn begin(session: &Session, sql: &str) -> Result<Begun, Error> {
    match session.execute(sql).await? {
        Outcome::Rows(rows) => Ok(Begun::Rows(session.start(rows, sql).await?)),
        Outcome::Done(words) => Ok(Begun::Done(words)),
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// How many rows there were.
fn counted(printed: Printed) -> String {
    let Printed { rows, shown } = printed;
    let words = format!("{rows} {}", if rows == 1 { "row" } else { "rows" });
    if shown == rows { words } else { format!("{words}, {shown} shown: --max-rows or \\maxrows shows more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_in_words() {
        for (rows, shown, words) in [
            (0, 0, "0 rows"),
            (1, 1, "1 row"),
            (3, 3, "3 rows"),
            (50, 40, "50 rows, 40 shown: --max-rows or \\maxrows shows more"),
        ] {
            assert_eq!(counted(Printed { rows, shown }), words);
        }
    }
}
