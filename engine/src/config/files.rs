//! Which files of the machine SQL may read and write: plain data.
//!
//! What a statement names as a file is looked at by whichever process reads or writes it: the client to find the columns,
//! the scheduler to list, the executors to read and write. Each has its own [`FileAccess`].

use std::path::PathBuf;

/// The folders below which SQL may read and write files. Reading and writing are allowed apart.
///
/// `None` is what the process is for: an embedded engine reads and writes below the current folder, scheduler and executors
/// nothing, and a client of a cluster, which only looks at the columns of its own user's files, reads anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileAccess {
    /// The folders with files that may be read. Empty: none.
    pub read: Option<Vec<PathBuf>>,
    /// The folders in which files may be written. Empty: none.
    pub write: Option<Vec<PathBuf>>,
}

impl FileAccess {
    /// Reading and writing below `folders`.
    pub fn below(folders: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let folders: Vec<PathBuf> = folders.into_iter().map(Into::into).collect();
        Self { read: Some(folders.clone()), write: Some(folders) }
    }

    /// The same, with what is left open taken from `default`.
    pub(crate) fn or(self, default: Self) -> Self {
        Self { read: self.read.or(default.read), write: self.write.or(default.write) }
    }

    /// Reading and writing below the current folder: what an embedded engine may.
    pub(crate) fn current_folder() -> Self {
        Self::below(std::env::current_dir())
    }

    /// Reading anything and writing nothing: what a client of a cluster may, which writes no files itself.
    pub(crate) fn client() -> Self {
        Self { read: Some(vec![PathBuf::from("/")]), write: Some(Vec::new()) }
    }
}
