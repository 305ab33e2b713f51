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

/// The most bytes of a pattern: one is matched with thousands of names while a query is planned.
const MOST_BYTES: usize = 1_024;

/// A pattern of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    text: String,
    /// What is between its slashes.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any folders, none included; at the end any file below them.
    Folders,
    /// One name, of a folder or a file.
    Name(Pattern),
}

impl Glob {
    /// Whether a file matches: by its path below the location where the pattern has a slash, by its name where it has none.
    pub(crate) fn matches(&self, relative: &str) -> bool {
        let name = relative.rsplit('/').next().unwrap_or(relative);
        self.matches_all(if self.text.contains('/') { relative } else { name })
    }

    /// Whether the parts match all names of a path. Each name is matched with each part once at most: to try, for each `**`, every
    /// number of folders takes steps without end where there are many.
    fn matches_all(&self, path: &str) -> bool {
        let end = self.parts.len();
        // Whether the parts before this one match the names so far.
        let mut reached = vec![false; end + 1];
        reached[0] = true;
        self.skip_folders(&mut reached);
        for name in path.split('/') {
            let mut next = vec![false; end + 1];
            for (place, part) in self.parts.iter().enumerate().filter(|(place, _)| reached[*place]) {
                match part {
                    Part::Folders if !name.starts_with('.') => {
                        next[place] = true;
                        next[place + 1] = true;
                    }
                    Part::Name(pattern) if pattern.matches_with(name, RULES) => next[place + 1] = true,
                    Part::Folders | Part::Name(_) => {}
                }
            }
            self.skip_folders(&mut next);
            reached = next;
        }
        reached[end]
    }

    /// `**` may be no folder at all, unless it is the end.
    fn skip_folders(&self, reached: &mut [bool]) {
        for (place, part) in self.parts.iter().enumerate() {
            if reached[place] && *part == Part::Folders && place + 1 < self.parts.len() {
                reached[place + 1] = true;
            }
        }
    }

    /// The pattern as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| format!("`{text}` is no pattern: {why}");
        if text.len() > MOST_BYTES {
            return Err(format!("a pattern has {MOST_BYTES} bytes at most"));
        }
        // The whole says what is wrong with it, and where.
        Pattern::new(text).map_err(|error| refused(&error.to_string()))?;
        // A slash after the last `**` says no more.
        let parts = text.strip_suffix("**/").map_or_else(|| text.to_owned(), |before| format!("{before}**"));
        let part = |part| match part {
            "**" => Ok(Part::Folders),
            // The whole is a pattern: here only brackets are cut in two.
            name => Pattern::new(name).map(Part::Name).map_err(|_| refused("a slash is between brackets")),
        };
        let parts = parts.split('/').map(part).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { text: text.to_owned(), parts })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            ("**/old/*", "old/a.jpg", true),
            ("cats/**", "cats", false),
            ("cats/**/", "cats/old/a.jpg", true),
            ("cats/**/a.*", "cats/a.jpg", true),
            ("c*s/**/o*d/**/*.jpg", "cats/x/old/y/z/a.jpg", true),
            ("c*s/**/o*d/**/*.jpg", "cats/x/y/z/a.jpg", false),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            assert_eq!(glob.matches(path), expected, "{pattern} of {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let long = "a".repeat(MOST_BYTES + 1);
        for (pattern, told) in [
            ("a[", "is no pattern"),
            ("cats**", "is no pattern"),
            ("[a/b].jpg", "a slash is between brackets"),
            (long.as_str(), "1024 bytes"),
        ] {
            let error = pattern.parse::<Glob>().unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    /// Whoever tries every number of folders for every `**`, and every part of a name for every `*`, is not done in years.
    #[test]
    fn many_stars_take_no_longer_than_few() {
        let deep = "a/".repeat(1_000) + "b.jpg";
        let long = "a".repeat(1_000) + ".jpg";
        for (pattern, path) in [
            ("**/*/".repeat(100) + "c.jpg", &deep),
            ("**/a/".repeat(100) + "c.jpg", &deep),
            ("*/".to_owned() + &"*a".repeat(400) + "c", &format!("x/{long}")),
            ("*a".repeat(400) + "c", &long),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            assert!(!glob.matches(path), "{pattern}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn a_pattern_means_what_it_means_to_the_crate(
            parts in prop::collection::vec("[*][*]|[ab*?.]{0,3}|\\[!?[ab]\\][*]", 1..5),
            names in prop::collection::vec("[ab.]{1,3}", 1..5),
        ) {
            let (text, path) = (parts.join("/"), names.join("/"));
            let Ok(whole) = Pattern::new(&text) else { return Ok(()) };
            let glob: Glob = text.parse().unwrap();
            prop_assert_eq!(glob.matches_all(&path), whole.matches_with(&path, RULES), "{} of {}", text, path);
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
