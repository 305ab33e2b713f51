//! Which files of a folder are rows: images by their endings that are not hidden, and those of a pattern where there is one.

use std::str::FromStr;

use glob::{MatchOptions, Pattern};

/// `*` and `?` stay within a name, and `**` is any folders.
const RULES: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The endings of files that are images.
const ENDINGS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Which files of a folder are rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileOptions {
    /// If any, only files that match.
    pub(crate) pattern: Option<Glob>,
    /// Whether files in subfolders are rows, too.
    pub(crate) recursive: bool,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self { pattern: None, recursive: true }
    }
}

impl FileOptions {
    /// Whether the file at this path below the folder is a row.
    pub(crate) fn take(&self, relative: &str) -> bool {
        let ending = relative.rsplit_once('.').map_or("", |(_, ending)| ending);
        ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))
            && !relative.split('/').any(|part| part.starts_with('.'))
            && (self.recursive || !relative.contains('/'))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(relative))
    }
}

/// A pattern of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Pattern);

impl Glob {
    /// Whether a file matches: by its path below the location where the pattern has a slash, by its name where it has none.
    pub(crate) fn matches(&self, relative: &str) -> bool {
        let is_path = self.text().contains('/');
        let name = relative.rsplit('/').next().unwrap_or(relative);
        self.0.matches_with(if is_path { relative } else { name }, RULES)
    }

    /// The pattern as it was written.
    pub(crate) fn text(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Pattern::new(text).map(Self).map_err(|error| format!("`{text}` is no pattern: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_of_names_unless_it_has_a_slash() {
        for (pattern, path, expected) in [
            ("*.jpg", "a.jpg", true),
            ("*.jpg", "cats/a.jpg", true),
            ("*.jpg", "a.JPG", false),
            ("a?.[jp]*", "cats/a1.png", true),
            ("cats/*", "cats/a.jpg", true),
            ("cats/*", "cats/old/a.jpg", false),
            ("cats/**", "cats/old/a.jpg", true),
            ("**/old/*", "cats/old/a.jpg", true),
            ("**/old/*", "cats/a.jpg", false),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            assert_eq!(glob.matches(path), expected, "{pattern} of {path}");
        }
    }

    #[test]
    fn images_are_told_by_their_endings() {
        let every = FileOptions::default();
        for (path, expected) in [
            ("a.jpg", true),
            ("a.JPEG", true),
            ("cat/b.png", true),
            ("cat/old/c.webp", true),
            ("a.jpg.txt", false),
            ("jpg", false),
            ("a.gif", false),
            (".a.jpg", false),
            (".git/a.jpg", false),
            ("cat/.cache/a.jpg", false),
        ] {
            assert_eq!(every.take(path), expected, "{path}");
        }
        let flat = FileOptions { recursive: false, ..every.clone() };
        assert!(flat.take("a.jpg") && !flat.take("cat/a.jpg"));
        let some = FileOptions { pattern: Some("cat/*".parse().unwrap()), ..every };
        assert!(some.take("cat/a.jpg") && !some.take("cat/a.txt") && !some.take("dog/a.jpg"));
    }
}
