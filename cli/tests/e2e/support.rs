//! Starts the real binary with settings of its own and sees to it that nothing of it is left.

use firesteel_testkit::{Services, TempDatabase, TempTopics, unique};
use mongodb::bson::{Document, doc};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Topics, groups and a database that no other test uses.
pub(crate) struct World {
    pub(crate) services: Services,
    pub(crate) database: TempDatabase,
    pub(crate) images: String,
    pub(crate) predictions: String,
    groups: [String; 2],
    _topics: TempTopics,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    /// None, loudly, where no servers are configured.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let services = Services::from_env()?;
        let (images, predictions) = (unique("images"), unique("predictions"));
        let topics = [images.clone(), predictions.clone()];
        let topics = topics.into_iter().flat_map(|topic| [format!("{topic}.dead-letter"), topic]);
        Some(Self {
            database: TempDatabase::new(&services.mongodb_uri, name),
            _topics: TempTopics::new(&services.kafka_bootstrap, topics),
            services,
            images,
            predictions,
            groups: [unique("images-group"), unique("predictions-group")],
            folder: tempfile::tempdir().expect("a temporary folder"),
        })
    }

    /// The binary, with this world's settings.
    pub(crate) fn firesteel(&self, arguments: &[&str]) -> Command {
        let mut command = firesteel(arguments);
        command
            .env("FIRESTEEL_KAFKA_BOOTSTRAP", &self.services.kafka_bootstrap)
            .env("FIRESTEEL_MONGODB_URI", &self.services.mongodb_uri)
            .env("FIRESTEEL_MONGODB_DATABASE", &self.database.name)
            .env("FIRESTEEL_IMAGES_TOPIC", &self.images)
            .env("FIRESTEEL_PREDICTIONS_TOPIC", &self.predictions)
            .env("FIRESTEEL_IMAGES_GROUP", &self.groups[0])
            .env("FIRESTEEL_PREDICTIONS_GROUP", &self.groups[1])
            .env("FIRESTEEL_KAFKA_PARTITIONS", "4")
            .current_dir(self.folder.path());
        command
    }

    pub(crate) async fn collection(&self) -> mongodb::Collection<Document> {
        let client = mongodb::Client::with_uri_str(&self.services.mongodb_uri).await.expect("MongoDB");
        client.database(&self.database.name).collection("predictions")
    }

    pub(crate) async fn documents(&self) -> u64 {
        self.collection().await.count_documents(doc! {}).await.expect("a count")
    }
}

/// The binary without any setting of the surrounding environment.
pub(crate) fn firesteel(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firesteel"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FIRESTEEL_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs to the end.
pub(crate) fn output(mut command: Command) -> Output {
    command.output().expect("the binary starts")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// A running role. Killed when dropped.
pub(crate) struct Role {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Role {
    pub(crate) fn start(mut command: Command) -> Self {
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
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + firesteel_testkit::SOON;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no line with {text:?} ({error}); it said:\n{}", self.seen.join("\n")),
            }
        }
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // `kill` from the same package as the shell's: no unsafe code in a test.
        let status =
            Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().expect("kill");
        assert!(status.success(), "the process is there");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < end, "still running after {within:?}; it said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn said(&mut self) -> String {
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

/// A ledger's ids.
pub(crate) fn ledger(path: &std::path::Path) -> Vec<String> {
    let mut text = String::new();
    std::fs::File::open(path).expect("a ledger").read_to_string(&mut text).expect("text");
    text.lines().map(str::to_owned).collect()
}
