//! Splits a text into the steps that run one after the other: statements and backslash commands.

use firesteel_engine::Statement;

/// One step of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A statement, without its semicolon.
    Sql(&'a str),
    /// A line that starts with a backslash, where a statement could start.
    Meta(&'a str),
}

/// The first step of a text, and what follows it. None at the end. The last statement needs no semicolon.
pub(super) fn next(text: &str) -> Option<(Step<'_>, &str)> {
    let mut start = Statement::skip_blanks(text);
    while let Some(rest) = start.strip_prefix(';') {
        start = Statement::skip_blanks(rest);
    }
    if start.starts_with('\\') {
        let (line, rest) = start.split_once('\n').unwrap_or((start, ""));
        return Some((Step::Meta(line.trim_end()), rest));
    }
    match Statement::first(start) {
        Statement::Complete { text, rest } => Some((Step::Sql(text), rest)),
        // An unfinished statement is an error of the parser.
        Statement::Unterminated(text) | Statement::Open(text) => Some((Step::Sql(text), "")),
        Statement::Blank => None,
    }
}

/// Whether typed text can run. A statement needs its semicolon; backslash commands and a few words do not.
pub(super) fn is_complete(text: &str) -> bool {
    let mut left = text;
    loop {
        let start = Statement::skip_blanks(left);
        if start.starts_with('\\') || matches!(word(start), Some("exit" | "quit" | "help")) {
            return true;
        }
        match Statement::first(left) {
            Statement::Complete { rest, .. } => left = rest,
            Statement::Blank => return true,
            Statement::Unterminated(_) | Statement::Open(_) => return false,
        }
    }
}

/// The text in lower case where it is a single word.
fn word(text: &str) -> Option<&'static str> {
    ["exit", "quit", "help"].into_iter().find(|word| text.trim().eq_ignore_ascii_case(word))
}

/// Turns `exit`, `quit` and `help`, which people type into any shell, into the backslash command for it.
pub(super) fn as_meta(step: Step<'_>) -> Step<'_> {
    match step {
        Step::Sql(text) => match word(text) {
            Some("exit" | "quit") => Step::Meta("\\q"),
            Some(_) => Step::Meta("\\?"),
            None => step,
        },
        Step::Meta(_) => step,
    }
}

/// The line, from 1, on which `part` begins. `part` must lie within `whole`.
pub(super) fn line_of(whole: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    whole.get(..offset).map_or(1, |before| before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<Step<'_>> {
        let (mut steps, mut left) = (Vec::new(), text);
        while let Some((step, rest)) = next(left) {
            steps.push(as_meta(step));
            left = rest;
        }
        steps
    }

    #[test]
    fn a_script_is_statements_and_backslash_commands() {
        use Step::{Meta, Sql};
        for (text, expected) in [
            ("", vec![]),
            (" ; ;\n-- nothing\n", vec![]),
            ("; -- a\n ; \\x", vec![Meta("\\x")]),
            ("SELECT 1", vec![Sql("SELECT 1")]),
            ("SELECT 1;\nSELECT 2;", vec![Sql("SELECT 1"), Sql("SELECT 2")]),
            (
                "\\d\nSELECT 1;\n\\d predictions\n",
                vec![Meta("\\d"), Sql("SELECT 1"), Meta("\\d predictions")],
            ),
            ("-- first\n\\x\n", vec![Meta("\\x")]),
            // A backslash within a statement is no command.
            ("SELECT 1\n\\d", vec![Sql("SELECT 1\n\\d")]),
            ("SELECT 'a;\n\\d'; \\q", vec![Sql("SELECT 'a;\n\\d'"), Meta("\\q")]),
            ("SELECT 'open; SELECT 2", vec![Sql("SELECT 'open; SELECT 2")]),
            ("exit", vec![Meta("\\q")]),
            ("QUIT;", vec![Meta("\\q")]),
            ("help", vec![Meta("\\?")]),
        ] {
            assert_eq!(steps(text), expected, "{text:?}");
        }
    }

    #[test]
    fn input_is_complete_at_a_semicolon_or_a_command() {
        for text in
            ["", "  ", "SELECT 1;", "SELECT 1; -- done", "\\d", " \\format csv", "exit", "help ", "-- a"]
        {
            assert!(is_complete(text), "{text:?}");
        }
        for text in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT", "SELECT 1 /* ;", "exit now"] {
            assert!(!is_complete(text), "{text:?}");
        }
    }

    #[test]
    fn a_step_knows_its_line() {
        let text = "-- one\n\nSELECT 1;\n\n  SELECT\n 2;";
        let Some((Step::Sql(first), rest)) = next(text) else { panic!("a statement") };
        let Some((Step::Sql(second), _)) = next(rest) else { panic!("a statement") };
        assert_eq!((line_of(text, first), line_of(text, second)), (3, 5));
    }
}
