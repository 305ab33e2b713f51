//! Completes what is being typed: keywords, tables, columns, functions and backslash commands.
//!
//! The decision is [`complete`], a pure function of the line and of the names that the session knows.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use firesteel_engine::{FunctionInfo, TableInfo};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::args::SqlFormat;
use super::{meta, script};

/// Words that begin or join the parts of a statement.
const KEYWORDS: [&str; 74] = [
    "ALL",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CACHE TABLE",
    "CASE",
    "CAST",
    "COPY",
    "CREATE",
    "CROSS JOIN",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTERNAL",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL",
    "GROUP BY",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER JOIN",
    "INSERT INTO",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LEFT JOIN",
    "LIKE",
    "LIMIT",
    "LOCATION",
    "NOT",
    "NULL",
    "NULLS FIRST",
    "NULLS LAST",
    "OFFSET",
    "ON",
    "OPTIONS",
    "OR",
    "ORDER BY",
    "OVER",
    "PARTITION BY",
    "REFRESH TABLE",
    "RIGHT JOIN",
    "SELECT",
    "SET",
    "SHOW",
    "SHOW TABLES",
    "STORED AS",
    "TABLE",
    "THEN",
    "TIMESTAMP",
    "TO",
    "TRUE",
    "UNCACHE TABLE",
    "UNION ALL",
    "USING",
    "VALUES",
    "VIEW",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Keywords that a table name follows.
const BEFORE_TABLES: [&str; 7] = ["from", "join", "into", "table", "describe", "view", "desc"];

/// The tables and functions of the session.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) tables: Vec<TableInfo>,
    pub(super) functions: Vec<FunctionInfo>,
}

/// The candidates for completing a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// Words that replace the text between `start` and the cursor.
    Words { start: usize, words: Vec<String> },
    /// File names, which the line editor looks up itself.
    File,
}

/// The candidates at the cursor, which is at byte `at` of the line.
pub(super) fn complete(names: &Names, line: &str, at: usize) -> Completion {
    let before = &line[..at];
    let start = before
        .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
        .map_or(0, |found| found + before[found..].chars().next().map_or(1, char::len_utf8));
    let (lead, prefix) = before.split_at(start);
    if let Some(command) = before.trim_start().strip_prefix('\\') {
        return complete_command(names, before, command);
    }
    let tables = || names.tables.iter();
    if let Some(qualifier) = lead.strip_suffix('.') {
        let from = qualifier.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |found| found + 1);
        let qualifier = qualifier.get(from..).unwrap_or_default();
        let of_table = tables().filter(|table| table.name.eq_ignore_ascii_case(qualifier));
        let columns = of_table.flat_map(|table| table.columns.iter().map(|column| column.name.clone()));
        let of_schema = tables().filter(|table| table.schema.eq_ignore_ascii_case(qualifier));
        let words = columns.chain(of_schema.map(|table| table.name.clone()));
        return Completion::Words { start, words: starting(prefix, words) };
    }
    let previous = lead.split_whitespace().next_back().unwrap_or_default().to_lowercase();
    if BEFORE_TABLES.contains(&previous.as_str()) {
        return Completion::Words {
            start,
            words: starting(prefix, tables().map(|table| table.name.clone())),
        };
    }
    if prefix.is_empty() {
        return Completion::Words { start, words: Vec::new() };
    }
    let lower = prefix.chars().any(char::is_lowercase);
    let keywords = KEYWORDS.iter().map(|word| if lower { word.to_lowercase() } else { (*word).to_owned() });
    let columns = tables().flat_map(|table| table.columns.iter().map(|column| column.name.clone()));
    let functions = names.functions.iter().map(|function| format!("{}(", function.name));
    let words = keywords.chain(tables().map(|table| table.name.clone())).chain(columns).chain(functions);
    Completion::Words { start, words: starting(prefix, words) }
}

