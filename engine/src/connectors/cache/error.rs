//! The errors of the cache: a file that cannot be written or read, with the setting that names its folder.

use std::fmt::Display;
use std::path::Path;

use crate::Error;
use crate::config::CACHE_DIR_SETTING;

/// An error for a file or folder that cannot be used.
pub(crate) fn unusable(path: &Path, error: &dyn Display) -> Error {
    Error::CacheFile {
        path: path.display().to_string(),
        setting: CACHE_DIR_SETTING,
        message: error.to_string(),
    }
}
