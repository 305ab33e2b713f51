//! Questions to the cluster, one after the other, while faults are at work.

use crate::oracle::answers::{Answered, Query, of_report};
use crate::world::World;
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// After this a query counts as one that hangs.
const WITHIN: Duration = Duration::from_secs(120);
/// Between two, so that the machine has time for the work.
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked, in turn: each answer comes down to a number of predictions.
const QUESTIONS: [(&str, &[&str]); 4] = [
    ("count", &["sql", "--format", "json", "-c", "SELECT count(*) AS n FROM predictions"]),
    ("report", &["report", "--format", "json"]),
    (
        "join",
        &[
            "sql",
            "--format",
            "json",
            "-c",
            "SELECT sum(p.n) AS n FROM (SELECT producer_id, label, count(*) AS n FROM predictions GROUP BY producer_id, label) p \
             JOIN (SELECT DISTINCT producer_id AS id FROM predictions) d ON p.producer_id = d.id",
        ],
    ),
    (
        "cached",
        &[
            "sql",
            "--format",
            "json",
            "-c",
            "CACHE TABLE kept AS SELECT producer_id, correct FROM predictions; SELECT count(*) AS n FROM kept",
        ],
    ),
];

/// Asks until `stop`.
pub(crate) async fn ask_on(world: &World, stop: &CancellationToken) {
    for number in 0_usize.. {
        let (what, arguments) = QUESTIONS[number % QUESTIONS.len()];
        let query = ask(world, what, arguments).await;
        world.notes().queries.push(query);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn ask(world: &World, what: &str, arguments: &[&str]) -> Query {
    let began_ms = world.now();
    let started = Instant::now();
    let answer = match run(world, arguments).await {
        Ok(said) => read(what, &said),
        Err(failed) => failed,
    };
    tracing::debug!(what, ?answer, elapsed = ?started.elapsed(), "asked");
    Query { what: what.to_owned(), began_ms, ended_ms: world.now(), answer }
}

/// What the binary prints.
async fn run(world: &World, arguments: &[&str]) -> Result<String, Answered> {
    let failed =
        |error: &dyn std::fmt::Display| Answered::Nonsense(format!("the harness cannot ask: {error}"));
    let mut command = world.fleet.setup().command(arguments).map_err(|error| failed(&error))?;
    command.env("FIRESTEEL_SCHEDULER", world.fleet.scheduler_url());
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    match tokio::time::timeout(WITHIN, command.output()).await {
        Err(_) => Err(Answered::Never),
        Ok(Err(error)) => Err(failed(&error)),
        Ok(Ok(done)) if !done.status.success() => {
            Err(Answered::Error(String::from_utf8_lossy(&done.stderr).trim().to_owned()))
        }
        Ok(Ok(done)) => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
    }
}

/// The number of predictions that an answer comes down to.
fn read(what: &str, said: &str) -> Answered {
    let count = if what == "report" {
        let report: Option<Value> = serde_json::from_str(said).ok();
        let producers = report.as_ref().and_then(of_report);
        producers
            .map(|producers| producers.values().map(|(_, total, unlabelled)| total + unlabelled).sum::<i64>())
    } else {
        // What a statement before it says comes first.
        let json = said.rfind("[{").and_then(|from| serde_json::from_str::<Value>(said[from..].trim()).ok());
        json.as_ref()
            .and_then(|rows| rows.get(0))
            .and_then(|row| row.get("n"))
            .map(|n| n.as_i64().unwrap_or(0))
    };
    count
        .and_then(|count| u64::try_from(count).ok())
        .map_or_else(|| Answered::Nonsense(said.to_owned()), Answered::Count)
}

/// The report as JSON, when all is quiet.
pub(crate) async fn report(world: &World) -> Result<Value, String> {
    let said = run(world, &["report", "--format", "json"]).await.map_err(|failed| format!("{failed:?}"))?;
    serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_down_to_a_number() {
        let report = r#"{"producers":[{"producer_id":"a","wrong_inference_count":1,"total_inferences":4},
            {"producer_id":"b","wrong_inference_count":0,"total_inferences":3}]}"#;
        assert_eq!(read("report", report), Answered::Count(7));
        assert_eq!(read("count", "[{\"n\":12}]\n"), Answered::Count(12));
        assert_eq!(read("join", "[{\"n\":null}]"), Answered::Count(0), "a sum over nothing");
        assert_eq!(read("cached", "CACHE TABLE: 3 rows\n[{\"n\":3}]\n"), Answered::Count(3));
        assert!(matches!(read("count", "what?"), Answered::Nonsense(_)));
    }
}
