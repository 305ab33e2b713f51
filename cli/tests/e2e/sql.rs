//! `firesteel sql` as a script would use it: formats, files, pipes, exit codes, and Ctrl-C.

use crate::support::{Role, World, output, stderr, stdout};
use crate::terminal::Terminal;
use firesteel_testkit::cifar::label;
use firesteel_testkit::samples;
use mongodb::bson::Document;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const COUNTS: &str = "SELECT producer_id, count(*) AS total, \
    sum(CASE WHEN correct THEN 0 ELSE 1 END) AS wrong FROM predictions GROUP BY producer_id ORDER BY producer_id";

fn prediction(index: usize) -> Document {
    let mut record = samples::prediction(index, 3);
    record.label = Some(label("cat"));
    record.predicted = label(if index.is_multiple_of(5) { "dog" } else { "cat" });
    record.confidence = 0.5;
    samples::document(&record)
}

/// A world with `count` predictions.
async fn world(name: &str, count: usize) -> Option<World> {
    let world = World::new(name)?;
    world.collection().await.insert_many((0..count).map(prediction)).await.expect("an insert");
    Some(world)
}

/// producer → (total, wrong), counted here.
fn counted(count: usize) -> BTreeMap<String, (u64, u64)> {
    let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for document in (0..count).map(prediction) {
        let entry = counts.entry(document.get_str("producer_id").expect("an id").to_owned()).or_default();
        entry.0 += 1;
        entry.1 += u64::from(!document.get_bool("correct").expect("a flag"));
    }
    counts
}

fn sql(world: &World, arguments: &[&str]) -> Output {
    output(world.firesteel(&[&["sql"], arguments].concat()))
}

fn succeeded(ran: &Output) -> String {
    assert!(ran.status.success(), "{}", stderr(ran));
    stdout(ran)
}

fn piped(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("an end")
}

