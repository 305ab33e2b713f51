//! Other programs, driven by their standard input and output: one that stays open and answers a line with a line of
//! JSON, as the scripts in `benches/` do with `--serve`, and one that runs to its end.

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

/// How many characters of a program's complaints an error quotes.
const QUOTED: usize = 800;

/// A program that is up. Killed when dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    name: String,
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    complaints: JoinHandle<String>,
    /// Its first line: versions, and how long it took to come up.
    pub(crate) ready: Value,
}

impl ServerProcess {
    /// Starts `command` and waits for its first line.
    pub(crate) async fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped());
        let mut child = spawn(name, &mut command)?;
        let complaints = complaints(&mut child);
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{name} has no standard input or output");
        };
        let stdout = BufReader::new(stdout).lines();
        let mut process =
            Self { name: name.to_owned(), child, stdin, stdout, complaints, ready: Value::Null };
        process.ready = process.line().await?;
        Ok(process)
    }

    /// Its process id; 0 once it has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// What it answers to `line`.
    pub(crate) async fn ask(&mut self, line: &str) -> anyhow::Result<Value> {
        let sent = self.stdin.write_all(format!("{line}\n").as_bytes()).await;
        sent.with_context(|| format!("{} takes no more orders", self.name))?;
        self.stdin.flush().await?;
        let answer = self.line().await?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => bail!("{}: {line}: {error}", self.name),
            None => Ok(answer),
        }
    }

    async fn line(&mut self) -> anyhow::Result<Value> {
        while let Some(line) = self.stdout.next_line().await? {
            // Spark's launcher may say something of its own before.
            if line.starts_with('{') {
                return serde_json::from_str(&line).with_context(|| format!("{} wrote no JSON", self.name));
            }
        }
        let status = self.child.wait().await?;
        let said = (&mut self.complaints).await.unwrap_or_default();
        bail!("{} ended ({status}): {}", self.name, last_words(&said));
    }
}

/// Runs a program to its end; its last line, and when `at_end` is called it has said everything and is still known to the
/// system.
pub(crate) async fn run<T>(
    name: &str,
    mut command: Command,
    begun: impl FnOnce(u32) -> T,
    at_end: impl FnOnce(T),
) -> anyhow::Result<Value> {
    command.stdin(Stdio::null());
    let mut child = spawn(name, &mut command)?;
    let watched = begun(child.id().unwrap_or(0));
    let complaints = complaints(&mut child);
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).await.with_context(|| format!("{name} said no text"))?;
    }
    at_end(watched);
    let status = child.wait().await?;
    let complained = complaints.await.unwrap_or_default();
    if !status.success() {
        bail!("{name} failed ({status}): {}", last_words(&complained));
    }
    // `firesteel report` prints JSON over several lines, the scripts one line behind whatever a launcher said.
    let whole = serde_json::from_str(&said);
    whole
        .or_else(|_| serde_json::from_str(said.lines().last().unwrap_or_default()))
        .with_context(|| format!("{name} ended without a line of JSON: {}", last_words(&said)))
}

fn spawn(name: &str, command: &mut Command) -> anyhow::Result<Child> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.spawn().with_context(|| format!("cannot start {name} ({program})"))
}

/// Reads what a program complains about, so that it is never held up by nobody reading.
fn complaints(child: &mut Child) -> JoinHandle<String> {
    let stderr = child.stderr.take();
    tokio::spawn(async move {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            // What could be read is told.
            let _ = stderr.read_to_end(&mut said).await;
        }
        String::from_utf8_lossy(&said).into_owned()
    })
}

/// The part of a program's output that an error quotes: from the last `error:` on, or else the end.
fn last_words(said: &str) -> String {
    let said = said.trim();
    let quoted = match said.rfind("error:") {
        Some(from) => &said[from..],
        None => {
            let from = said.len().saturating_sub(QUOTED);
            (from..said.len()).find_map(|index| said.get(index..)).unwrap_or_default()
        }
    };
    quoted.chars().take(QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_line_is_answered_by_a_line() {
        let script = r#"echo noise; echo '{"ready": true}'; while read line; do
            if [ "$line" = bad ]; then echo '{"error": "no"}'; else echo "{\"said\": \"$line\"}"; fi; done"#;
        let mut served = ServerProcess::start("a shell", shell(script)).await.unwrap();
        assert_eq!(served.ready["ready"], true);
        assert_eq!(served.ask("one").await.unwrap()["said"], "one");
        assert!(served.ask("bad").await.unwrap_err().to_string().contains("a shell: bad: no"));
        assert_eq!(served.ask("two").await.unwrap()["said"], "two");
    }

    #[tokio::test]
    async fn a_program_that_ends_says_why() {
        let error =
            ServerProcess::start("a shell", shell("echo 'error: no Java' >&2; exit 3")).await.unwrap_err();
        assert!(error.to_string().contains("error: no Java"), "{error}");
        let error = run("a shell", shell("echo 'error: worse' >&2; exit 1"), |_| (), |()| ()).await;
        assert!(error.unwrap_err().to_string().contains("worse"));
        let answer =
            run("a shell", shell("echo noise; echo '{\"n\": 1}'"), |pid| assert!(pid > 0), |()| ()).await;
        assert_eq!(answer.unwrap()["n"], 1);
    }

    #[test]
    fn last_words_are_cut_between_characters() {
        let said = "é".repeat(QUOTED);
        assert!(last_words(&said).len() <= QUOTED);
        assert_eq!(last_words("INFO x\nerror: why\n"), "error: why");
        let long = format!("error: why\n{}", "INFO x\n".repeat(QUOTED));
        assert!(last_words(&long).starts_with("error: why"));
    }
}
