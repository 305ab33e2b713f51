//! A pattern of files, such as `photos/**/*.jpg`: `*` and `?` within a name, `**` for any folders, `[a-c]` for one of some letters.
//!
//! Files are in the order of their paths. Hidden ones are found where the pattern itself has the dot. Folders that match are not entered.

use super::files::{Found, parent_label};
use super::{Error, Options, Result};
use glob::MatchOptions;
use std::path::{Path, PathBuf};

const RULES: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Whether a path has a sign that makes it a pattern.
pub(super) fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// The files that match, in their order.
pub(super) fn find(pattern: &Path, options: &Options) -> Result<Found> {
    let bad = |reason: String| Error::Pattern { pattern: pattern.display().to_string(), reason };
    let text = pattern.to_str().ok_or_else(|| bad("it is not UTF-8".to_owned()))?;
    let matches = glob::glob_with(text, RULES).map_err(|error| bad(error.to_string()))?;
    let mut found = Found::default();
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in matches {
        match entry {
            Ok(path) => paths.push(path),
            Err(error) => {
                let (path, source) = (error.path().to_owned(), std::io::Error::from(error));
                found.unreadable(Error::Read { path, source }, options)?;
            }
        }
    }
    paths.sort();
    // Folders, sockets and the like are passed over; what cannot be looked at is told.
    let is_file = |path: &PathBuf| std::fs::metadata(path).map_or(true, |metadata| metadata.is_file());
    for path in paths.into_iter().filter(is_file) {
        let (name, label) = (path.to_string_lossy().into_owned(), parent_label(&path, options)?);
        found.add(&path, name, label, options)?;
    }
    Ok(found)
}
