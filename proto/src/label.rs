//! The name of a class. Which names there are is the model's matter: here is only what may be a name at all.

use crate::error::{Error, Result, excerpt};
use std::fmt;
use std::sync::Arc;

/// The name of a class: 1 to 128 bytes of UTF-8 without a control character, with no white space at either end. Cloning it
/// copies no text.
///
/// Labels are compared byte by byte: "Cat" is not "cat".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// The most bytes of a label.
    pub const MAX_BYTES: usize = 128;

    /// Reads the label in field `field`.
    ///
    /// # Errors
    /// [`Error::Label`], which names the field, the beginning of the text and the rule that it breaks.
    pub fn parse(field: &'static str, value: &str) -> Result<Self> {
        let problem = if value.is_empty() {
            "is empty"
        } else if value.len() > Self::MAX_BYTES {
            "has more than 128 bytes"
        } else if value.chars().any(char::is_control) {
            "has a control character"
        } else if value.trim() != value {
            "begins or ends with white space"
        } else {
            return Ok(Self(value.into()));
        };
        Err(Error::Label { field, value: excerpt(value), problem })
    }

    /// Reads the label in field `field` of a protobuf message, where an empty text says that there is none.
    ///
    /// # Errors
    /// As [`Label::parse`].
    pub fn optional(field: &'static str, value: &str) -> Result<Option<Self>> {
        if value.is_empty() { Ok(None) } else { Self::parse(field, value).map(Some) }
    }

    /// The name, as it is on the wire and in MongoDB.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Label {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The text of an optional label on the wire.
pub(crate) fn to_wire(label: Option<&Label>) -> String {
    label.map(Label::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn names_that_are_labels() {
        let longest = "x".repeat(Label::MAX_BYTES);
        for name in ["cat", "Cat", "n02123045 tabby, tabby cat", "голубь", "猫", "a", longest.as_str()]
        {
            let label = Label::parse("label", name).expect(name);
            assert_eq!((label.as_str(), label.to_string().as_str()), (name, name));
            assert_eq!(Label::optional("label", name), Ok(Some(label)));
        }
        assert_eq!(Label::optional("label", ""), Ok(None));
    }

    #[test]
    fn names_that_are_none_are_told_with_their_field_and_the_rule() {
        let long = "y".repeat(300);
        let wide = "猫".repeat(43);
        for (name, problem) in [
            ("", "is empty"),
            (long.as_str(), "more than 128 bytes"),
            (wide.as_str(), "more than 128 bytes"),
            ("cat\n", "control character"),
            ("c\0t", "control character"),
            ("c\u{85}t", "control character"),
            (" cat", "white space"),
            ("cat\u{a0}", "white space"),
            (" ", "white space"),
        ] {
            let error = Label::parse("predicted", name).expect_err(name);
            let text = error.to_string();
            assert!(text.contains(problem) && text.contains("predicted") && text.len() < 400, "{text}");
            assert_eq!(error.class(), "bad-label");
        }
    }

    #[test]
    fn equal_names_are_equal_labels_and_they_are_ordered_as_their_names() {
        let label = |name| Label::parse("label", name).expect(name);
        assert!(label("Cat") != label("cat") && label("cat") < label("dog"));
        assert_eq!(HashSet::from([label("cat"), label("cat").clone(), label("dog")]).len(), 2);
        assert_eq!(format!("[{:>5}]", label("cat")), "[  cat]");
    }

    proptest! {
        #[test]
        fn any_text_is_a_label_as_it_is_or_an_error(text in "\\PC{0,140}|.{0,20}|\\s{0,3}[a-z]{0,3}\\s{0,3}") {
            match Label::parse("label", &text) {
                Ok(label) => {
                    prop_assert_eq!(label.as_str(), &text);
                    prop_assert!((1..=128).contains(&text.len()) && !text.chars().any(char::is_control));
                }
                Err(Error::Label { field, value, .. }) => {
                    prop_assert!(field == "label" && text.starts_with(&value));
                    let fine = (1..=128).contains(&text.len())
                        && text.trim() == text
                        && !text.chars().any(char::is_control);
                    prop_assert!(!fine, "{text:?} was refused");
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
