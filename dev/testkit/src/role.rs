//! A process under test: what it logs, its signals, and its end, which comes at the latest with the test's.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The binary at `path`, without any setting of the surrounding environment.
#[must_use]
pub fn binary(path: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FIRESTEEL_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// How long the log of a role that has ended is waited for: it ends with the role, unless a process of its own has it open.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A running role. Killed when dropped.
#[derive(Debug)]
pub struct Role {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Role {
    /// Starts it; what it prints to standard output is not kept.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let (send, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits until a line of its log holds `text`, and returns the line.
    ///
    /// # Panics
    /// When that does not come soon.
    pub fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + crate::SOON;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?} ({error}); it said:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// As [`Role::wait_for`], for a role that logs JSON: the fields of the line.
    ///
    /// # Panics
    /// When that does not come soon, or is no JSON.
    pub fn wait_for_fields(&mut self, message: &str) -> serde_json::Value {
        let line = self.wait_for(&format!("\"message\":\"{message}"));
        let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
        line["fields"].clone()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: i32) {
        // `kill` from the same package as the shell's: no unsafe code in a test.
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([format!("-{signal}"), pid]).status().expect("kill");
        assert!(status.success(), "the process is there");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                // Its last words may still be on their way.
                while let Ok(line) = self.lines.recv_timeout(LAST_WORDS) {
                    self.seen.push(line);
                }
                return status;
            }
            assert!(Instant::now() < end, "still running after {within:?}; it said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that it has logged.
    pub fn said(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("a role said:\n{}", self.said());
        }
    }
}
