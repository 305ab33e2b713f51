//! What a system counted, and whether two counted the same.

use anyhow::Context as _;
use firesteel_engine::report::{ProducerRow, Report};
use serde::Deserialize;
use serde_json::Value;

/// What was counted. The time is the one thing in which the same reports differ, so it is 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Everything that the report says.
    Whole(Box<Report>),
    /// Spark's RDD job counts by producer only.
    Producers(Vec<ProducerRow>),
    /// A raw cursor counts labelled images, and those of them that are wrong.
    Counts(u64, u64),
}

impl Answer {
    /// A report of this process. It goes through JSON as those of other programs do: what reads a number there may be
    /// off by its last bit, and is so for equal numbers alike.
    pub(crate) fn of(report: &Report) -> anyhow::Result<Self> {
        Self::read(serde_json::from_str(&serde_json::to_string(report)?)?)
    }

    /// A report of another program. Its tables have the names of ours.
    pub(crate) fn read(mut json: Value) -> anyhow::Result<Self> {
        if let Some(totals) = json.get_mut("totals").and_then(Value::as_object_mut) {
            totals.insert("job_seconds".to_owned(), Value::from(0.0));
            return Ok(Self::Whole(Box::new(Report::deserialize(json)?)));
        }
        let producers =
            json.get_mut("producers").map(Value::take).context("there is no table of producers")?;
        Ok(Self::Producers(Vec::deserialize(producers)?))
    }

    fn producers(&self) -> Option<&[ProducerRow]> {
        match self {
            Self::Whole(report) => Some(&report.producers),
            Self::Producers(producers) => Some(producers),
            Self::Counts(..) => None,
        }
    }

    /// Whether both counted the same, to the last digit of what both of them know.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one == other,
            _ => match (self.producers(), other.producers()) {
                (Some(one), Some(other)) => one == other,
                _ => self.counts() == other.counts(),
            },
        }
    }

    /// All labelled images, and the wrong ones.
    pub(crate) fn counts(&self) -> (u64, u64) {
        if let Self::Counts(documents, wrong) = self {
            return (*documents, *wrong);
        }
        let sum = |of: fn(&ProducerRow) -> u64| self.producers().unwrap_or_default().iter().map(of).sum();
        (sum(|row| row.total_inferences), sum(|row| row.wrong_inference_count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_other_programs_are_read() {
        let producer =
            r#"{"producer_id":"a","wrong_inference_count":1,"total_inferences":4,"error_rate":25.0}"#;
        let whole = format!(
            r#"{{"producers":[{producer}],"classes":[],"timings":{{}},"totals":{{"images":4,"accuracy":75.0,
            "average_error_rate":25.0,"producers":1,"images_per_second_per_producer":0.0,"ingest_seconds":0.0}}}}"#
        );
        let whole = Answer::read(serde_json::from_str(&whole).unwrap()).unwrap();
        let part = format!(r#"{{"producers":[{producer}],"seconds":1.5}}"#);
        let part = Answer::read(serde_json::from_str(&part).unwrap()).unwrap();
        assert_eq!(whole.counts(), (4, 1));
        assert!(whole.agrees(&part) && part.agrees(&whole));
        assert!(whole.agrees(&Answer::Counts(4, 1)) && !part.agrees(&Answer::Counts(4, 2)));
        let other = Answer::Producers(Vec::new());
        assert!(!whole.agrees(&other));
        assert!(Answer::read(serde_json::json!({"rows": []})).is_err());
    }
}
