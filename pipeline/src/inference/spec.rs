//! Which model: how settings write it, and how a request names it.
//!
//! `[NAME=]FILE[,precision=PRECISION][,share=N]` is what `--model` takes, in the server and in SQL; `shipped` stands for the model
//! inside the binary. A model that is loaded has a whole name, NAME/PRECISION or NAME@VERSION/PRECISION, of which a request may leave
//! out what it does not care about: see [`answers_to`].

use super::precision::{PrecisionSetting, UnknownPrecisionSetting};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A model, as a setting names it. The default is the model inside the binary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ModelSpec {
    /// Its name in answers and requests, without version and precision; none: what the file's metadata say, or the file's own name.
    pub name: Option<String>,
    /// The file of the model; none: the one inside the binary.
    pub file: Option<PathBuf>,
    /// What it computes in; none: what holds for all models that name no precision.
    pub precision: Option<PrecisionSetting>,
    /// Its share of the images that ask for no model, in proportion to the sum of all shares; none: it gets those that ask for it,
    /// and where no model has a share the first one gets all the others.
    pub share: Option<u32>,
}

/// A text that is no [`ModelSpec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadModelSpec {
    /// Nothing where the file should stand.
    #[error("{text:?} names no file: expected {}", ModelSpec::FORM)]
    NoFile {
        /// The text.
        text: String,
    },
    /// A name that no request could ask for.
    #[error(
        "{name:?} cannot be the name of a model: it takes 1 to {} letters, digits, '.', '_', '+' and '-'. A file whose own name \
         has '=' in it is written with its folder, as in ./{name}=…",
        ModelSpec::MAX_NAME
    )]
    Name {
        /// The name.
        name: String,
    },
    /// An option that there is not.
    #[error("a model has no option {key:?}: expected {}", ModelSpec::FORM)]
    Unknown {
        /// The option.
        key: String,
    },
    /// An option that is given twice.
    #[error("option {key} of a model is given twice")]
    Twice {
        /// The option.
        key: &'static str,
    },
    /// No precision.
    #[error(transparent)]
    Precision(#[from] UnknownPrecisionSetting),
    /// No share.
    #[error("share {value:?} of a model is no whole number from 0 to {}", u32::MAX)]
    Share {
        /// The value.
        value: String,
    },
}

impl ModelSpec {
    /// How it is written.
    pub const FORM: &'static str = "[NAME=]FILE[,precision=PRECISION][,share=N]";
    /// The model inside the binary, in the place of a file.
    pub const SHIPPED: &'static str = "shipped";
    /// The most bytes of a name.
    pub const MAX_NAME: usize = 64;

    /// The model of `file`, with nothing else said.
    #[must_use]
    pub fn of(file: impl Into<PathBuf>) -> Self {
        Self { file: Some(file.into()), ..Self::default() }
    }

    /// Reads the name or the file and the name in front of the options.
    fn parse_file(text: &str) -> Result<Self, BadModelSpec> {
        let (name, file) = match text.split_once('=') {
            Some((name, file)) if !name.contains('/') => (Some(name), file),
            _ => (None, text),
        };
        if let Some(name) = name.filter(|name| !is_name(name)) {
            return Err(BadModelSpec::Name { name: name.to_owned() });
        }
        let file = match file {
            "" => return Err(BadModelSpec::NoFile { text: text.to_owned() }),
            Self::SHIPPED => None,
            // What stands in front of a file that is called like a model, or has '=' in its name.
            file => Some(
                file.strip_prefix("./")
                    .filter(|rest| !rest.starts_with('/') && !rest.is_empty())
                    .unwrap_or(file),
            ),
        };
        Ok(Self { name: name.map(str::to_owned), file: file.map(PathBuf::from), ..Self::default() })
    }
}

impl FromStr for ModelSpec {
    type Err = BadModelSpec;

    fn from_str(text: &str) -> Result<Self, BadModelSpec> {
        let (mut rest, mut precision, mut share) = (text, None, None);
        while let Some((before, (key, value))) = last_option(rest) {
            match key {
                "precision" if precision.is_some() => return Err(BadModelSpec::Twice { key: "precision" }),
                "share" if share.is_some() => return Err(BadModelSpec::Twice { key: "share" }),
                "precision" => precision = Some(value.parse()?),
                "share" => {
                    share = Some(value.parse().map_err(|_| BadModelSpec::Share { value: value.to_owned() })?)
                }
                key => return Err(BadModelSpec::Unknown { key: key.to_owned() }),
            }
            rest = before;
        }
        Ok(Self { precision, share, ..Self::parse_file(rest)? })
    }
}

impl fmt::Display for ModelSpec {
    /// What [`FromStr`] reads; only a file whose name ends like an option, as in `a,share=2`, is not read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        match self.file.as_deref().map(Path::display) {
            None => f.write_str(Self::SHIPPED)?,
            Some(file) => {
                let text = file.to_string();
                let is_plain = text.starts_with('/') || (text != Self::SHIPPED && !text.contains('='));
                write!(f, "{}{text}", if is_plain { "" } else { "./" })?;
            }
        }
        if let Some(precision) = self.precision {
            write!(f, ",precision={precision}")?;
        }
        match self.share {
            Some(share) => write!(f, ",share={share}"),
            None => Ok(()),
        }
    }
}

