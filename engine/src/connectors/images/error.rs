//! What a store's error means for a folder or a file of a table.

use datafusion::error::DataFusionError;
use datafusion::object_store::Error as StoreError;

use crate::Error;

/// The error of a store that was asked for `name`, a folder or a file.
///
/// A file that is not allowed stays [`Error::FileRefused`]: no mode of reading passes over it.
pub(crate) fn unread(name: &str, error: StoreError) -> Error {
    let message = match &error {
        StoreError::NotFound { .. } => GONE.to_owned(),
        error => error.to_string(),
    };
    match Error::from(DataFusionError::from(error)) {
        refused @ Error::FileRefused { .. } => refused,
        _ => Error::Location { location: name.to_owned(), message },
    }
}

/// The words for a file that was listed and is not there.
const GONE: &str = "it is no longer there, and was when the query was planned";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConfigField;

    #[test]
    fn a_refusal_stays_one_and_the_rest_is_named() {
        let refused = Error::FileRefused { path: "/x".to_owned(), setting: ConfigField::FilesRead };
        let refused = StoreError::Generic { store: "files", source: refused.into_source() };
        assert!(matches!(unread("/a/b.jpg", refused), Error::FileRefused { path, .. } if path == "/x"));
        let gone = StoreError::NotFound { path: "a/b.jpg".to_owned(), source: "no".into() };
        let told = unread("/a/b.jpg", gone).to_string();
        assert!(told.contains("/a/b.jpg") && told.contains("no longer there"), "{told}");
        let other = StoreError::Generic { store: "files", source: "the disk is on fire".into() };
        let told = unread("/a/b.jpg", other).to_string();
        assert!(told.contains("/a/b.jpg") && told.contains("on fire"), "{told}");
    }
}
