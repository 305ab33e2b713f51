//! The ids of acknowledged images, one a line: what a test holds the rest of the pipeline to.
//!
//! A line is written with one system call after the acknowledgement, so a process that is killed leaves whole
//! lines, and every id in the file was acknowledged.

use crate::error::{Error, Result};
use firesteel_proto::ImageId;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    file: File,
}

impl Ledger {
    /// Opens `path` to append to.
    pub(super) fn open(path: &Path) -> Result<Self> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(|file| Self { path: path.to_owned(), file })
            .map_err(|source| Error::Ledger { path: path.to_owned(), source })
    }

    /// Adds an id. The file is in append mode, so writers do not disturb each other.
    pub(super) fn append(&self, id: ImageId) -> Result<()> {
        (&self.file)
            .write_all(format!("{id}\n").as_bytes())
            .map_err(|source| Error::Ledger { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_a_bad_path_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger");
        let ids: Vec<ImageId> =
            ["0000000a:0", "0000000a:1", "0000000b:0"].map(|id| id.parse().expect("an id")).into();
        for id in &ids {
            Ledger::open(&path).expect("opened").append(*id).expect("written");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "0000000a:0\n0000000a:1\n0000000b:0\n");
        let error = Ledger::open(folder.path()).expect_err("a folder is no file").to_string();
        assert!(error.contains(&*folder.path().to_string_lossy()), "{error}");
    }
}
