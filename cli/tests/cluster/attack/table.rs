//! The table of the scan: made from what was found, compared with the one in THREATS.md.
//!
//! A row is a door, who knocks, what they ask for, and the answer. What gets the same answer is one row.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../THREATS.md");
const BEGIN: &str = "<!-- scan: begin -->\n";
const END: &str = "<!-- scan: end -->\n";

/// Writes the table into the file in place of comparing it.
const WRITE: &str = "FIRESTEEL_TEST_WRITE_THREATS";

/// Something that can be asked for.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// What rows call all of its kind.
    pub(super) kind: &'static str,
    /// "GET", or "gRPC".
    pub(super) method: String,
    pub(super) path: String,
}

/// What was answered, in the order of knocking.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    /// Adds what one who knocks at one door got for each target.
    pub(super) fn add(&mut self, door: &str, who: &str, answers: &[(Target, String)]) {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for (target, _) in answers {
            *kinds.entry(target.kind).or_default() += 1;
        }
        // By answer, in the order in which each first comes.
        let mut groups: Vec<(&str, Vec<&Target>)> = Vec::new();
        for (target, answer) in answers {
            match groups.iter_mut().find(|(known, _)| known == answer) {
                Some((_, targets)) => targets.push(target),
                None => groups.push((answer, vec![target])),
            }
        }
        for (answer, targets) in groups {
            let mut named: Vec<String> = Vec::new();
            for target in &targets {
                let of_kind = targets.iter().filter(|other| other.kind == target.kind).count();
                let name = match of_kind == kinds[target.kind] {
                    true => target.kind.to_owned(),
                    false => format!("`{}`", short(target)),
                };
                if !named.contains(&name) {
                    named.push(name);
                }
            }
            let what =
                if targets.len() == answers.len() { "everything".to_owned() } else { named.join(", ") };
            self.rows.push([door.to_owned(), who.to_owned(), what, answer.to_owned()]);
        }
    }

    /// The table as it stands in the file. A door of which everything is told already is not repeated.
    pub(super) fn text(&self, targets: &[Target]) -> String {
        let mut text = String::new();
        let mut kinds: Vec<&str> = Vec::new();
        for target in targets {
            if !kinds.contains(&target.kind) {
                kinds.push(target.kind);
            }
        }
        for kind in kinds {
            let of_kind = targets.iter().filter(|target| target.kind == kind);
            let names: Vec<String> = of_kind.map(|target| format!("`{}`", short(target))).collect();
            let _ = writeln!(text, "* {kind}: {}", names.join(", "));
        }
        let _ = writeln!(text, "\n| port | who | asks for | answer |\n|---|---|---|---|");
        for [door, who, what, answer] in &self.rows {
            let _ = writeln!(text, "| {door} | {who} | {what} | {answer} |");
        }
        text
    }

    /// Compares the table with the file, or writes it there.
    pub(super) fn check(&self, targets: &[Target]) {
        let (text, file) = (self.text(targets), std::fs::read_to_string(FILE).expect("THREATS.md"));
        let (before, rest) = file.split_once(BEGIN).expect("the beginning of the table");
        let (old, after) = rest.split_once(END).expect("the end of the table");
        if std::env::var(WRITE).is_ok_and(|value| value == "1") {
            let new = format!("{before}{BEGIN}{text}{END}{after}");
            std::fs::write(FILE, new).expect("THREATS.md is written");
            return;
        }
        for line in text.lines().filter(|line| !old.lines().any(|other| other == *line)) {
            eprintln!("only found:   {line}");
        }
        for line in old.lines().filter(|line| !text.lines().any(|other| other == *line)) {
            eprintln!("only written: {line}");
        }
        assert!(old == text, "THREATS.md says something else; {WRITE}=1 writes what this test has found");
    }
}

fn short(target: &Target) -> String {
    match target.method.as_str() {
        "GET" => target.path.clone(),
        "gRPC" => target.path.rsplit('/').next().unwrap_or_default().to_owned(),
        method => format!("{method} {}", target.path),
    }
}

/// All functions of the tests, in Rust and in Python.
fn functions(folder: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                functions(&path, found);
            }
        } else if name.ends_with(".rs") || name.ends_with(".py") {
            let text = std::fs::read_to_string(&path).expect("text");
            for line in text.lines() {
                let line = line.trim_start().trim_start_matches("pub ").trim_start_matches("async ");
                let rest = line.strip_prefix("fn ").or_else(|| line.strip_prefix("def "));
                if let Some((name, _)) = rest.and_then(|rest| rest.split_once('(')) {
                    found.insert(name.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let mut found = std::collections::BTreeSet::new();
    functions(concat!(env!("CARGO_MANIFEST_DIR"), "/..").as_ref(), &mut found);
    let text = std::fs::read_to_string(FILE).expect("THREATS.md");
    let (before, _) = text.split_once(BEGIN).expect("the beginning of the table");
    // Names of tests are in backquotes and hold more than one word; those of settings and files are not like that.
    let named = before.split('`').skip(1).step_by(2).filter(|name| {
        name.matches('_').count() > 1
            && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
    });
    let missing: Vec<&str> = named.filter(|name| !found.contains(*name)).collect();
    assert!(missing.is_empty(), "THREATS.md names tests that are not there: {missing:#?}");
}
