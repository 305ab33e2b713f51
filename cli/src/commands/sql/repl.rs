//! The shell at a terminal: a prompt, a history in a file, statements over several lines.
//!
//! The line editor blocks, so it has a thread of its own. While a line is typed, the editor receives Ctrl-C as a key. While a
//! query runs, Ctrl-C is SIGINT and cancels the query.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, PoisonError, RwLock, mpsc};

use anyhow::Context as _;
use firesteel_engine::Session;
use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History as _};
use rustyline::{CompletionType, Config, Editor};
use tokio::sync::oneshot;

use super::complete::{Assistant, Names};
use super::shell::{Flow, Shell};
use crate::failure;

const PROMPT: &str = "firesteel> ";
/// How many statements are remembered.
const HISTORY: usize = 10_000;

/// The result of one prompt.
enum Line {
    Text(String),
    /// Ctrl-C: the typed text is dropped.
    Dropped,
    /// Ctrl-D: the input has ended.
    End,
    Failed(String),
}

/// Reads and runs until the user leaves.
pub(super) async fn run(shell: &mut Shell) -> anyhow::Result<Flow> {
    shell.signals.stay_on_interrupt();
    let names = Arc::new(RwLock::new(Names::default()));
    let history = history_file();
    let prompts = editor(Arc::clone(&names), history)?;
    eprintln!(
        "Firesteel {}. A statement ends with a semicolon; \\? lists commands, \\q quits.",
        env!("CARGO_PKG_VERSION")
    );
    loop {
        refresh(&names, &shell.session).await;
        let (reply, line) = oneshot::channel();
        prompts.send(reply).context("the line editor has ended")?;
        let line = tokio::select! {
            line = line => line.context("the line editor has ended")?,
            () = shell.signals.shutdown.cancelled() => {
                // The editor's thread still reads and cannot restore the terminal itself.
                let _ = Command::new("stty").arg("sane").status();
                eprintln!();
                return Ok(Flow::Interrupted);
            }
        };
        match line {
            Line::Text(text) => match shell.script("", &text).await {
                Ok(Flow::Continue | Flow::Cancelled) => {}
                Ok(stop) => return Ok(stop),
                Err(error) => eprint!("{}", failure::text("error", &error, &shell.settings)),
            },
            Line::Dropped => {}
            Line::End => return Ok(Flow::Quit),
            Line::Failed(problem) => anyhow::bail!("cannot read from the terminal: {problem}"),
        }
    }
}

/// Reads the names for completion anew. Statements add and remove tables; functions stay the same, so they are read once.
async fn refresh(names: &RwLock<Names>, session: &Session) {
    // Completion keeps the earlier names where the catalog cannot be read.
    let Ok(tables) = session.tables().await else { return };
    let mut names = names.write().unwrap_or_else(PoisonError::into_inner);
    names.tables = tables;
    if names.functions.is_empty() {
        names.functions = session.functions();
    }
}

/// Starts the editor's thread. It reads a line for each channel that it is sent, and ends with the sender.
fn editor(
    names: Arc<RwLock<Names>>,
    path: Option<PathBuf>,
) -> anyhow::Result<mpsc::Sender<oneshot::Sender<Line>>> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY)
        .and_then(|config| config.history_ignore_dups(true))
        .context("cannot set up the line editor")?
        .history_ignore_space(true)
        .build();
    let mut history = FileHistory::with_config(&config);
    if let Some(path) = &path {
        // At the first start there is no file.
        let _ = history.load(path);
    }
    let (prompts, requests) = mpsc::channel::<oneshot::Sender<Line>>();
    std::thread::Builder::new()
        .name("line-editor".to_owned())
        .spawn(move || {
            while let Ok(reply) = requests.recv() {
                let line = read(&config, &mut history, &names, path.as_deref());
                // Nobody waits for it once the shell has ended.
                let _ = reply.send(line.unwrap_or_else(|error| Line::Failed(error.to_string())));
            }
        })
        .context("cannot start the line editor")?;
    Ok(prompts)
}

/// Reads one line with a new editor. An editor holds the handler of SIGINT as long as it lives, and a running query needs
/// that signal.
fn read(
    config: &Config,
    history: &mut FileHistory,
    names: &Arc<RwLock<Names>>,
    path: Option<&Path>,
) -> rustyline::Result<Line> {
    let mut editor: Editor<Assistant, FileHistory> =
        Editor::with_history(config.clone(), std::mem::take(history))?;
    editor.set_helper(Some(Assistant::new(Arc::clone(names))));
    let line = editor.readline(PROMPT);
    if let Ok(text) = &line
        && let (Ok(true), Some(path)) = (editor.add_history_entry(text), path)
        && let Err(error) = editor.append_history(path)
    {
        tracing::warn!(%error, path = %path.display(), "cannot write the history");
    }
    *history = std::mem::take(editor.history_mut());
    match line {
        Ok(text) => Ok(Line::Text(text)),
        Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => Ok(Line::Dropped),
        Err(ReadlineError::Eof) => Ok(Line::End),
        Err(error) => Err(error),
    }
}

/// `$XDG_STATE_HOME/firesteel/sql_history`, in a folder that no other user can read. None where there is no home folder.
fn history_file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    let folder = state.join("firesteel");
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
        tracing::warn!(%error, folder = %folder.display(), "there will be no history");
        return None;
    }
    Some(folder.join("sql_history"))
}
