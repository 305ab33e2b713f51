//! Runs statements and backslash commands one after the other and prints their results.

use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use arrow::array::RecordBatch;
use firesteel_common::suggest::nearest;
use firesteel_engine::{Error, Outcome, Query, Session, TableInfo};
use indicatif::MultiProgress;

use super::args::SqlFormat;
use super::describe;
use super::errors::explain;
use super::format::{Layout, Printed, Printer};
use super::meta::{self, Meta};
use super::output::Output;
use super::script::{self, Step};
use crate::args::fields::Settings;
use crate::context::Context;
use crate::failure::Explained;
use crate::signals::Signals;
use crate::tasks::TaskProgress;

/// How deep files may include each other, so that a cycle of includes ends.
const DEEPEST_INCLUDE: usize = 16;

/// What follows a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    /// The shell ends: the user leaves, or the reader of the output has gone away.
    Quit,
    /// Ctrl-C at a terminal ended the running statement and the rest of its script.
    Cancelled,
    /// A signal ends the process.
    Interrupted,
}

/// The options that backslash commands change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) layout: Layout,
    /// Whether the time of each statement is printed.
    pub(super) timing: bool,
    /// Whether only rows and errors are printed.
    pub(super) quiet: bool,
    /// Whether a person types the statements.
    pub(super) interactive: bool,
}

pub(super) struct Shell {
    pub(super) session: Session,
    pub(super) signals: Signals,
    pub(super) settings: Arc<Settings>,
    options: Options,
    output: Output,
    bars: MultiProgress,
    depth: usize,
}

impl Shell {
    pub(super) fn new(session: Session, options: Options, output: Output, context: &Context) -> Self {
        let (signals, bars) = (context.signals.clone(), context.bars.clone());
        let settings = Arc::clone(&context.settings);
        Self { session, signals, settings, options, output, bars, depth: 0 }
    }

    /// Runs named texts until one of them fails. A name is for errors and may be empty.
    pub(super) async fn scripts(&mut self, scripts: &[(String, String)]) -> anyhow::Result<Flow> {
        for (name, text) in scripts {
            match self.script(name, text).await? {
                Flow::Continue => {}
                stop => return Ok(stop),
            }
        }
        Ok(Flow::Continue)
    }

    /// Runs the steps of a text until one of them fails.
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
                name => {
                    let text = format!("{name}, line {line}: {error}");
                    error.context(text)
                }
            })?;
            if flow != Flow::Continue {
                return Ok(flow);
            }
            left = rest;
        }
        Ok(Flow::Continue)
    }

    /// Writes buffered output.
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
                // A statement may run jobs before it returns rows: CACHE TABLE fills the cache.
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

    /// The flow after a cancelled statement: a script ends, and at a terminal the shell goes on after SIGINT.
    fn stopped(&self) -> Flow {
        if self.signals.shutdown.is_cancelled() {
            return Flow::Interrupted;
        }
        eprintln!("cancelled");
        Flow::Cancelled
    }

    /// Prints the row count and the time of a statement, where a person reads the output.
    fn note(&self, words: &str, took: Duration) {
        let Options { layout, timing, quiet, interactive } = self.options;
        if quiet || !(interactive || layout.format == SqlFormat::Table) {
            return;
        }
        let took = if timing { format!(", {:.3} s", took.as_secs_f64()) } else { String::new() };
        eprintln!("({words}{took})");
    }

    /// The error with the name of the table that may have been meant.
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
            let hint = nearest(wanted, names).map(|name| format!("; did you mean {name}?"));
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

    /// Prints rows that are already in memory.
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
    Explained::new(explain(error, tables), error).into()
}

/// How printing a result ended.
enum Ended {
    Well,
    Interrupted,
    /// The query failed.
    Failed(Error),
    /// The rows could not be written.
    Unwritten(std::io::Error),
}

/// A started statement.
enum Begun {
    Rows(Query),
    /// A statement without rows has finished. The text says what it did.
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