/// What stands in front of the last option, and that option: a comma, a word, '=' and a value, which has no '/': so a folder may be
/// called `lr=0.1,wd=0.01`.
fn last_option(text: &str) -> Option<(&str, (&str, &str))> {
    let (before, option) = text.rsplit_once(',')?;
    let (key, value) = option.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let is_word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase());
    (is_word && !value.contains('/')).then_some((before, (key, value)))
}

/// Whether a text can be the name of a model, without version and precision.
fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-');
    (1..=ModelSpec::MAX_NAME).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Whether a request for `asked` means the model whose whole name, NAME/PRECISION or NAME@VERSION/PRECISION, is `whole`: version and
/// precision may both be left out. Several models may be meant; then it is the first of them in the order of the settings.
#[must_use]
pub fn answers_to(whole: &str, asked: &str) -> bool {
    let (versioned, precision) = whole.rsplit_once('/').unwrap_or((whole, ""));
    let name = versioned.rsplit_once('@').map_or(versioned, |(name, _)| name);
    match asked.strip_prefix(name) {
        Some("") => true,
        Some(rest) if rest.starts_with('/') => rest[1..] == *precision,
        Some(rest) if rest.starts_with('@') => asked == versioned || asked == whole,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Precision;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<ModelSpec, String> {
        text.parse().map_err(|error: BadModelSpec| error.to_string())
    }

    #[test]
    fn everything_but_the_file_may_be_left_out() {
        let spec = |name: Option<&str>, file: Option<&str>, precision, share| {
            Ok(ModelSpec { name: name.map(str::to_owned), file: file.map(PathBuf::from), precision, share })
        };
        for (text, expected) in [
            ("shipped", spec(None, None, None, None)),
            ("./shipped", spec(None, Some("shipped"), None, None)),
            ("m.safetensors", spec(None, Some("m.safetensors"), None, None)),
            ("new=m.safetensors", spec(Some("new"), Some("m.safetensors"), None, None)),
            ("a=shipped,share=90", spec(Some("a"), None, None, Some(90))),
            (
                "b=shipped,precision=int8,share=10",
                spec(Some("b"), None, Some(Precision::Int8.into()), Some(10)),
            ),
            ("shipped, share=0, precision=bf16", spec(None, None, Some(Precision::Bf16.into()), Some(0))),
            ("m,precision=auto", spec(None, Some("m"), Some(PrecisionSetting::Auto), None)),
            ("/models/x=1/m.onnx", spec(None, Some("/models/x=1/m.onnx"), None, None)),
            ("./x=1.safetensors", spec(None, Some("x=1.safetensors"), None, None)),
            ("/runs/lr=0.1,wd=0.01/m", spec(None, Some("/runs/lr=0.1,wd=0.01/m"), None, None)),
            (
                "a=/runs/lr=0.1,wd=0.01/m,share=2",
                spec(Some("a"), Some("/runs/lr=0.1,wd=0.01/m"), None, Some(2)),
            ),
            ("old,new.safetensors", spec(None, Some("old,new.safetensors"), None, None)),
            (".//m", spec(None, Some(".//m"), None, None)),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_expected() {
        for (text, words) in [
            ("", "names no file: expected [NAME=]FILE"),
            ("a=", "names no file"),
            (",share=1", "names no file"),
            ("my model=m", "\"my model\" cannot be the name of a model"),
            ("a@2=m", "'.', '_', '+' and '-'"),
            ("=m", "cannot be the name"),
            ("m,shrae=1", "no option \"shrae\": expected [NAME=]FILE[,precision=PRECISION][,share=N]"),
            ("m,precision=f64", "\"f64\" is no precision"),
            ("m,share=half", "share \"half\" of a model is no whole number"),
            ("m,share=-1", "no whole number from 0"),
            ("m,share=1,share=2", "share of a model is given twice"),
            ("m,precision=f32,share=1,precision=f32", "precision of a model is given twice"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_request_may_leave_out_version_and_precision() {
        for (whole, asked, expected) in [
            ("m@2/f32", "m", true),
            ("m@2/f32", "m@2", true),
            ("m@2/f32", "m/f32", true),
            ("m@2/f32", "m@2/f32", true),
            ("m@2/f32", "m@3", false),
            ("m@2/f32", "m@2/int8", false),
            ("m@2/f32", "m/int8", false),
            ("m@2/f32", "m/", false),
            ("m@2/f32", "m@", false),
            ("m@2/f32", "m2", false),
            ("m@2/f32", "", false),
            ("m/f32", "m@2", false),
            ("m/f32", "m", true),
            ("a/b@1/f32", "a/b", true),
            ("a/b@1/f32", "a", false),
            ("bare", "bare", true),
        ] {
            assert_eq!(answers_to(whole, asked), expected, "{whole} for {asked:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            name in proptest::option::of("[A-Za-z0-9._+-]{1,64}"),
            file in proptest::option::of("[a-z./=, é_-]{1,20}"),
            precision in proptest::option::of(proptest::sample::select(PrecisionSetting::NAMES.to_vec())),
            share in proptest::option::of(any::<u32>()),
        ) {
            let file = file.filter(|file| !file.starts_with("./") && last_option(file).is_none()).map(PathBuf::from);
            let precision = precision.map(|name| name.parse().expect("a precision"));
            let spec = ModelSpec { name, file, precision, share };
            let text = spec.to_string();
            prop_assert_eq!(parse(&text), Ok(spec), "{}", text);
        }

        #[test]
        fn no_text_is_too_much(text in "\\PC{0,60}") {
            if let Ok(spec) = parse(&text) {
                prop_assert_eq!(parse(&spec.to_string()), Ok(spec));
            }
        }
    }
}
