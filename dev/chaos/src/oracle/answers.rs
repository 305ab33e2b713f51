//! What queries said, on the way and at the end.

use super::Finding;
use bson::Document;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A query that ran while faults were at work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Query {
    /// Which, in a word.
    pub(crate) what: String,
    /// Milliseconds after the run began.
    pub(crate) began_ms: u64,
    pub(crate) ended_ms: u64,
    pub(crate) answer: Answered,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answered {
    /// So many predictions.
    Count(u64),
    /// An error, with its reason.
    Error(String),
    /// Not at all.
    Never,
    /// What is neither an answer nor an error.
    Nonsense(String),
}

/// Whether each answer fits its time: no query counts less than one that was answered before it began, none more than there were
/// images, none hangs, and none fails without a reason.
pub(crate) fn judge(queries: &[Query], images: u64) -> Vec<Finding> {
    let mut wrong = Vec::new();
    let mut silent = Vec::new();
    for query in queries {
        let Query { what, began_ms, ended_ms, answer } = query;
        let when = format!("{what} from {began_ms} to {ended_ms} ms");
        match answer {
            Answered::Count(count) => {
                let before = queries.iter().filter(|other| other.ended_ms <= *began_ms);
                let least = before.filter_map(|other| match other.answer {
                    Answered::Count(count) => Some(count),
                    _ => None,
                });
                let least = least.max().unwrap_or(0);
                if *count < least || *count > images {
                    wrong.push(format!("{when}: {count}, not between {least} and {images}"));
                }
            }
            Answered::Error(reason) if reason.trim().is_empty() => {
                silent.push(format!("{when}: an error without a reason"))
            }
            Answered::Error(_) => {}
            Answered::Never => silent.push(format!("{when}: no answer")),
            Answered::Nonsense(said) => wrong.push(format!("{when}: {said}")),
        }
    }
    let findings = [
        Finding::all("a query's answer fits its time", wrong),
        Finding::all("a query is answered, or fails with a reason, within 120 s", silent),
    ];
    findings.into_iter().flatten().collect()
}

/// Wrong and all inferences of labelled images of each producer, and those of unlabelled images.
pub(crate) type ByProducer = BTreeMap<String, (i64, i64, i64)>;

/// As `firesteel report --format json` says it.
pub(crate) fn of_report(report: &Value) -> Option<ByProducer> {
    let row = |row: &Value| {
        let number = |name: &str| row.get(name)?.as_i64();
        let id = row.get("producer_id")?.as_str()?.to_owned();
        let unlabelled = number("unlabelled").unwrap_or(0);
        Some((id, (number("wrong_inference_count")?, number("total_inferences")?, unlabelled)))
    };
    report.get("producers")?.as_array()?.iter().map(row).collect()
}

/// As the documents say it, counted one by one.
pub(crate) fn recount(documents: &[Document]) -> ByProducer {
    let mut found = ByProducer::new();
    for document in documents {
        let id = document.get_str("producer_id").unwrap_or("(none)").to_owned();
        let counts = found.entry(id).or_default();
        match document.get_bool("correct") {
            Ok(correct) => {
                counts.0 += i64::from(!correct);
                counts.1 += 1;
            }
            Err(_) => counts.2 += 1,
        }
    }
    found
}

/// As MongoDB's `$group` says it: `_id`, `wrong`, `total`, `unlabelled`.
pub(crate) fn of_group(groups: &[Document]) -> ByProducer {
    let number = |group: &Document, name: &str| {
        group.get_i64(name).ok().or_else(|| group.get_i32(name).ok().map(i64::from)).unwrap_or(-1)
    };
    let row = |group: &Document| {
        let id = group.get_str("_id").unwrap_or("(none)").to_owned();
        (id, (number(group, "wrong"), number(group, "total"), number(group, "unlabelled")))
    };
    groups.iter().map(row).collect()
}

/// Whether all three agree.
pub(crate) fn agree(
    report: Option<&ByProducer>,
    group: &ByProducer,
    recount: &ByProducer,
) -> Option<Finding> {
    let statement = "report = MongoDB's $group = a plain recount";
    let agrees = report == Some(recount) && group == recount;
    (!agrees)
        .then(|| Finding::one(statement, format!("report {report:?}, $group {group:?}, recount {recount:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, doc};

    fn query(began_ms: u64, ended_ms: u64, answer: Answered) -> Query {
        Query { what: "count".to_owned(), began_ms, ended_ms, answer }
    }

    #[test]
    fn a_count_never_falls_behind_an_answer_that_came_before() {
        let check = |queries: &[Query], findings: usize| {
            assert_eq!(judge(queries, 10).len(), findings, "{queries:?}")
        };
        let five = || query(0, 10, Answered::Count(5));
        check(&[five(), query(10, 20, Answered::Count(5))], 0);
        check(&[five(), query(10, 20, Answered::Count(4))], 1);
        // They ran at the same time.
        check(&[five(), query(5, 20, Answered::Count(4))], 0);
        check(&[query(0, 1, Answered::Count(11))], 1);
        check(&[query(0, 1, Answered::Error("no scheduler".to_owned()))], 0);
        check(&[query(0, 1, Answered::Error(" ".to_owned())), query(0, 1, Answered::Never)], 1);
        check(&[query(0, 1, Answered::Nonsense("?".to_owned()))], 1);
    }

    #[test]
    fn three_counts_of_the_same_agree() {
        let documents = [Bson::from(false), Bson::from(true), Bson::Null]
            .map(|correct| doc! { "producer_id": "a", "correct": correct });
        let counted = recount(&documents);
        let group = of_group(&[doc! { "_id": "a", "wrong": 1, "total": 2_i64, "unlabelled": 1 }]);
        let report = serde_json::json!({
            "producers": [{ "producer_id": "a", "wrong_inference_count": 1, "total_inferences": 2, "error_rate": 50.0,
                "unlabelled": 1 }],
        });
        let report = of_report(&report);
        assert_eq!(agree(report.as_ref(), &group, &counted), None);
        assert!(agree(None, &group, &counted).is_some());
        assert!(agree(report.as_ref(), &ByProducer::new(), &counted).is_some());
    }
}
