//! A secret that proves who somebody is: a user's token, or the secret of a cluster.

use std::fmt;
use std::io;
use std::path::Path;

use rand::RngCore as _;
use subtle::ConstantTimeEq as _;

use crate::files::private_text;

/// The fewest characters of a secret. Sixteen characters of base64 are 96 bits.
const SHORTEST: usize = 16;
/// The most characters of a secret.
const LONGEST: usize = 512;
/// The bytes of a secret that is made here.
const RANDOM_BYTES: usize = 32;

/// A token or the secret of a cluster. It prints itself without its text.
#[derive(Clone)]
pub struct Secret(String);

/// Why a text is no [`Secret`]. It does not hold the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Too few characters.
    #[error("a secret has at least {SHORTEST} characters; `openssl rand -hex 32` makes one")]
    Short,
    /// Too many characters.
    #[error("a secret has at most {LONGEST} characters")]
    Long,
    /// A character that a header cannot carry.
    #[error("a secret consists of letters, digits and - . _ ~ + / =")]
    Character,
}

impl Secret {
    /// Takes a text as a secret.
    ///
    /// # Errors
    /// [`InvalidSecret`], which does not repeat the text.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidSecret> {
        let text = text.into();
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        match text.len() {
            ..SHORTEST => Err(InvalidSecret::Short),
            SHORTEST..=LONGEST if text.bytes().all(usable) => Ok(Self(text)),
            SHORTEST..=LONGEST => Err(InvalidSecret::Character),
            _ => Err(InvalidSecret::Long),
        }
    }

    /// Reads a secret from a file that only its owner and its group can read. White space around it does not count.
    ///
    /// # Errors
    /// A file that cannot be read, that others can read, or that holds no secret.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = private_text(path)?;
        Self::new(text.trim()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Makes a new secret of 256 random bits.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; RANDOM_BYTES];
        rand::rng().fill_bytes(&mut bytes);
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The text, for whoever sends it or hands it to another process.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `text` is this secret. The time that it takes does not depend on where the two differ.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(<redacted>)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("<redacted>")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = Secret::new("hunter2hunter2hunter2").expect("usable");
        for shown in [format!("{secret}"), format!("{secret:?}"), format!("{:?}", Some(&secret))] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert!(secret.is("hunter2hunter2hunter2"));
        for other in ["hunter2hunter2hunter3", "hunter2hunter2hunter", "hunter2hunter2hunter2x", ""] {
            assert!(!secret.is(other), "{other}");
        }
    }

    #[test]
    fn a_secret_that_cannot_travel_or_can_be_guessed_is_refused() {
        assert_eq!(Secret::new("short"), Err(InvalidSecret::Short));
        assert_eq!(Secret::new("x".repeat(513)), Err(InvalidSecret::Long));
        for text in ["two words, one secret", "new\nline-in-the-secret", "umläut-umläut-umläut"] {
            let error = Secret::new(text).expect_err("refused");
            assert_eq!(error, InvalidSecret::Character, "{text}");
            assert!(!error.to_string().contains(text));
        }
        let made = Secret::random();
        assert_eq!(Secret::new(made.expose()).as_ref(), Ok(&made));
        assert_ne!(made, Secret::random());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "hunter2hunter2hunter2\n").expect("written");
        for (mode, readable) in [(0o600, true), (0o640, true), (0o644, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            let read = Secret::read(&path);
            assert_eq!(read.is_ok(), readable, "{mode:o}");
            if let Err(error) = read {
                assert!(error.to_string().contains("chmod"), "{error}");
            }
        }
    }
}
