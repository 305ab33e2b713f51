//! How many bytes of shuffle files and spills an executor may have.
//!
//! DataFusion limits the spills of sorts, joins and aggregations by itself. Ballista does not limit shuffle files, so they
//! are counted twice a second while tasks run. When there are too many bytes, the tasks of the running job with the most
//! files here fail with an error that names the setting. That is an error of its query: on the next executor it would fill
//! the disk as well.
//!
//! ```text
//!  work directory ── counted by ──▶ watch ── the largest job ──▶ Scratch ◀── asks ── each task
//! ```

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ballista_core::JobId;
use datafusion::error::DataFusionError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{ConfigField, Error};

/// The interval at which files are counted.
const COUNT: Duration = Duration::from_millis(500);

/// A job with less than this part of the limit does not fail for what others have left: results wait for their clients, and a
/// job between two stages has no task here.
const SPARED: u64 = 16;

/// The limit of the files of one executor.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    /// `None`: no limit.
    limit: Option<u64>,
    /// The number of tasks that run, by job.
    running: Arc<Mutex<HashMap<JobId, usize>>>,
    /// The job that has to end, and how many bytes there were.
    full: watch::Sender<Option<(JobId, u64)>>,
}

/// A task that runs, until it is dropped.
#[derive(Debug)]
pub(super) struct Writing {
    scratch: Scratch,
    job: JobId,
}

impl Scratch {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self { limit, running: Arc::default(), full: watch::Sender::new(None) }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<JobId, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a task of `job` runs.
    pub(super) fn begin(&self, job: &JobId) -> Writing {
        *self.running().entry(job.clone()).or_default() += 1;
        Writing { scratch: self.clone(), job: job.clone() }
    }

    /// Counts the files below `dir`, where each folder `registration/job` of `jobs` holds those of a job, until `stop`.
    pub(super) async fn watch(self, dir: PathBuf, jobs: PathBuf, stop: CancellationToken) {
        let Some(limit) = self.limit else { return };
        loop {
            tokio::select! {
                () = tokio::time::sleep(COUNT) => {}
                () = stop.cancelled() => return,
            }
            let running = self.running().clone();
            if running.is_empty() {
                self.full.send_if_modified(|full| full.take().is_some());
                continue;
            }
            let (dir, jobs) = (dir.clone(), jobs.clone());
            let counted = tokio::task::spawn_blocking(move || count(&dir, &jobs));
            match counted.await {
                Ok(Ok((bytes, by_job))) => self.judge(limit, bytes, &by_job, &running),
                Ok(Err(error)) => tracing::debug!(%error, "cannot count the files of the work directory"),
                Err(error) => tracing::warn!(%error, "cannot count the files of the work directory"),
            }
        }
    }

    /// Decides which job has to end.
    fn judge(&self, limit: u64, bytes: u64, by_job: &HashMap<JobId, u64>, running: &HashMap<JobId, usize>) {
        let full = (bytes > limit).then(|| largest(by_job, running)).flatten();
        let full = full.filter(|(_, own)| *own >= limit / SPARED).map(|(job, _)| (job, bytes));
        self.full.send_if_modified(|now| {
            let changed = now.as_ref().map(|(job, _)| job) != full.as_ref().map(|(job, _)| job);
            if let (true, Some((job, bytes))) = (changed, &full) {
                tracing::warn!(
                    %job, bytes, limit,
                    "the work directory is full, failing the tasks of the job with the most files"
                );
            }
            *now = full;
            changed
        });
    }
}

