//! The tokens of users, from a file.
//!
//! A line is `NAME ROLE TOKEN`; empty lines and lines that begin with `#` do not count:
//!
//! ```text
//! # name   role    token
//! grafana  reader  3q2-8Zm...
//! ada      admin   mJ1x0rT...
//! ```
//!
//! The file is read again when it changes. Everybody but its owner and its group has to be kept from reading it.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Principal, Role, Secret};
use crate::ConfigField;
use crate::files::{Watched, private_text};

/// The users of a server, by their tokens. Clones share the file.
#[derive(Clone)]
pub struct Tokens(Source);

#[derive(Clone)]
enum Source {
    Fixed(Arc<Vec<(Principal, Secret)>>),
    File(Arc<Watched<Vec<(Principal, Secret)>>>),
}

/// A file of tokens that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the file of tokens {} ({}) cannot be used: {source}", path.display(), ConfigField::AccessTokens)]
pub struct TokensError {
    /// The file.
    pub path: PathBuf,
    /// The problem, with the number of the line where there is one.
    pub source: io::Error,
}

impl Tokens {
    /// Reads a file, and again whenever it changes.
    ///
    /// # Errors
    /// [`TokensError`]: a file that cannot be read, that others can read, or that has a line which is no token.
    pub fn open(path: &Path) -> Result<Self, TokensError> {
        let file = path.to_owned();
        let watched = Watched::open(vec![path.to_owned()], move || parse(&private_text(&file)?));
        let watched = watched.map_err(|source| TokensError { path: path.to_owned(), source })?;
        Ok(Self(Source::File(Arc::new(watched))))
    }

    /// Takes tokens that never change.
    pub fn fixed(tokens: impl IntoIterator<Item = (Principal, Secret)>) -> Self {
        Self(Source::Fixed(Arc::new(tokens.into_iter().collect())))
    }

    /// The user who holds `token`. Every token is compared, whichever fits.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<Principal> {
        let of = |tokens: &[(Principal, Secret)]| {
            let mut found = None;
            for (principal, secret) in tokens {
                if secret.is(token) {
                    found = Some(principal.clone());
                }
            }
            found
        };
        match &self.0 {
            Source::Fixed(tokens) => of(tokens),
            Source::File(file) => of(&file.get()),
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(<redacted>)")
    }
}

fn parse(text: &str) -> io::Result<Vec<(Principal, Secret)>> {
    let (mut tokens, mut names, mut secrets) = (Vec::new(), HashSet::new(), HashSet::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |problem: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {problem}", number + 1))
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[name, role, token] = words.as_slice() else {
            return Err(bad("expected NAME ROLE TOKEN".to_owned()));
        };
        let role: Role =
            role.parse().map_err(|_| bad("the roles are reader, writer and admin".to_owned()))?;
        let secret = Secret::new(token).map_err(|error| bad(error.to_string()))?;
        if !names.insert(name.to_owned()) {
            return Err(bad(format!("the name `{name}` is taken by a line before it")));
        }
        if !secrets.insert(token) {
            return Err(bad("the token is that of a line before it".to_owned()));
        }
        tokens.push((Principal { name: name.to_owned(), role }, secret));
    }
    if tokens.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no token"));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::tests::SEEN_AFTER;

    fn write(path: &Path, text: &str) {
        fs::write(path, text).expect("written");
        #[cfg(unix)]
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    }

    #[test]
    fn a_file_is_read_and_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        write(&path, "# users\n\nada admin aaaaaaaaaaaaaaaa\n  bob\treader  bbbbbbbbbbbbbbbb \n");
        let tokens = Tokens::open(&path).expect("tokens");
        let who = |token: &str| tokens.find(token).map(|user| (user.name, user.role));
        assert_eq!(who("aaaaaaaaaaaaaaaa"), Some(("ada".to_owned(), Role::Admin)));
        assert_eq!(who("bbbbbbbbbbbbbbbb"), Some(("bob".to_owned(), Role::Reader)));
        assert_eq!(who("cccccccccccccccc"), None);
        assert!(!format!("{tokens:?}").contains("aaaa"));

        write(&path, "eve writer cccccccccccccccc\n");
        std::thread::sleep(SEEN_AFTER);
        assert_eq!(who("aaaaaaaaaaaaaaaa"), None);
        assert_eq!(who("cccccccccccccccc"), Some(("eve".to_owned(), Role::Writer)));
    }

    #[test]
    fn a_line_that_is_no_token_is_named_by_its_number_and_not_repeated() {
        for (text, problem) in [
            ("", "no token"),
            ("# nothing\n", "no token"),
            ("\nada admin\n", "line 2: expected NAME ROLE TOKEN"),
            ("ada root aaaaaaaaaaaaaaaa", "line 1: the roles are"),
            ("ada admin secret", "line 1: a secret has at least"),
            ("ada admin aaaaaaaaaaaaaaaa\nada reader bbbbbbbbbbbbbbbb", "line 2: the name `ada`"),
            ("ada admin aaaaaaaaaaaaaaaa\nbob reader aaaaaaaaaaaaaaaa", "line 2: the token"),
        ] {
            let error = parse(text).expect_err("refused").to_string();
            assert!(error.contains(problem) && !error.contains("aaaa"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_everybody_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        write(&path, "ada admin aaaaaaaaaaaaaaaa\n");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("set");
        let error = Tokens::open(&path).expect_err("refused").to_string();
        for part in ["access.tokens", "chmod", &path.display().to_string()] {
            assert!(error.contains(part), "{error}");
        }
    }
}
