//! The backslash commands: their grammar and their help. The shell carries them out.

use std::path::PathBuf;

use clap::ValueEnum as _;
use firesteel_common::suggest::nearest;

use super::args::SqlFormat;

/// Name, arguments and purpose of each command: the one list behind parsing, help and completion.
pub(super) const COMMANDS: [(&str, &str, &str); 14] = [
    ("\\d", "[NAME]", "the tables, or the columns of one"),
    ("\\dt", "[PATTERN]", "the tables whose names match; * stands for anything"),
    ("\\df", "[PATTERN]", "the functions whose names match"),
    ("\\format", "[FORMAT]", "print results as table, json, ndjson or csv"),
    ("\\x", "[on|off]", "one line a value instead of one line a row"),
    ("\\maxrows", "[N]", "show at most N rows of a table; 0 = all"),
    ("\\timing", "[on|off]", "how long each statement took"),
    ("\\i", "FILE", "run what a file holds"),
    ("\\o", "[FILE]", "write results to a file; without one, to the terminal again"),
    ("\\conninfo", "", "the engine that this shell uses, its executors and slots"),
    ("\\jobs", "", "the jobs that run on that engine now"),
    ("\\cancel", "", "cancel every job of this shell that still runs"),
    ("\\?", "", "this list"),
    ("\\q", "", "quit (or Ctrl-D)"),
];

/// A parsed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meta {
    Tables { pattern: String },
    Columns { table: String },
    Functions { pattern: String },
    Format(Option<SqlFormat>),
    Expanded(Option<bool>),
    MaxRows(Option<usize>),
    Timing(Option<bool>),
    Include(PathBuf),
    Output(Option<PathBuf>),
    ConnectionInfo,
    Jobs,
    Cancel,
    Help,
    Quit,
}

impl Meta {
    /// Parses a line that starts with a backslash, or says what is wrong with it.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim().trim_end_matches(';').trim_end();
        let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = argument.trim();
        let text = (!argument.is_empty()).then(|| unquoted(argument));
        let pattern = || text.clone().unwrap_or_else(|| "*".to_owned());
        let meta = match name {
            "\\d" => match text {
                Some(table) => Self::Columns { table },
                None => Self::Tables { pattern: pattern() },
            },
            "\\dt" => Self::Tables { pattern: pattern() },
            "\\df" => Self::Functions { pattern: pattern() },
            "\\format" => Self::Format(text.map(|text| format(&text)).transpose()?),
            "\\x" => Self::Expanded(switch(name, text.as_deref())?),
            "\\timing" => Self::Timing(switch(name, text.as_deref())?),
            "\\maxrows" => match text {
                Some(text) => Self::MaxRows(Some(
                    text.parse().map_err(|_| format!("\\maxrows takes a number, not {text}"))?,
                )),
                None => Self::MaxRows(None),
            },
            "\\i" => Self::Include(text.ok_or("\\i takes the name of a file")?.into()),
            "\\o" => Self::Output(text.map(PathBuf::from)),
            "\\conninfo" => Self::ConnectionInfo,
            "\\jobs" => Self::Jobs,
            "\\cancel" => Self::Cancel,
            "\\?" | "\\h" | "\\help" => Self::Help,
            "\\q" | "\\quit" => Self::Quit,
            unknown => return Err(unknown_command(unknown)),
        };
        let takes =
            COMMANDS.iter().find(|(known, ..)| *known == name).map_or("", |(_, arguments, _)| arguments);
        if takes.is_empty() && !argument.is_empty() {
            return Err(format!("{name} takes no argument"));
        }
        Ok(meta)
    }
}

fn unknown_command(name: &str) -> String {
    let names = COMMANDS.iter().map(|(name, ..)| *name);
    match nearest(name, names.filter(|known| known.len() > 2)) {
        Some(nearest) => format!("there is no command {name}; did you mean {nearest}? \\? lists them"),
        None => format!("there is no command {name}; \\? lists them"),
    }
}

/// Takes the quotes off a name that is quoted because it holds blanks.
fn unquoted(argument: &str) -> String {
    let inner = |quote: char| argument.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).unwrap_or(argument).to_owned()
}

fn format(text: &str) -> Result<SqlFormat, String> {
    SqlFormat::from_str(text, true)
        .map_err(|_| format!("there is no format {text}; there are {}", SqlFormat::NAMES.join(", ")))
}

/// `on`, `off`, or nothing, which toggles the option.
fn switch(name: &str, text: Option<&str>) -> Result<Option<bool>, String> {
    match text {
        None => Ok(None),
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => Err(format!("{name} takes on or off, not {other}")),
    }
}

/// The help of `\?`.
pub(super) fn help() -> String {
    let mut text =
        String::from("A statement of SQL ends with a semicolon and may run over several lines.\n\n");
    for (name, arguments, purpose) in COMMANDS {
        text.push_str(&format!("  {:<22}{purpose}\n", format!("{name} {arguments}")));
    }
    text.push_str("\nCtrl-C empties the line, or cancels the query that runs. Tab completes names.\n");
    text
}

/// Whether a name matches a pattern, in which `*` stands for anything. Upper and lower case are alike.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(mut part) = parts.next() else { return rest.is_empty() };
    for after in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        part = after;
    }
    rest.ends_with(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood() {
        for (line, expected) in [
            ("\\d", Meta::Tables { pattern: "*".into() }),
            ("\\d predictions;", Meta::Columns { table: "predictions".into() }),
            ("\\d \"My Table\"", Meta::Columns { table: "My Table".into() }),
            ("\\dt pre*", Meta::Tables { pattern: "pre*".into() }),
            ("\\df", Meta::Functions { pattern: "*".into() }),
            ("\\format CSV", Meta::Format(Some(SqlFormat::Csv))),
            ("\\format", Meta::Format(None)),
            ("\\x", Meta::Expanded(None)),
            ("\\x off", Meta::Expanded(Some(false))),
            ("\\timing on", Meta::Timing(Some(true))),
            ("\\maxrows 7", Meta::MaxRows(Some(7))),
            ("\\i 'a b.sql'", Meta::Include("a b.sql".into())),
            ("\\o", Meta::Output(None)),
            ("\\o out.csv", Meta::Output(Some("out.csv".into()))),
            ("\\conninfo", Meta::ConnectionInfo),
            ("\\jobs", Meta::Jobs),
            ("\\cancel", Meta::Cancel),
            ("\\?", Meta::Help),
            ("\\q ", Meta::Quit),
        ] {
            assert_eq!(Meta::parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn every_command_of_the_list_is_understood_and_helped_with() {
        for (name, arguments, purpose) in COMMANDS {
            let line = if arguments == "FILE" { format!("{name} f") } else { name.to_owned() };
            assert!(Meta::parse(&line).is_ok(), "{line}");
            assert!(help().contains(purpose), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, words) in [
            ("\\formt csv", "did you mean \\format?"),
            ("\\timng", "did you mean \\timing?"),
            ("\\zzz", "\\? lists them"),
            ("\\format xml", "table, json, ndjson, csv"),
            ("\\x maybe", "on or off"),
            ("\\maxrows many", "a number"),
            ("\\i", "a file"),
            ("\\q now", "takes no argument"),
        ] {
            let told = Meta::parse(line).expect_err(line);
            assert!(told.contains(words), "{line}: {told}");
        }
    }

    #[test]
    fn patterns_match_names() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("", "", true),
            ("pre*", "predictions", true),
            ("pre*", "images", false),
            ("*tion*", "predictions_topic", true),
            ("*s", "predictions", true),
            ("*s", "predictions_topic", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("ABS", "abs", true),
            ("ab", "abs", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
