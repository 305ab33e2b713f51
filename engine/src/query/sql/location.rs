//! Makes the names of files in `LOCATION` and `COPY … TO` absolute.

use crate::connectors::file_tables::FILE_FORMATS;
use crate::connectors::images;
use crate::{Error, Result};

/// Whether a table that is `STORED AS` this format lies in files.
pub(super) fn is_file_format(stored_as: &str) -> bool {
    FILE_FORMATS.iter().chain([&images::STORED_AS]).any(|format| format.eq_ignore_ascii_case(stored_as))
}

/// The absolute name of a file, which every process on a machine understands. An address with a scheme stays as it is. A
/// slash at the end, which marks a folder, is kept.
pub(super) fn absolute(location: &str) -> Result<String> {
    if location.contains("://") || location.is_empty() {
        return Ok(location.to_owned());
    }
    let path = std::path::absolute(location)
        .map_err(|error| Error::Location { location: location.to_owned(), message: error.to_string() })?;
    let mut text = path.to_string_lossy().into_owned();
    if location.ends_with('/') && !text.ends_with('/') {
        text.push('/');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_relative_name_changes() {
        for same in ["/data/a.parquet", "/data/", "file:///data/a", "s3://bucket/a", "mongodb://x/y", ""] {
            assert_eq!(absolute(same).unwrap(), same);
        }
        let here = std::env::current_dir().unwrap();
        for relative in ["a.parquet", "a/b/", "./a.csv"] {
            let expected = format!("{}/{}", here.display(), relative.trim_start_matches("./"));
            assert_eq!(absolute(relative).unwrap(), expected);
        }
        assert!(is_file_format("parquet") && is_file_format("Csv") && is_file_format("images"));
        assert!(!is_file_format("MONGODB") && !is_file_format("KAFKA"));
    }
}
