//! Which offsets a table reads: pure functions from bounds and a topic's ends to ranges.

use std::collections::{BTreeMap, BTreeSet};

use crate::connectors::kafka::config::bound::{At, Bound};
use crate::connectors::kafka::connection::log::{Log, Logs, Times};
use crate::connectors::kafka::read::spec::OffsetRange;
use crate::{Error, Result};

/// A bound, with the answer of the topic where it is a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit<'a> {
    /// The option that set it, for errors.
    pub(crate) option: &'static str,
    pub(crate) bound: &'a Bound,
    pub(crate) times: &'a Times,
}

/// The range of every partition of `topic`, by partition; empty ones included.
///
/// An offset that a bound names and that is not there is an error if `fail_on_data_loss`, and otherwise moved to the
/// nearest that is.
pub(crate) fn resolve(
    topic: &str,
    logs: &Logs,
    start: Limit<'_>,
    end: Limit<'_>,
    fail_on_data_loss: bool,
) -> Result<Vec<OffsetRange>> {
    for limit in [start, end] {
        if let Bound::Offsets(offsets) = limit.bound {
            check_partitions(topic, limit.option, offsets, logs)?;
        }
    }
    let place = |limit: Limit<'_>, partition: i32, log: Log| {
        let wanted = match limit.bound {
            Bound::Earliest => return Ok(log.low),
            Bound::Latest => return Ok(log.high),
            // What was written since the ends were read does not belong to this query.
            Bound::Timestamp(_) => {
                return Ok(limit.times.get(&partition).map_or(log.high, |at| (*at).clamp(log.low, log.high)));
            }
            Bound::Offsets(offsets) => match offsets.get(&partition) {
                Some(At::Offset(wanted)) => *wanted,
                Some(At::Latest) => return Ok(log.high),
                Some(At::Earliest) | None => return Ok(log.low),
            },
        };
        if fail_on_data_loss && !(log.low..=log.high).contains(&wanted) {
            let (earliest, latest) = (log.low, log.high);
            return Err(Error::OffsetsLost { topic: topic.to_owned(), partition, wanted, earliest, latest });
        }
        Ok(wanted.clamp(log.low, log.high))
    };
    logs.iter()
        .map(|(&partition, &log)| {
            let end = place(end, partition, log)?;
            Ok(OffsetRange { partition, start: place(start, partition, log)?.min(end), end })
        })
        .collect()
}