/// producer → (total, wrong), out of JSON rows.
fn read(rows: &[serde_json::Value]) -> BTreeMap<String, (u64, u64)> {
    let count = |row: &serde_json::Value, name: &str| row[name].as_u64().expect("a count");
    rows.iter()
        .map(|row| {
            let id = row["producer_id"].as_str().expect("an id").to_owned();
            (id, (count(row, "total"), count(row, "wrong")))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_prints_what_mongodb_holds() {
    let Some(world) = world("sql-formats", 100).await else { return };
    let expected = counted(100);

    let ran = sql(&world, &["-c", COUNTS, "--format", "json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&succeeded(&ran)).expect("JSON");
    assert_eq!((rows.len(), read(&rows)), (3, expected.clone()));
    assert_eq!(stderr(&ran), "", "a program reads this");

    let text = succeeded(&sql(&world, &["-c", COUNTS, "--format", "ndjson"]));
    let rows: Vec<_> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((rows.len(), read(&rows)), (3, expected.clone()));

    let csv: Vec<String> =
        expected.iter().map(|(id, (total, wrong))| format!("{id},{total},{wrong}")).collect();
    let text = succeeded(&sql(&world, &["-c", COUNTS, "--format", "csv"]));
    assert_eq!(text, format!("producer_id,total,wrong\n{}\n", csv.join("\n")));
    let text = succeeded(&sql(&world, &["-c", COUNTS, "--format", "csv", "--no-header"]));
    assert_eq!(text, format!("{}\n", csv.join("\n")));

    let ran = sql(&world, &["-c", COUNTS]);
    let cells = |line: &str| {
        line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(",")
    };
    let lines: Vec<String> =
        succeeded(&ran).lines().filter(|line| line.starts_with('|')).map(cells).collect();
    assert_eq!((lines[0].as_str(), &lines[1..]), ("producer_id,total,wrong", csv.as_slice()));
    assert!(stderr(&ran).starts_with("(3 rows, "), "{}", stderr(&ran));
    assert_eq!(stderr(&sql(&world, &["-q", "-c", COUNTS])), "");

    let few = sql(&world, &["--max-rows", "2", "-c", "SELECT _id FROM predictions"]);
    assert_eq!(succeeded(&few).lines().filter(|line| line.contains(':')).count(), 2);
    assert!(stderr(&few).starts_with("(100 rows, 2 shown"), "{}", stderr(&few));
    let all = sql(&world, &["--format", "csv", "--max-rows", "2", "-c", "SELECT _id FROM predictions"]);
    assert_eq!(succeeded(&all).lines().count(), 101, "programs get every row");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_come_from_arguments_files_and_pipes() {
    let Some(world) = world("sql-inputs", 30).await else { return };
    let script = "-- two statements; and a comment\nSELECT count(*) AS n FROM predictions;\n\\format csv\nSELECT ';' AS s";
    let expected = "[{\"n\":30}]\ns\n;\n";
    let arguments = ["--format", "json"];

    std::fs::write(world.folder.path().join("s.sql"), script).expect("a file");
    let ran = sql(&world, &[arguments.as_slice(), &["-f", "s.sql"]].concat());
    assert_eq!(succeeded(&ran), expected);
    let ran = piped(world.firesteel(&[["sql"].as_slice(), &arguments].concat()), script);
    assert_eq!(succeeded(&ran), expected);
    let ran = piped(world.firesteel(&[["sql", "-f", "-"].as_slice(), &arguments].concat()), script);
    assert_eq!(succeeded(&ran), expected);
    let ran = piped(
        world.firesteel(&[["sql", "-f", "s.sql", "-f", "-"].as_slice(), &arguments].concat()),
        "\\i s.sql",
    );
    assert_eq!(succeeded(&ran), format!("{expected}n\n30\ns\n;\n"), "the format lasts");
    let ran =
        sql(&world, &["--format", "csv", "-c", "SELECT 1 AS a; SELECT 2 AS b", "-c", "\\d", "-o", "out.csv"]);
    assert_eq!(succeeded(&ran), "");
    let written = std::fs::read_to_string(world.folder.path().join("out.csv")).expect("the file");
    assert!(written.starts_with("a\n1\nb\n2\nschema,table,kind,columns\n"), "{written}");
    assert!(written.contains("public,predictions,table,"), "{written}");
    assert_eq!(succeeded(&piped(world.firesteel(&["sql"]), "")), "", "nothing to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_ends_a_script_and_says_what_is_wrong() {
    let Some(world) = world("sql-errors", 10).await else { return };
    for (statement, words) in [
        ("SELECT nope FROM predictions", "No field named nope"),
        ("SELECT labell FROM predictions", "Did you mean 'predictions.label'?"),
        ("SELECT * FROM predictionz", "did you mean predictions?"),
        ("SELEKT 1", "SELEKT"),
        ("SELECT 'open", "Unterminated string literal"),
        ("SELECT nofunction(1)", "nofunction"),
        ("SELECT 1/0", "Divide by zero"),
        ("SELECT CAST(label AS BIGINT) FROM predictions", "cat"),
        ("\\formt csv", "did you mean \\format?"),
        ("\\d predictionz", "did you mean predictions?"),
    ] {
        let script = format!("SELECT 'before';\n{statement}\n;SELECT 'after';\n");
        std::fs::write(world.folder.path().join("s.sql"), &script).expect("a file");
        let ran = sql(&world, &["--format", "csv", "-f", "s.sql"]);
        let said = stderr(&ran);
        assert_eq!(ran.status.code(), Some(1), "{statement}: {said}");
        assert!(
            stdout(&ran).contains("before") && !stdout(&ran).contains("after"),
            "{statement}: {}",
            stdout(&ran)
        );
        assert!(said.contains(words) && said.contains("s.sql, line 2: "), "{statement}: {said}");
        for debug in ["Error(", "\\n", "Some(", "Diagnostic", "RUST_BACKTRACE"] {
            assert!(!said.contains(debug), "{statement}: Rust's own words ({debug}) in: {said}");
        }
        assert!(said.lines().count() <= 4, "{statement}: {said}");
    }
    let usage = sql(&world, &["-c", "SELECT 1", "-f", "s.sql"]);
    assert_eq!(usage.status.code(), Some(2));
    assert_eq!(sql(&world, &["--format", "xml", "-c", "SELECT 1"]).status.code(), Some(2));
    let missing = sql(&world, &["-f", "not-there.sql"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("not-there.sql"), "{}", stderr(&missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_printed_to_be_read() {
    let Some(world) = world("sql-explain", 50).await else { return };
    let plan = succeeded(&sql(&world, &["-c", "EXPLAIN SELECT label FROM predictions WHERE label = 'cat'"]));
    assert!(plan.starts_with("logical_plan:\n") && plan.contains("\nphysical_plan:\n"), "{plan}");
    assert!(plan.contains("TableScan: predictions") && plan.contains("MongoScanExec"), "{plan}");
    let plan = succeeded(&sql(
        &world,
        &["-c", "EXPLAIN ANALYZE SELECT label, count(*) FROM predictions GROUP BY label"],
    ));
    assert!(plan.starts_with("Plan with Metrics:\n") && plan.contains("output_rows="), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_it_quietly() {
    let Some(world) = world("sql-pipe", 100).await else { return };
    let million = "SELECT a._id, b._id, c._id FROM predictions a, predictions b, predictions c";
    let mut command =
        world.firesteel(&["sql", "--format", "csv", "-c", million, "-c", "SELECT 'not reached'"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    drop(child.stdout.take());
    let ran = child.wait_with_output().expect("an end");
    assert_eq!((ran.status.code(), stderr(&ran).as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_long_query_at_once_and_leaves_nothing() {
    let Some(world) = world("sql-interrupt", 400).await else { return };
    let temporary = tempfile::tempdir().expect("a folder");
    let long = "SELECT count(*) FROM predictions a, predictions b, predictions c, predictions d \
                WHERE a.confidence + b.confidence + c.confidence + d.confidence > 99";
    for signal in [2, 15] {
        let mut command = world.firesteel(&["sql", "-c", "SELECT 1", "-c", long, "-c", "SELECT 2"]);
        command.env("TMPDIR", temporary.path());
        let mut shell = Role::start(command);
        // It says so once the query has run for two seconds.
        shell.wait_for("running");
        assert!(std::fs::read_dir(temporary.path()).expect("the folder").count() > 0, "its work lies there");
        let asked = Instant::now();
        shell.signal(signal);
        let status = shell.wait(Duration::from_secs(20));
        assert_eq!(status.code(), Some(128 + signal), "{}", shell.said());
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        let left: Vec<_> = std::fs::read_dir(temporary.path()).expect("the folder").collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_a_terminal_gets_a_shell() {
    let Some(world) = world("sql-terminal", 400).await else { return };
    let home = world.folder.path().join("home");
    let mut command = world.firesteel(&["sql"]);
    command.env("HOME", &home).env_remove("XDG_STATE_HOME");
    let mut terminal = Terminal::start(&command);
    let prompt = "firesteel> ";
    terminal.shows(prompt);

    // A statement over two lines, then a command.
    terminal.types("SELECT count(*) AS n\r");
    terminal.types("FROM predictions;\r");
    terminal.shows("| 400 |");
    terminal.shows("(1 row, ");
    terminal.shows(prompt);
    terminal.types("\\d predictions\r");
    terminal.shows("| producer_id");
    terminal.shows(prompt);
    // Tab completes the name of the table.
    terminal.types("SELECT min(label) AS least FROM predi\t;\r");
    terminal.shows("| cat");
    terminal.shows(prompt);
    // An error leaves the shell, and what is set stays set.
    terminal.types("SELECT nope FROM predictions;\r");
    terminal.shows("error: ");
    terminal.shows(prompt);
    terminal.types("\\format csv\r");
    terminal.shows("format is csv");
    terminal.shows(prompt);

    // Ctrl-C drops what is typed.
    terminal.types("SELECT 'never run'");
    terminal.shows("never run'");
    terminal.types("\u{3}");
    terminal.shows(prompt);
    // Ctrl-C cancels what runs, which has shown how far it is.
    let long = "SELECT count(*) FROM predictions a, predictions b, predictions c, predictions d \
                WHERE a.confidence + b.confidence + c.confidence + d.confidence > 99;\r";
    terminal.types(long);
    terminal.shows("stage 1/");
    terminal.shows(" tasks, ");
    let asked = Instant::now();
    terminal.types("\u{3}");
    terminal.shows("cancelled");
    terminal.shows(prompt);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    terminal.types("\\jobs\r");
    terminal.shows("job,seconds,progress,query\r\n");
    terminal.shows(prompt);
    terminal.types("SELECT 41 + 1 AS answer;\r");
    terminal.shows("answer\r\n42\r\n");
    terminal.shows(prompt);
    terminal.types("\u{4}");
    assert_eq!(terminal.wait(Duration::from_secs(20)).code(), Some(0));

    let history = home.join(".local/state/firesteel/sql_history");
    let text = std::fs::read_to_string(&history).expect("a history");
    assert!(text.contains("SELECT 41 + 1 AS answer;") && !text.contains("never run"), "{text}");
    let rights = std::fs::metadata(&history).expect("a file").permissions().mode() & 0o777;
    assert_eq!(rights, 0o600, "nobody else reads what was asked");

    // The next shell remembers: arrow up.
    let mut terminal = Terminal::start(&command);
    terminal.shows(prompt);
    terminal.types("\u{1b}[A\r");
    terminal.shows("| 42");
    terminal.types("\\q\r");
    assert_eq!(terminal.wait(Duration::from_secs(20)).code(), Some(0));
}
