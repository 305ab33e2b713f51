//! What a process knows of the cache: where the files are, and which columns it has in memory.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use arrow::array::{Array, ArrayRef};

use super::config::{MARK_EVERY, SESSION_PREFIX, STALE};
use super::error::unusable;
use crate::config::CacheConfig;
use crate::{ConfigField, Error, Result};

/// Where the files of one cached table are: a session, and a number in it. Whoever knows the session's name can read and
/// remove its files, so it is printed nowhere.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Folder {
    session: String,
    /// 0 is the whole session.
    number: u64,
}

impl Folder {
    /// Folder `number` of a session. Its name becomes a path, so it may hold nothing that leads elsewhere.
    pub(crate) fn new(session: &str, number: u64) -> Result<Self> {
        if !plain(session) {
            let message = format!("`{}` is no name of a session", session.escape_default());
            return Err(Error::PlanDecode { message });
        }
        Ok(Self { session: session.to_owned(), number })
    }

    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl std::fmt::Display for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SESSION_PREFIX}…/{}", self.number)
    }
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Folder({self})")
    }
}

/// The bytes of all files below `path`. What disappears meanwhile counts as nothing.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}

/// Whether a text is safe as one part of a path.
fn plain(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(letter)
}

/// One column of one row group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ColumnKey {
    pub(crate) folder: Folder,
    pub(crate) file: Arc<str>,
    pub(crate) row_group: u32,
    pub(crate) column: u32,
}

/// The cache of this process.
#[derive(Debug)]
pub(crate) struct CacheStore {
    folder: PathBuf,
    /// How many bytes the files of a session may have.
    session_bytes: Option<u64>,
    /// Whether the folder has been looked at, see [`Self::check`].
    checked: OnceLock<()>,
    memory: Mutex<Memory>,
    marked: Mutex<HashMap<String, SystemTime>>,
}

impl Default for CacheStore {
    fn default() -> Self {
        Self::new(&CacheConfig::default())
    }
}

impl CacheStore {
    pub(crate) fn new(config: &CacheConfig) -> Self {
        Self {
            folder: config.folder.clone(),
            session_bytes: config.session_bytes,
            checked: OnceLock::new(),
            memory: Mutex::new(Memory::new(config.memory_bytes)),
            marked: Mutex::default(),
        }
    }

    fn path(&self, folder: &Folder) -> PathBuf {
        let session = self.folder.join(format!("{SESSION_PREFIX}{}", folder.session));
        if folder.number == 0 { session } else { session.join(folder.number.to_string()) }
    }

    /// The path of a file of `folder`.
    pub(crate) fn file(&self, folder: &Folder, file: &str) -> Result<PathBuf> {
        if !plain(file) {
            return Err(Error::PlanDecode { message: "a cached table names no file".to_owned() });
        }
        self.check()?;
        self.mark(folder);
        Ok(self.path(folder).join(file))
    }

    /// Makes the folder in the system's folder for temporary files, which all users share, this user's own: whoever owns it
    /// could put files of their own in the place of a session's. A folder that the settings name is what they say.
    fn check(&self) -> Result<()> {
        if self.checked.get().is_some() || self.folder != CacheConfig::default().folder {
            return Ok(());
        }
        own(&self.folder).map_err(|error| unusable(&self.folder, &error))?;
        let _ = self.checked.set(());
        Ok(())
    }

    /// Makes `folder`, which other users of the machine may not read, and removes what dead sessions left.
    pub(crate) fn create(&self, folder: &Folder) -> Result<PathBuf> {
        self.check()?;
        let path = self.path(folder);
        let made = fs::create_dir_all(&self.folder).and_then(|()| create_private(&path));
        made.map_err(|error| unusable(&path, &error))?;
        self.sweep(SystemTime::now());
        Ok(path)
    }

    /// An error where the files of the session of `folder` have more bytes than they may.
    pub(super) fn check_room(&self, folder: &Folder) -> Result<()> {
        let Some(limit) = self.session_bytes else { return Ok(()) };
        let bytes = size(&self.path(&Folder { session: folder.session.clone(), number: 0 }));
        if bytes <= limit {
            return Ok(());
        }
        let message =
            format!("the cached tables of this session have {bytes} bytes, and {limit} are allowed");
        Err(Error::ScratchFull { setting: ConfigField::CacheSize, message })
    }