fn complete_command(names: &Names, before: &str, command: &str) -> Completion {
    let Some((command, argument)) = command.split_once(char::is_whitespace) else {
        let start = before.len() - command.len() - 1;
        let commands = meta::COMMANDS.iter().map(|(name, ..)| (*name).to_owned());
        return Completion::Words { start, words: starting(&before[start..], commands) };
    };
    let argument = argument.trim_start();
    let start = before.len() - argument.len();
    let words = match command {
        "d" | "dt" => starting(argument, names.tables.iter().map(|table| table.name.clone())),
        "df" => starting(argument, names.functions.iter().map(|function| function.name.clone())),
        "format" => starting(argument, SqlFormat::NAMES.into_iter().map(str::to_owned)),
        "x" | "timing" => starting(argument, ["on", "off"].into_iter().map(str::to_owned)),
        "i" | "o" => return Completion::File,
        _ => Vec::new(),
    };
    Completion::Words { start, words }
}

/// The names that start with `prefix`, without duplicates.
fn starting(prefix: &str, words: impl Iterator<Item = String>) -> Vec<String> {
    let alike =
        |word: &String| word.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    words.filter(alike).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The callbacks of the line editor: completion, and whether a line is complete.
pub(super) struct Assistant {
    names: Arc<RwLock<Names>>,
    files: FilenameCompleter,
}

impl Assistant {
    pub(super) fn new(names: Arc<RwLock<Names>>) -> Self {
        Self { names, files: FilenameCompleter::new() }
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        // The names are always replaced as a whole, so a panic elsewhere cannot leave them half written.
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        match complete(&names, line, at) {
            Completion::Words { start, words } => {
                let pair = |word: String| Pair { display: word.clone(), replacement: word };
                Ok((start, words.into_iter().map(pair).collect()))
            }
            Completion::File => self.files.complete(line, at, context),
        }
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if script::is_complete(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_engine::ColumnInfo;

    fn names() -> Names {
        let table = |name: &str, columns: &[&str]| TableInfo {
            catalog: "c".into(),
            schema: "public".into(),
            name: name.into(),
            kind: "table",
            columns: columns
                .iter()
                .map(|name| ColumnInfo { name: (*name).into(), data_type: "Utf8".into(), nullable: true })
                .collect(),
        };
        let function = |name: &str| FunctionInfo {
            name: name.into(),
            kind: "scalar",
            syntax: String::new(),
            description: String::new(),
        };
        Names {
            tables: vec![table("images", &["label"]), table("predictions", &["label", "predicted"])],
            functions: vec![function("lower"), function("power")],
        }
    }

    #[test]
    fn what_may_stand_there_is_offered() {
        for (line, expected) in [
            ("SEL", vec!["SELECT"]),
            ("sel", vec!["select"]),
            ("SELECT * FROM ", vec!["images", "predictions"]),
            ("SELECT * FROM p", vec!["predictions"]),
            ("SELECT * FROM public.im", vec!["images"]),
            ("SELECT predictions.", vec!["label", "predicted"]),
            ("SELECT predictions.pre", vec!["predicted"]),
            ("SELECT pre", vec!["predicted", "predictions"]),
            ("SELECT lo", vec!["location", "lower("]),
            ("SELECT count(pred", vec!["predicted", "predictions"]),
            ("SELECT x JOIN im", vec!["images"]),
            ("SELECT ", vec![]),
            ("SELECT ä", vec![]),
            ("\\t", vec!["\\timing"]),
            ("\\d pr", vec!["predictions"]),
            ("\\df po", vec!["power"]),
            ("\\format ", vec!["csv", "json", "ndjson", "table"]),
            ("\\x o", vec!["off", "on"]),
            ("\\q x", vec![]),
        ] {
            match complete(&names(), line, line.len()) {
                Completion::Words { start, words } => {
                    assert_eq!(words, expected, "{line}");
                    assert!(line.is_char_boundary(start) && start <= line.len(), "{line}");
                }
                Completion::File => panic!("{line}"),
            }
        }
        assert_eq!(complete(&names(), "\\i /tm", 6), Completion::File);
    }

    #[test]
    fn a_word_in_the_middle_of_a_line_is_completed_at_the_cursor() {
        let line = "SELECT lab FROM predictions";
        assert_eq!(complete(&names(), line, 10), Completion::Words { start: 7, words: vec!["label".into()] });
    }
}
