//! The errors of the cache: a file that cannot be written or read, with the configuration field that names its folder.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::config::SESSION_PREFIX;
use crate::{ConfigField, Error};

/// A path without the name of the session, which is a secret.
fn shown(path: &Path) -> String {
    let parts = path.components().map(|part| match part.as_os_str().to_string_lossy() {
        name if name.starts_with(SESSION_PREFIX) => PathBuf::from(format!("{SESSION_PREFIX}…")),
        _ => PathBuf::from(part.as_os_str()),
    });
    parts.collect::<PathBuf>().display().to_string()
}

/// An error for a file or folder that cannot be used.
pub(crate) fn unusable(path: &Path, error: &dyn Display) -> Error {
    Error::CacheFile { path: shown(path), setting: ConfigField::CacheFolder, message: error.to_string() }
}