    /// Removes `folder` and all in it, and what this process has of it in memory.
    pub(crate) fn remove(&self, folder: &Folder) -> Result<()> {
        let same = |key: &ColumnKey| {
            key.folder.session == folder.session && (folder.number == 0 || key.folder.number == folder.number)
        };
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).forget(same);
        let path = self.path(folder);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unusable(&path, &error)),
            _ => Ok(()),
        }
    }

    /// A column that is in memory.
    pub(crate) fn get(&self, key: &ColumnKey) -> Option<ArrayRef> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).get(key)
    }

    /// Keeps a column in memory, where the budget allows it.
    pub(crate) fn put(&self, key: ColumnKey, column: ArrayRef) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).put(key, column);
    }

    /// Notes that a session's folder is in use, so that nobody takes it for one that was left behind.
    fn mark(&self, folder: &Folder) {
        let now = SystemTime::now();
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = marked
            .get(&folder.session)
            .is_none_or(|last| now.duration_since(*last).unwrap_or_default() >= MARK_EVERY);
        if due {
            marked.insert(folder.session.clone(), now);
            let whole = Folder { session: folder.session.clone(), number: 0 };
            // A folder that is gone or belongs to someone else is told by the read that follows.
            let _ = fs::File::open(self.path(&whole)).and_then(|folder| folder.set_modified(now));
        }
    }

    /// Removes the folders of sessions that nobody has used for long.
    fn sweep(&self, now: SystemTime) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let ours = entry.file_name().to_string_lossy().starts_with(SESSION_PREFIX);
            let used = entry.metadata().and_then(|metadata| metadata.modified());
            let stale = used.is_ok_and(|used| now.duration_since(used).unwrap_or_default() > STALE);
            if ours && stale {
                match fs::remove_dir_all(entry.path()) {
                    Ok(()) => tracing::info!(folder = %entry.path().display(), "removed a stale cache"),
                    Err(error) => {
                        tracing::warn!(%error, folder = %entry.path().display(), "cannot remove a stale cache")
                    }
                }
            }
        }
    }
}

