//! Errors in words that a person can use: what DataFusion and Ballista say, without their layers and without Rust's
//! debug format, in which Ballista carries a failed task's error.

use datafusion::common::error::DataFusionError;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::sql::sqlparser::parser::ParserError;

/// What Ballista writes before the cause of a failed job.
const LAYERS: [&str; 6] = [
    "Task failed due to runtime execution error: ",
    "Task failed due to IO error: ",
    "DataFusion error: ",
    "Execution error: ",
    "General error: ",
    "External error: ",
];

/// What to say of an option that there is not: the nearest name, where one is near at all, and all names.
pub(crate) fn unknown_option<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let likeness = |known: &str| normalized_levenshtein(&known.to_lowercase(), &name.to_lowercase());
    let nearest = known.clone().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let meant = match nearest.filter(|known| likeness(known) > 0.6) {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => String::new(),
    };
    let names: Vec<&str> = known.collect();
    format!("there is no such option{meant}; there are {}", names.join(", "))
}

/// An error of this process, in words.
pub(crate) fn query(error: &DataFusionError) -> String {
    match error {
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
                format!("this is not SQL: {}", text.trim_start_matches("sql parser error: "))
            }
            ParserError::RecursionLimitExceeded => "this is not SQL: it is nested too deeply".to_owned(),
        },
        DataFusionError::Plan(text) | DataFusionError::Execution(text) => first_part(text),
        DataFusionError::SchemaError(error, _) => error.to_string(),
        DataFusionError::ArrowError(error, _) => error.to_string(),
        DataFusionError::Diagnostic(_, inner) => query(inner),
        DataFusionError::Shared(inner) => query(inner),
        DataFusionError::Context(what, inner) => format!("{what}: {}", query(inner)),
        DataFusionError::Collection(errors) => errors.iter().map(query).collect::<Vec<_>>().join("; "),
        DataFusionError::External(error) => error.to_string(),
        other => other.strip_backtrace(),
    }
}

fn first_part(text: &str) -> String {
    text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default().to_owned()
}

/// The cause in the scheduler's message about a failed job.
pub(crate) fn job(message: &str) -> String {
    let mut text = message.trim();
    loop {
        let before = text.len();
        for (start, end) in
            [("Job ", " failed: "), ("Job failed due to stage ", " failed: "), ("Error planning job ", ": ")]
        {
            if let Some((name, rest)) = text.strip_prefix(start).and_then(|rest| rest.split_once(end))
                && name.chars().all(|c| c.is_alphanumeric() || c == '-')
            {
                text = rest;
            }
        }
        for layer in LAYERS {
            text = text.strip_prefix(layer).unwrap_or(text);
        }
        if text.len() == before {
            return undebugged(text).trim_end().to_owned();
        }
    }
}

/// `DataFusionError(ArrowError(CastError("Cannot …"), Some("")))` is `Cannot …`.
fn undebugged(text: &str) -> String {
    let text = text.trim();
    if let Some((literal, rest)) = literal(text) {
        let inner = rest.trim_start_matches([',', ' ']);
        // What a context was added to; a backtrace that is not there has no words.
        return if inner.is_empty() || inner.starts_with("Some(") || inner.starts_with("None") {
            literal
        } else {
            format!("{literal}: {}", undebugged(inner))
        };
    }
    let name = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (variant, rest) = text.split_at(name);
    if !variant.starts_with(|c: char| c.is_ascii_uppercase()) {
        return text.to_owned();
    }
    if let Some(inside) = rest.strip_prefix('(') {
        let (inside, after) = matching(inside);
        // Words with a bracket behind them are no debug format.
        if after.is_empty() || after.starts_with(", ") {
            return undebugged(inside);
        }
    }
    if rest.is_empty() || rest.starts_with(", ") { words(variant) } else { text.to_owned() }
}

/// What lies before the bracket that closes the one before `text`, and what lies behind it.
fn matching(text: &str) -> (&str, &str) {
    let (mut depth, mut at) = (1_usize, 0);
    while at < text.len() {
        if let Some((_, rest)) = literal(&text[at..]) {
            at = text.len() - rest.len();
            continue;
        }
        let c = text[at..].chars().next().unwrap_or_default();
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[..at], &text[at + 1..]);
        }
        at += c.len_utf8();
    }
    (text, "")
}

/// The text of the string that `text` starts with, as Rust's debug format escapes it, and what follows.
fn literal(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let (mut value, mut characters) = (String::new(), inside.char_indices());
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &inside[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}

/// `DivideByZero` is `Divide by zero`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for (index, c) in name.char_indices() {
        if index > 0 && c.is_ascii_uppercase() {
            words.push(' ');
            words.push(c.to_ascii_lowercase());
        } else {
            words.push(c);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::error::ArrowError;

    use super::*;

    #[test]
    fn a_failed_job_is_told_without_layers_and_debug_format() {
        let task =
            "Job 4fYz failed: Job failed due to stage 2 failed: Task failed due to runtime execution error: ";
        for (error, expected) in [
            ("DataFusionError(ArrowError(DivideByZero, Some(\"\")))\n", "Divide by zero"),
            (
                "DataFusionError(Shared(ArrowError(CastError(\"Cannot cast string 'cat' to value of Int64 type\"), \
                 Some(\"\"))))\n",
                "Cannot cast string 'cat' to value of Int64 type",
            ),
            ("DataFusionError(Execution(\"it (the \\\"task\\\") failed\"))", "it (the \"task\") failed"),
            ("DataFusionError(Context(\"while reading\", Plan(\"no file\")))", "while reading: no file"),
            (
                "DataFusionError(External(MongoDB operation `find` on `predictions` failed: (gone)))",
                "MongoDB operation `find` on `predictions` failed: (gone)",
            ),
            ("General(\"disk full\")", "disk full"),
            ("the disk (of node 3) is full", "the disk (of node 3) is full"),
        ] {
            assert_eq!(job(&format!("{task}{error}")), expected, "{error}");
        }
        assert_eq!(job("Job 7 failed: disk full"), "disk full");
        assert_eq!(
            job("Job 7 failed: DataFusion error: Error during planning: no table"),
            "Error during planning: no table"
        );
    }

    #[test]
    fn what_this_process_finds_wrong_is_told_without_layers() {
        let parse = ParserError::ParserError("Expected: a statement, found: SELEKT".to_owned());
        for (error, expected) in [
            (
                DataFusionError::SQL(Box::new(parse), None),
                "this is not SQL: Expected: a statement, found: SELEKT",
            ),
            (DataFusionError::Plan("table 'a' not found".to_owned()), "table 'a' not found"),
            (DataFusionError::Plan("no".to_owned()).context("why"), "why: no"),
            (DataFusionError::from(ArrowError::DivideByZero), "Divide by zero error"),
        ] {
            assert_eq!(query(&error), expected);
        }
    }
}
