//! Tells a user what went wrong: the error and its causes.

use std::fmt::Write as _;

/// The error with its causes, a line each, the first behind `prefix`.
pub(crate) fn text(prefix: &str, error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    let mut text = format!("{prefix}: {said}\n");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // A cause that its error already quotes is not said again.
        if !said.contains(&cause) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  because: {cause}");
            said.push_str(&cause);
        }
    }
    text
}
