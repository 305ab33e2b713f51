//! Files of secrets and certificates: who may read them, and reading them again when they change.
//!
//! [`Watched`] holds what was read from some files. Whoever asks for it causes a look at the files, at most once a second;
//! files that have changed are read anew. Files that cannot be used any more leave the last good value in force, with a
//! warning, so that a certificate that is half written ends no service. Replacing a file or the folder behind a symbolic
//! link, as Kubernetes does, counts as a change.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Reads a text file that people other than its owner and its group cannot read.
///
/// # Errors
/// A file that cannot be read, or that everybody can.
pub(crate) fn private_text(path: &Path) -> io::Result<String> {
    if is_readable_by_all(&fs::metadata(path)?) {
        let message = format!("everybody can read it: run `chmod o-rwx {}`", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    fs::read_to_string(path)
}

#[cfg(unix)]
fn is_readable_by_all(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.mode() & 0o007 != 0
}

#[cfg(not(unix))]
fn is_readable_by_all(_: &Metadata) -> bool {
    false
}

type Read<T> = Box<dyn Fn() -> io::Result<T> + Send + Sync>;

/// What was read from files that may change.
pub(crate) struct Watched<T> {
    files: Vec<PathBuf>,
    read: Read<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    /// What the files looked like when they were last read with success.
    stamps: Vec<Stamp>,
    /// What they looked like when they were last of no use, of which a warning tells once.
    refused: Option<Vec<Stamp>>,
    looked: Instant,
}

/// What changes when a file does. `None` for a file that is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

impl<T> Watched<T> {
    /// Reads files for the first time.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn open(
        files: Vec<PathBuf>,
        read: impl Fn() -> io::Result<T> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let stamps = stamps(&files);
        let value = Arc::new(read()?);
        let state = Mutex::new(State { value, stamps, refused: None, looked: Instant::now() });
        Ok(Self { files, read: Box::new(read), state })
    }

    /// The current value.
    pub(crate) fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < LOOK_EVERY {
            return Arc::clone(&state.value);
        }
        state.looked = Instant::now();
        let stamps = stamps(&self.files);
        if stamps != state.stamps {
            let files = || self.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
            match (self.read)() {
                // Stamped before they are read: a change in between is seen the next time.
                Ok(value) => {
                    state.value = Arc::new(value);
                    state.stamps = stamps;
                    state.refused = None;
                    tracing::info!(files = ?files(), "read again");
                }
                // Tried again at every look: what was wrong may be the mode of a file, or the system's.
                Err(_) if state.refused.as_ref() == Some(&stamps) => {}
                Err(error) => {
                    tracing::warn!(files = ?files(), %error, "cannot be used any more, the last good content stays");
                    state.refused = Some(stamps);
                }
            }
        }
        Arc::clone(&state.value)
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| fs::metadata(file).ok().and_then(|metadata| stamp(&metadata))).collect()
}

fn stamp(metadata: &Metadata) -> Stamp {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some((metadata.modified().ok()?, metadata.len(), inode))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Long enough for a change to be seen.
    pub(crate) const SEEN_AFTER: Duration = Duration::from_millis(600);

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_refused_for_its_mode_is_read_once_the_mode_is_right() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        };
        fs::write(&path, "old").expect("written");
        mode(&path, 0o600);
        let file = path.clone();
        let watched = Watched::open(vec![path.clone()], move || private_text(&file)).expect("private");
        let new = folder.path().join("new");
        fs::write(&new, "new").expect("written");
        mode(&new, 0o644);
        fs::rename(&new, &path).expect("replaced");
        std::thread::sleep(SEEN_AFTER);
        assert_eq!(*watched.get(), "old", "everybody can read the new one");
        mode(&path, 0o600);
        std::thread::sleep(SEEN_AFTER);
        assert_eq!(*watched.get(), "new");
    }

    #[test]
    fn a_change_is_seen_and_one_for_the_worse_is_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("number");
        fs::write(&path, "1").expect("written");
        let file = path.clone();
        let read = move || -> io::Result<u32> {
            fs::read_to_string(&file)?.trim().parse().map_err(|error| io::Error::other(format!("{error}")))
        };
        let watched = Watched::open(vec![path.clone()], read).expect("a number");
        assert_eq!(*watched.get(), 1);
        for (text, value) in [("22", 22), ("no number", 22), ("333", 333)] {
            let new = folder.path().join("new");
            fs::write(&new, text).expect("written");
            fs::rename(&new, &path).expect("replaced");
            std::thread::sleep(SEEN_AFTER);
            assert_eq!(*watched.get(), value, "{text}");
        }
        fs::remove_file(&path).expect("removed");
        std::thread::sleep(SEEN_AFTER);
        assert_eq!(*watched.get(), 333);
    }
}
