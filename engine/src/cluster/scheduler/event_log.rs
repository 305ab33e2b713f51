//! The event log: a file for each job that has ended, from which it can be looked at after the scheduler has gone.
//!
//! ```text
//!  Jobs ── id of a job that ended ──▶ writer ── asks the REST API ──▶ what a browser would see
//!                                        └── JOB.eventlog ──▶ /history
//! ```
//!
//! Ballista's own writer of these files is not used: its event loop waits for the disk with every job that ends, and nothing
//! ever removes a file. This writer is a task of its own that is given no more than the id of a job. A disk that hangs
//! delays the log and nothing else; jobs that end meanwhile are left out of it once the queue is full.
//!
//! The files hold the text of queries, so only this user can read them. The oldest are removed when all of them take too
//! many bytes or are too old, when the scheduler starts and while it runs.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use ballista_core::JobId;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// How many jobs may wait to be written.
const QUEUE: usize = 1024;

/// How long the last jobs may take to be written once the scheduler ends.
pub(super) const LAST: Duration = Duration::from_secs(5);

/// The interval at which old files are looked for.
const SWEEP: Duration = Duration::from_secs(600);

/// How long a file that is being written may take. An older one was left by a scheduler that was killed.
const WRITING: Duration = Duration::from_secs(3600);

/// What the answer of the REST API on one job may have, in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// The version of the records, as the history reads it.
const VERSION: u32 = 1;

const ENDED: &str = "eventlog";
const UNFINISHED: &str = "running";

/// Where the log is, and how large and old it may become.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
    bytes: u64,
    /// `None`: no limit.
    age: Option<Duration>,
}

/// Takes the jobs that have ended.
#[derive(Clone, Debug)]
pub(super) struct EventLog(mpsc::Sender<JobId>);

/// Writes the jobs that have ended.
#[derive(Debug)]
pub(super) struct Writer {
    folder: Folder,
    ended: mpsc::Receiver<JobId>,
}

impl EventLog {
    /// Notes that a job has ended. It never waits.
    pub(super) fn append(&self, job: &JobId) {
        if self.0.try_send(job.clone()).is_err() {
            tracing::warn!(%job, "the event log cannot keep up and leaves a job out");
        }
    }
}

/// Creates the log and its writer.
pub(super) fn event_log(folder: Folder) -> (EventLog, Writer) {
    let (sender, ended) = mpsc::channel(QUEUE);
    (EventLog(sender), Writer { folder, ended })
}

impl Writer {
    /// Writes until `stop` is cancelled, and then what has ended before. `api` is the REST API.
    pub(super) async fn run(mut self, api: Router, stop: CancellationToken) {
        let mut bytes = self.sweep().await;
        loop {
            let job = tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(SWEEP) => {
                    bytes = self.sweep().await;
                    continue;
                }
                job = self.ended.recv() => job,
            };
            let Some(job) = job else { return };
            bytes += self.write(&api, &job).await;
            if bytes > self.folder.bytes {
                bytes = self.sweep().await;
            }
        }
        let rest = async {
            while let Ok(job) = self.ended.try_recv() {
                self.write(&api, &job).await;
            }
        };
        if tokio::time::timeout(LAST, rest).await.is_err() {
            tracing::warn!(
                "the event log leaves out the last jobs, because its folder does not answer in time"
            );
        }
    }

    /// Writes a job and returns how many bytes that took.
    async fn write(&self, api: &Router, job: &JobId) -> u64 {
        let line = match record(api, job).await {
            Ok(line) => line,
            Err(reason) => {
                tracing::warn!(%job, reason, "the event log leaves a job out");
                return 0;
            }
        };
        let (folder, name, bytes) = (self.folder.clone(), job.to_string(), line.len() as u64);
        let written = tokio::task::spawn_blocking(move || folder.write(&name, line.as_bytes())).await;
        match written {
            Ok(Ok(())) => return bytes,
            Ok(Err(error)) => tracing::warn!(%job, %error, "the event log cannot write a job"),
            Err(error) => tracing::warn!(%job, %error, "the event log cannot write a job"),
        }
        0
    }

    /// Removes what is too much or too old, and returns how many bytes are left.
    async fn sweep(&self) -> u64 {
        let folder = self.folder.clone();
        match tokio::task::spawn_blocking(move || folder.sweep(SystemTime::now())).await {
            Ok(Ok(bytes)) => return bytes,
            Ok(Err(error)) => tracing::warn!(%error, "cannot remove old files of the event log"),
            Err(error) => tracing::warn!(%error, "cannot remove old files of the event log"),
        }
        0
    }
}