/// As in Spark, a bound by offsets names every partition of the topic and no other.
fn check_partitions(
    topic: &str,
    option: &'static str,
    offsets: &BTreeMap<i32, At>,
    logs: &Logs,
) -> Result<()> {
    let named: BTreeSet<i32> = offsets.keys().copied().collect();
    let there: BTreeSet<i32> = logs.keys().copied().collect();
    if named == there {
        return Ok(());
    }
    let list = |ids: Vec<&i32>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (missing, extra) =
        (list(there.difference(&named).collect()), list(named.difference(&there).collect()));
    let message = match (missing.is_empty(), extra.is_empty()) {
        (false, true) => format!("topic `{topic}` also has partitions {missing}: all have to be named"),
        (true, _) => format!("topic `{topic}` has no partitions {extra}"),
        (false, false) => format!("topic `{topic}` has partitions {missing}, and none of {extra}"),
    };
    Err(Error::invalid_option(option, message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits<'a>(start: (&'a Bound, &'a Times), end: (&'a Bound, &'a Times)) -> [Limit<'a>; 2] {
        let limit = |option, (bound, times)| Limit { option, bound, times };
        [limit("startingOffsets", start), limit("endingOffsets", end)]
    }

    fn ranges(start: &Bound, end: &Bound, times: &Times, fail: bool) -> Result<Vec<(i32, i64, i64)>> {
        let logs = Logs::from([
            (0, Log { low: 0, high: 10 }),
            (1, Log { low: 5, high: 9 }),
            (2, Log { low: 3, high: 3 }),
        ]);
        let [start, end] = limits((start, times), (end, times));
        let ranges = resolve("t", &logs, start, end, fail)?;
        Ok(ranges.into_iter().map(|range| (range.partition, range.start, range.end)).collect())
    }

    fn offsets(at: [At; 3]) -> Bound {
        Bound::Offsets(at.into_iter().enumerate().map(|(id, at)| (i32::try_from(id).unwrap(), at)).collect())
    }

    #[test]
    fn bounds_become_ranges() {
        use At::Offset as O;
        let none = Times::new();
        let all = vec![(0, 0, 10), (1, 5, 9), (2, 3, 3)];
        assert_eq!(ranges(&Bound::Earliest, &Bound::Latest, &none, true).unwrap(), all);
        let some = offsets([O(2), O(5), O(3)]);
        assert_eq!(ranges(&some, &Bound::Latest, &none, true).unwrap(), [(0, 2, 10), (1, 5, 9), (2, 3, 3)]);
        let mixed = offsets([At::Earliest, At::Latest, At::Earliest]);
        assert_eq!(ranges(&mixed, &Bound::Latest, &none, true).unwrap(), [(0, 0, 10), (1, 9, 9), (2, 3, 3)]);
        assert_eq!(ranges(&Bound::Earliest, &some, &none, true).unwrap(), [(0, 0, 2), (1, 5, 5), (2, 3, 3)]);
        // A time that a partition does not reach is its end; one after the ends that were read is cut to them.
        let times = Times::from([(0, 4), (1, 12)]);
        let since = ranges(&Bound::Timestamp(7), &Bound::Latest, &times, true).unwrap();
        assert_eq!(since, [(0, 4, 10), (1, 9, 9), (2, 3, 3)]);
        let until = ranges(&Bound::Earliest, &Bound::Timestamp(7), &times, true).unwrap();
        assert_eq!(until, [(0, 0, 4), (1, 5, 9), (2, 3, 3)]);
    }

    #[test]
    fn an_offset_that_is_gone_is_an_error_or_the_nearest_one() {
        use At::Offset as O;
        let none = Times::new();
        for (wanted, partition, low, high, clamped) in
            [([O(0), O(4), O(3)], 1, 5, 9, (1, 5, 9)), ([O(11), O(5), O(3)], 0, 0, 10, (0, 10, 10))]
        {
            let start = offsets(wanted);
            let error = ranges(&start, &Bound::Latest, &none, true).unwrap_err();
            assert!(
                matches!(&error, Error::OffsetsLost { topic, partition: p, earliest, latest, .. }
                    if topic == "t" && (*p, *earliest, *latest) == (partition, low, high)),
                "{error}"
            );
            let told = error.to_string();
            assert!(told.contains("failOnDataLoss"), "{told}");
            assert!(ranges(&start, &Bound::Latest, &none, false).unwrap().contains(&clamped));
        }
    }

    #[test]
    fn every_partition_has_to_be_named_and_no_other() {
        let named = |ids: &[i32]| Bound::Offsets(ids.iter().map(|id| (*id, At::Earliest)).collect());
        for (ids, words) in [
            (&[0, 1][..], "also has partitions 2"),
            (&[0, 1, 2, 7][..], "has no partitions 7"),
            (&[0, 1, 7][..], "has partitions 2, and none of 7"),
        ] {
            let error = ranges(&named(ids), &Bound::Latest, &Times::new(), true).unwrap_err().to_string();
            assert!(error.contains("startingOffsets") && error.contains(words), "{error}");
        }
    }

    fn bound() -> impl Strategy<Value = Bound> {
        let at = prop_oneof![Just(At::Earliest), Just(At::Latest), (0..60_i64).prop_map(At::Offset)];
        prop_oneof![
            Just(Bound::Earliest),
            Just(Bound::Latest),
            any::<i64>().prop_map(Bound::Timestamp),
            prop::collection::vec(at, 3).prop_map(|at| offsets([at[0], at[1], at[2]])),
        ]
    }

    proptest! {
        #[test]
        fn a_range_lies_within_its_log(
            logs in prop::array::uniform3((0..50_i64, 0..50_i64)),
            start in bound(),
            end in bound(),
            times in prop::collection::btree_map(0..3_i32, 0..60_i64, 0..3),
        ) {
            let logs: Logs = (0..).zip(logs).map(|(id, (a, b))| (id, Log { low: a.min(b), high: a.max(b) })).collect();
            let [start, end] = limits((&start, &times), (&end, &times));
            let ranges = resolve("t", &logs, start, end, false).unwrap();
            prop_assert_eq!(ranges.len(), 3);
            for range in ranges {
                let log = logs[&range.partition];
                prop_assert!(log.low <= range.start && range.start <= range.end && range.end <= log.high);
            }
        }
    }
}