impl Writing {
    /// Returns once the job of this task has to end, with the reason.
    pub(super) async fn full(&self) -> DataFusionError {
        let mut full = self.scratch.full.subscribe();
        let mine = |full: &Option<(JobId, u64)>| full.as_ref().is_some_and(|(job, _)| *job == self.job);
        let bytes = full.wait_for(mine).await.map(|full| full.as_ref().map_or(0, |(_, bytes)| *bytes));
        // The sender is a part of this task.
        let Ok(bytes) = bytes else { return std::future::pending().await };
        let limit = self.scratch.limit.unwrap_or(0);
        DataFusionError::from(Error::ScratchFull {
            setting: ConfigField::ExecutorScratch,
            message: format!("there are {bytes} bytes of spills and shuffle files, and {limit} are allowed"),
        })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut running = self.scratch.running();
        if let Some(tasks) = running.get_mut(&self.job) {
            *tasks -= 1;
            if *tasks == 0 {
                running.remove(&self.job);
            }
        }
    }
}

/// The running job with the most files, and its bytes.
fn largest(by_job: &HashMap<JobId, u64>, running: &HashMap<JobId, usize>) -> Option<(JobId, u64)> {
    let bytes = |job: &JobId| by_job.get(job).copied().unwrap_or(0);
    running.keys().map(|job| (job.clone(), bytes(job))).max_by_key(|(job, bytes)| (*bytes, job.to_string()))
}

/// Returns the bytes of all files below `dir`, and those of each job.
fn count(dir: &Path, jobs: &Path) -> io::Result<(u64, HashMap<JobId, u64>)> {
    let mut by_job: HashMap<JobId, u64> = HashMap::new();
    for registration in fs::read_dir(jobs)?.flatten() {
        let Ok(entries) = fs::read_dir(registration.path()) else { continue };
        for job in entries.flatten() {
            let id = JobId::from(job.file_name().to_string_lossy().into_owned());
            *by_job.entry(id).or_default() += size(&job.path());
        }
    }
    Ok((size(dir), by_job))
}

/// Returns the bytes of all files below `path`. What disappears meanwhile counts as nothing.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, bytes: usize) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![0; bytes]).unwrap();
    }

    #[tokio::test]
    async fn the_tasks_of_the_running_job_with_the_most_files_fail() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = dir.path().join("jobs");
        write(&jobs.join("1/finished/1/data"), 900);
        write(&jobs.join("1/large/1/data"), 300);
        write(&jobs.join("1/small/2/data"), 100);
        write(&dir.path().join("spill/x"), 50);
        let (bytes, by_job) = count(dir.path(), &jobs).unwrap();
        assert_eq!((bytes, by_job[&JobId::from("large")]), (1350, 300));

        let scratch = Scratch::new(Some(1349));
        let (large, small) = (scratch.begin(&JobId::from("large")), scratch.begin(&JobId::from("small")));
        let stop = CancellationToken::new();
        let watched = tokio::spawn(scratch.clone().watch(dir.path().to_owned(), jobs.clone(), stop.clone()));
        let error = tokio::time::timeout(Duration::from_secs(10), large.full()).await.unwrap();
        let error = Error::from(error);
        assert!(matches!(error, Error::ScratchFull { .. }) && !error.is_lost_work(), "{error}");
        assert!(error.to_string().contains("executor.scratch"), "{error}");
        let spared = tokio::time::timeout(Duration::from_millis(50), small.full()).await;
        assert!(spared.is_err(), "it goes on");
        // The job that failed goes, and with it the reason.
        drop(large);
        write(&jobs.join("1/finished/2/data"), 2000);
        let spared = tokio::time::timeout(Duration::from_millis(1500), async {
            fs::write(jobs.join("1/small/2/data"), vec![0; 10]).unwrap();
            let mut full = scratch.full.subscribe();
            full.wait_for(Option::is_none).await.unwrap();
        });
        spared.await.expect("what others have left fails no job that has next to nothing");
        fs::remove_dir_all(jobs.join("1/large")).unwrap();
        let mut full = scratch.full.subscribe();
        tokio::time::timeout(Duration::from_secs(10), full.wait_for(Option::is_none)).await.unwrap().unwrap();
        drop(small);
        assert!(scratch.running().is_empty());
        stop.cancel();
        watched.await.unwrap();
    }
}