/// The line of a job that has ended.
async fn record(api: &Router, job: &JobId) -> Result<String, String> {
    let mut summary = json(api, &format!("/api/job/{job}")).await?;
    let stages = json(api, &format!("/api/job/{job}/stages")).await?;
    let config = json(api, &format!("/api/job/{job}/config")).await?;
    let dot = get(api, &format!("/api/job/{job}/dot")).await?;
    let status = outcome(&mut summary);
    let index = [
        "job_id",
        "job_name",
        "status",
        "job_status",
        "start_time",
        "end_time",
        "num_stages",
        "completed_stages",
        "percent_complete",
    ];
    let index: serde_json::Map<String, Value> =
        index.iter().map(|&key| (key.to_owned(), summary[key].clone())).collect();
    let data = json!({
        "status": status,
        "queued_at": summary["start_time"],
        "started_at": summary["start_time"],
        "completed_at": summary["end_time"],
        "index": index,
        "job": summary,
        "stages": stages,
        "config": config,
        "dot": dot,
    });
    Ok(format!("{}\n", json!({ "ev": "JobEnd", "version": VERSION, "data": data })))
}

/// How a job ended. Ballista tells one that was cancelled as one that failed.
fn outcome(summary: &mut Value) -> Value {
    let text = |key: &str| summary[key].as_str().unwrap_or_default().to_owned();
    let (status, told) = (text("status"), text("job_status"));
    if status != "Failed" {
        return json!("Succeeded");
    }
    if told.trim_start_matches("Failed:").trim() != "Cancelled" {
        return json!({ "Failed": told });
    }
    summary["status"] = json!("Cancelled");
    summary["job_status"] = json!("Cancelled");
    json!("Cancelled")
}

async fn json(api: &Router, path: &str) -> Result<Value, String> {
    serde_json::from_str(&get(api, path).await?).map_err(|error| format!("{path}: {error}"))
}

async fn get(api: &Router, path: &str) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{path}: {error}");
    let request = Request::get(path).body(Body::empty()).map_err(|error| failed(&error))?;
    let answer = match api.clone().oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let status = answer.status();
    if !status.is_success() {
        return Err(failed(&status));
    }
    let body = to_bytes(answer.into_body(), MAX_ANSWER).await.map_err(|error| failed(&error))?;
    String::from_utf8(body.to_vec()).map_err(|error| failed(&error))
}

/// A file of the log.
#[derive(Clone, Debug)]
struct LogFile {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

impl Folder {
    /// A folder that exists. `age` of zero: no limit.
    pub(super) fn new(path: &Path, bytes: u64, age: Duration) -> Self {
        Self { path: path.to_owned(), bytes, age: (!age.is_zero()).then_some(age) }
    }

    /// Writes a file, which has its name once it is complete.
    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        if content.len() as u64 > self.bytes {
            return Err(io::Error::other("its file would be larger than the whole log may be"));
        }
        let ended = self.path.join(format!("{name}.{ENDED}"));
        let unfinished = self.path.join(format!("{name}.{ENDED}.{UNFINISHED}"));
        let mut options = std::fs::OpenOptions::new();
        options.create(true).write(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&unfinished).and_then(|mut file| file.write_all(content));
        let written = written.and_then(|()| std::fs::rename(&unfinished, ended));
        if written.is_err() {
            // A disk that is full would keep the part that was written.
            let _ = std::fs::remove_file(unfinished);
        }
        written
    }

    /// Removes what is too much or too old at `now`, and returns how many bytes are left.
    fn sweep(&self, now: SystemTime) -> io::Result<u64> {
        let files = self.files()?;
        let all: u64 = files.iter().map(|file| file.bytes).sum();
        let surplus = surplus(files, self, now);
        let mut left = all;
        for file in &surplus {
            match std::fs::remove_file(&file.path) {
                Ok(()) => left -= file.bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => left -= file.bytes,
                Err(error) => {
                    tracing::debug!(%error, path = %file.path.display(), "cannot remove an old file")
                }
            }
        }
        if !surplus.is_empty() {
            tracing::info!(removed = surplus.len(), bytes = all - left, "removed old files of the event log");
        }
        Ok(left)
    }

    fn files(&self) -> io::Result<Vec<LogFile>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let of_ours = name.trim_end_matches(&format!(".{UNFINISHED}")).ends_with(&format!(".{ENDED}"));
            // A file that has just been removed or renamed is counted the next time.
            let Ok(metadata) = path.metadata() else { continue };
            if !of_ours || !metadata.is_file() {
                continue;
            }
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push(LogFile { path, bytes: metadata.len(), modified });
        }
        Ok(files)
    }
}

