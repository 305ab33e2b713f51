//! The errors of the cache: a file that cannot be written or read, with the configuration field that names its folder.

use std::fmt::Display;
use std::path::Path;

use crate::{ConfigField, Error};

/// An error for a file or folder that cannot be used.
pub(crate) fn unusable(path: &Path, error: &dyn Display) -> Error {
    Error::CacheFile {
        path: path.display().to_string(),
        setting: ConfigField::CacheFolder,
        message: error.to_string(),
    }
}
