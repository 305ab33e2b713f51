//! The work directory of an executor, which holds its shuffle files and spills and is removed with it.
//!
//! A killed process cannot remove its folder. Each folder holds a file that its owner keeps locked, and the next
//! executor that starts in the same parent folder removes the folders whose lock is free. The lock decides and not an
//! age, so no folder is removed while it is in use.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::{ConfigField, Error, Result};

const PREFIX: &str = "firesteel-executor-";
const LOCK: &str = "lock";
/// The folder of spilled sorts and joins. DataFusion removes each spill when its task ends.
const SPILL: &str = "spill";
/// The folder of shuffle files, by job.
const JOBS: &str = "jobs";

/// A folder that is removed when dropped.
#[derive(Debug)]
pub(crate) struct WorkDir {
    dir: TempDir,
    /// Keeps the lock file locked while the folder is in use.
    _lock: File,
}

impl WorkDir {
    /// Creates a folder in `parent`, or in the system's temporary folder, and removes the folders of killed executors
    /// there.
    pub(crate) fn create(parent: Option<&Path>) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let made = fs::create_dir_all(&parent).and_then(|()| {
            sweep(&parent);
            Self::make(&parent)
        });
        made.map_err(|error| Error::Folder {
            setting: ConfigField::ExecutorWorkDir,
            path: parent.display().to_string(),
            message: error.to_string(),
        })
    }

    fn make(parent: &Path) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        // Locked under another name first: a folder without a lock file is not swept.
        let (taking, lock) = (dir.path().join("locking"), dir.path().join(LOCK));
        let file = File::create(&taking)?;
        file.lock()?;
        fs::rename(taking, lock)?;
        fs::create_dir(dir.path().join(SPILL))?;
        fs::create_dir(dir.path().join(JOBS))?;
        Ok(Self { dir, _lock: file })
    }

    /// Returns the path of the folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the folder of spills.
    pub(super) fn spill(&self) -> PathBuf {
        self.dir.path().join(SPILL)
    }

    /// Returns the folder of the shuffle files, by registration and job.
    pub(super) fn jobs(&self) -> PathBuf {
        self.dir.path().join(JOBS)
    }

    /// Creates the folder for the shuffle files of one registration.
    pub(super) fn create_job_folder(&self, registration: u64) -> io::Result<PathBuf> {
        let path = self.jobs().join(registration.to_string());
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // A task that was aborted may still write, so one attempt is not always enough.
        for _ in 0..3 {
            match fs::remove_dir_all(self.dir.path()) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(error) => tracing::debug!(%error, "cannot remove the work directory, trying again"),
            }
        }
    }
}

/// Removes the folders in `parent` whose owners are gone. A folder that cannot be removed is left for the next sweep.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        match lock.try_lock() {
            Ok(()) => match fs::remove_dir_all(entry.path()) {
                Ok(()) => {
                    tracing::info!(path = %entry.path().display(), "removed the work directory of a killed executor")
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot remove the work directory of a killed executor")
                }
            },
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "cannot check the lock of a work directory")
            }
        }
    }
}

/// Removes the job folders in `dir` in which nothing has changed for `ttl`, and returns their number.
pub(super) fn remove_old_jobs(dir: &Path, ttl: Duration) -> io::Result<usize> {
    let Some(cutoff) = SystemTime::now().checked_sub(ttl) else { return Ok(0) };
    let mut removed = 0;
    for job in fs::read_dir(dir)? {
        let job = job?.path();
        if job.is_dir() && newest(&job)? < cutoff {
            fs::remove_dir_all(&job)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Returns when `path`, or anything below it, last changed.
fn newest(path: &Path) -> io::Result<SystemTime> {
    let metadata = fs::metadata(path)?;
    let mut newest = metadata.modified()?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            newest = newest.max(self::newest(&entry?.path())?);
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_killed_executor_is_removed_and_no_other() {
        let parent = tempfile::tempdir().unwrap();
        let living = WorkDir::create(Some(parent.path())).unwrap();
        // What a killed process leaves: a folder with a lock file that is not locked.
        let dead = parent.path().join(format!("{PREFIX}dead"));
        fs::create_dir(&dead).unwrap();
        File::create(dead.join(LOCK)).unwrap();
        // A folder that is being created has no lock file yet, and another program's folder must stay.
        let young = parent.path().join(format!("{PREFIX}young"));
        let foreign = parent.path().join("foreign");
        for folder in [&young, &foreign] {
            fs::create_dir(folder).unwrap();
        }

        let second = WorkDir::create(Some(parent.path())).unwrap();
        assert!(!dead.exists());
        for path in [living.path(), second.path(), &young, &foreign] {
            assert!(path.exists(), "{}", path.display());
        }
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }

    #[test]
    fn only_jobs_in_which_nothing_changes_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let stamp = |path: &Path, age| {
            let time = SystemTime::now() - Duration::from_secs(age);
            File::open(path).unwrap().set_modified(time).unwrap();
        };
        for job in [&old, &new] {
            fs::create_dir_all(job.join("1")).unwrap();
            fs::write(job.join("1/data"), "x").unwrap();
        }
        for path in [old.join("1/data"), old.join("1"), old.clone(), new.join("1"), new.clone()] {
            stamp(&path, 1_000);
        }
        assert_eq!(remove_old_jobs(dir.path(), Duration::from_secs(100)).unwrap(), 1);
        assert!(!old.exists() && new.exists());
    }
}