/// The files to remove: those that are too old, those that were never finished, and the oldest of the rest until they fit.
/// When they do not, a tenth of the room is made free, so that not every job that ends has all files looked at.
fn surplus(mut files: Vec<LogFile>, folder: &Folder, now: SystemTime) -> Vec<LogFile> {
    files.sort_by_key(|file| std::cmp::Reverse(file.modified));
    let all: u64 = files.iter().map(|file| file.bytes).sum();
    let room = if all > folder.bytes { folder.bytes / 10 * 9 } else { folder.bytes };
    let older = |file: &LogFile, age: Duration| now.duration_since(file.modified).is_ok_and(|is| is >= age);
    let (mut kept, mut full, mut surplus) = (0, false, Vec::new());
    for file in files {
        let unfinished = file.path.extension().is_some_and(|extension| extension == UNFINISHED);
        let left = unfinished && older(&file, WRITING);
        full |= kept + file.bytes > room;
        if full || left || folder.age.is_some_and(|age| older(&file, age)) {
            surplus.push(file);
        } else {
            kept += file.bytes;
        }
    }
    surplus
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use ballista_scheduler::history::HistoryStore;

    use super::*;

    fn folder(dir: &Path, bytes: u64, age: Duration) -> Folder {
        Folder::new(dir, bytes, age)
    }

    fn names(folder: &Folder) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&folder.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The REST API, for any job.
    fn api() -> Router {
        let job = async || {
            axum::Json(json!({
                "job_id": "a", "job_name": "q", "status": "Completed", "job_status": "Completed. Took 1 s",
                "start_time": 1, "end_time": 2, "num_stages": 1, "completed_stages": 1, "percent_complete": 100
            }))
        };
        Router::new()
            .route("/api/job/{id}", get(job))
            .route("/api/job/{id}/stages", get(async || axum::Json(json!({ "stages": [1] }))))
            .route("/api/job/{id}/config", get(async || axum::Json(json!({ "k": "v" }))))
            .route("/api/job/{id}/dot", get(async || "digraph {}"))
    }

    #[tokio::test]
    async fn a_job_that_ended_is_read_back_by_the_history_and_by_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path(), 1 << 20, Duration::ZERO);
        let (log, writer) = event_log(folder.clone());
        log.append(&JobId::from("a"));
        let stop = CancellationToken::new();
        stop.cancel();
        writer.run(api(), stop).await;
        assert_eq!(names(&folder), ["a.eventlog"]);
        let history = HistoryStore::load(&folder.path).unwrap();
        let read = history.read_job("a").unwrap();
        assert_eq!((history.len(), read.stages.get()), (1, r#"{"stages":[1]}"#));
        assert_eq!((read.dot.as_str(), read.index.status.as_str()), ("digraph {}", "Completed"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&folder.path.join("a.eventlog")), 0o600);
        }
    }

    #[test]
    fn a_cancelled_job_is_told_as_such() {
        for (status, told, expected) in [
            ("Completed", "Completed. Produced 1 partition", json!("Succeeded")),
            ("Failed", "Failed: Cancelled", json!("Cancelled")),
            ("Failed", "Failed: disk full", json!({ "Failed": "Failed: disk full" })),
        ] {
            let mut summary = json!({ "status": status, "job_status": told });
            assert_eq!(outcome(&mut summary), expected);
        }
    }

    #[test]
    fn the_oldest_files_are_removed_by_size_and_age() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path(), 1000, Duration::from_secs(100_000));
        let now = SystemTime::now();
        let make = |name: &str, bytes: usize, age: u64| {
            let path = folder.path.join(name);
            std::fs::write(&path, vec![b'x'; bytes]).unwrap();
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(now - Duration::from_secs(age)).unwrap();
        };
        make("ancient.eventlog", 1, 200_000);
        make("killed.eventlog.running", 1, 4_000);
        make("writing.eventlog.running", 1, 1);
        make("other.txt", 5_000, 300_000);
        make("new.eventlog", 400, 10);
        assert_eq!(folder.sweep(now).unwrap(), 401);
        assert_eq!(names(&folder), ["new.eventlog", "other.txt", "writing.eventlog.running"]);
        make("old.eventlog", 400, 30);
        make("middle.eventlog", 300, 20);
        // 1,101 bytes of 1,000: the oldest goes, and a tenth is free afterwards.
        assert_eq!(folder.sweep(now).unwrap(), 701);
        assert_eq!(
            names(&folder),
            ["middle.eventlog", "new.eventlog", "other.txt", "writing.eventlog.running"]
        );
        let error = folder.write("huge", &[b'x'; 1001]).unwrap_err();
        assert!(error.to_string().contains("larger than the whole log"), "{error}");
    }
}