#[cfg(unix)]
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a folder that no other user can enter, or sees to it that it is one.
#[cfg(unix)]
fn own(folder: &Path) -> std::io::Result<()> {
    use std::io::{Error, ErrorKind};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    create_private(folder)?;
    // Not of what a link leads to: another user may have put one here.
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::new(ErrorKind::PermissionDenied, "another user has made it"));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn own(folder: &Path) -> std::io::Result<()> {
    create_private(folder)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> std::io::Result<()> {
    fs::create_dir_all(path)
}

/// Columns in memory, within a budget.
#[derive(Debug)]
struct Memory {
    budget: usize,
    held: usize,
    clock: u64,
    columns: HashMap<ColumnKey, Held>,
}

#[derive(Debug)]
struct Held {
    column: ArrayRef,
    bytes: usize,
    used: u64,
}

impl Memory {
    fn new(budget: usize) -> Self {
        Self { budget, held: 0, clock: 0, columns: HashMap::new() }
    }

    fn get(&mut self, key: &ColumnKey) -> Option<ArrayRef> {
        self.clock += 1;
        let held = self.columns.get_mut(key)?;
        held.used = self.clock;
        Some(Arc::clone(&held.column))
    }

    fn put(&mut self, key: ColumnKey, column: ArrayRef) {
        let bytes = column.get_array_memory_size();
        if bytes > self.budget {
            return;
        }
        self.clock += 1;
        let held = Held { column, bytes, used: self.clock };
        if let Some(old) = self.columns.insert(key, held) {
            self.held -= old.bytes;
        }
        self.held += bytes;
        while self.held > self.budget {
            let oldest = self.columns.iter().min_by_key(|(_, held)| held.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            if let Some(gone) = self.columns.remove(&oldest) {
                self.held -= gone.bytes;
            }
        }
    }

    fn forget(&mut self, same: impl Fn(&ColumnKey) -> bool) {
        self.columns.retain(|key, _| !same(key));
        self.held = self.columns.values().map(|held| held.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::array::Int64Array;
    use proptest::prelude::*;

    use super::*;

    fn key(number: u64, column: u32) -> ColumnKey {
        ColumnKey { folder: Folder::new("s", number).unwrap(), file: "f".into(), row_group: 0, column }
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in ["", "..", ".", "a/b", "/", "a\\b", "a b", "é", ".hidden", &"a".repeat(129)] {
            assert!(Folder::new(name, 1).is_err(), "{name}");
            let store = CacheStore::default();
            assert!(store.file(&Folder::new("s", 1).unwrap(), name).is_err(), "{name}");
        }
        Folder::new("3f2a-11_b", 1).unwrap();
    }

    proptest! {
        #[test]
        fn memory_stays_within_its_budget(
            budget in 0..20_000_usize,
            steps in prop::collection::vec((0..12_u32, 0..400_usize, any::<bool>()), 0..60),
        ) {
            let mut memory = Memory::new(budget);
            for (column, rows, read) in steps {
                let array: ArrayRef = Arc::new(Int64Array::from(vec![0; rows]));
                let bytes = array.get_array_memory_size();
                if read {
                    memory.get(&key(1, column));
                } else {
                    memory.put(key(1, column), array);
                    prop_assert_eq!(memory.get(&key(1, column)).is_some(), bytes <= budget || memory.columns.contains_key(&key(1, column)));
                }
                prop_assert!(memory.held <= budget);
                prop_assert_eq!(memory.held, memory.columns.values().map(|held| held.bytes).sum::<usize>());
            }
        }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let array: ArrayRef = Arc::new(Int64Array::from(vec![0; 100]));
        let mut memory = Memory::new(array.get_array_memory_size() * 2);
        memory.put(key(1, 1), Arc::clone(&array));
        memory.put(key(1, 2), Arc::clone(&array));
        memory.get(&key(1, 1));
        memory.put(key(1, 3), array);
        assert!(memory.get(&key(1, 2)).is_none());
        assert!(memory.get(&key(1, 1)).is_some() && memory.get(&key(1, 3)).is_some());
        memory.forget(|key| key.column == 1);
        assert!(memory.get(&key(1, 1)).is_none() && memory.get(&key(1, 3)).is_some());
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_that_all_users_could_share_is_this_users_own() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("cache");
        own(&folder).unwrap();
        let mode = || fs::metadata(&folder).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        own(&folder).unwrap();
        assert_eq!(mode(), 0o700);
        let link = temporary.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(own(&link).is_err(), "a link may lead anywhere");
        fs::write(temporary.path().join("file"), "").unwrap();
        assert!(own(&temporary.path().join("file")).is_err());
        let name = CacheConfig::default().folder;
        let user = rustix::process::geteuid().as_raw().to_string();
        assert!(name.to_string_lossy().ends_with(&user), "{}", name.display());
    }

    #[test]
    fn what_dead_sessions_left_is_swept_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("cache");
        let store =
            CacheStore::new(&CacheConfig { folder: folder.clone(), memory_bytes: 0, session_bytes: None });
        let (old, new) = (Folder::new("old", 1).unwrap(), Folder::new("new", 1).unwrap());
        let (old_path, new_path) = (store.create(&old).unwrap(), store.create(&new).unwrap());
        let foreign = folder.join("mine");
        fs::create_dir(&foreign).unwrap();
        let long_ago = SystemTime::now() - STALE - Duration::from_secs(60);
        for path in [&folder.join("session-old"), &folder.join("session-new"), &foreign] {
            fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        store.file(&new, "part").unwrap();
        store.sweep(SystemTime::now());
        assert!(!old_path.exists() && new_path.exists() && foreign.exists());

        store.remove(&new).unwrap();
        assert!(!new_path.exists() && folder.join("session-new").exists());
        store.remove(&Folder::new("new", 0).unwrap()).unwrap();
        assert!(!folder.join("session-new").exists());
        store.remove(&new).unwrap();
    }

    #[test]
    fn the_files_of_a_session_have_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let config = CacheConfig {
            folder: dir.path().to_owned(),
            session_bytes: Some(1000),
            ..CacheConfig::default()
        };
        let store = CacheStore::new(&config);
        let (first, second) = (Folder::new("a", 1).unwrap(), Folder::new("a", 2).unwrap());
        for folder in [&first, &second] {
            fs::write(store.create(folder).unwrap().join("x"), [0; 500]).unwrap();
        }
        store.check_room(&first).unwrap();
        fs::write(store.create(&second).unwrap().join("y"), [0; 1]).unwrap();
        let error = store.check_room(&first).unwrap_err().to_string();
        assert!(error.contains("1001 bytes") && error.contains("cache.session_bytes"), "{error}");
        // Each session has its own.
        let other = Folder::new("b", 1).unwrap();
        fs::write(store.create(&other).unwrap().join("x"), [0; 900]).unwrap();
        store.check_room(&other).unwrap();
    }
}
