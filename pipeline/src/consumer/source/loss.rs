//! Records that were removed before they were read, and how long the rest is safe. Pure.
//!
//! A group that has committed goes on where it was, or says what it cannot read any more: with `auto.offset.reset=error` the
//! client stops fetching a partition whose next offset is not there, and what became of it is decided here.

use std::time::Duration;

/// Records of a partition that nobody will read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) partition: i32,
    /// The first offset that is gone.
    pub(crate) from: i64,
    /// The offset after the last one that is gone.
    pub(crate) to: i64,
    /// Where reading can go on.
    pub(crate) resume: i64,
}

impl Loss {
    /// How many offsets are gone. Where a topic is compacted, some of them may never have been records.
    pub(crate) fn records(&self) -> u64 {
        u64::try_from(self.to.saturating_sub(self.from)).unwrap_or(0)
    }
}

/// What became of a partition that is not fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// What is wanted is there; the client has yet to begin, or to go on.
    Fine,
    /// The group has no offset of this partition yet: it begins at this one.
    New(i64),
    /// Records before the beginning of the log were removed, by retention or by hand.
    Removed(Loss),
    /// The log ends before the place where the group was: it was cut, or made anew.
    Cut(Loss),
}

/// Decides about a partition by the offset that is wanted next and the first and next offset of its log.
pub(super) fn find(partition: i32, wanted: Option<i64>, (start, end): (i64, i64)) -> Finding {
    match wanted {
        None => Finding::New(start),
        Some(wanted) if wanted < start => {
            Finding::Removed(Loss { partition, from: wanted, to: start, resume: start })
        }
        // What is in the log now was never read. Its records are others, which are complete once more if they are known.
        Some(wanted) if wanted > end => {
            Finding::Cut(Loss { partition, from: end, to: wanted, resume: start })
        }
        Some(_) => Finding::Fine,
    }
}

/// How long the oldest record that is not complete stays in the log, by the topic's retention: zero when it may be removed
/// at any moment. Times are in milliseconds since 1970.
pub(super) fn time_left(retention: Duration, oldest: i64, now: i64) -> Duration {
    let age = Duration::from_millis(u64::try_from(now.saturating_sub(oldest)).unwrap_or(0));
    retention.saturating_sub(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_there_or_known_to_be_gone() {
        let loss = |from, to, resume| Loss { partition: 4, from, to, resume };
        for (wanted, log, expected) in [
            (None, (0, 0), Finding::New(0)),
            (None, (7, 9), Finding::New(7)),
            (Some(7), (7, 9), Finding::Fine),
            (Some(9), (7, 9), Finding::Fine),
            (Some(0), (0, 0), Finding::Fine),
            (Some(5), (7, 9), Finding::Removed(loss(5, 7, 7))),
            (Some(0), (9, 9), Finding::Removed(loss(0, 9, 9))),
            (Some(12), (7, 9), Finding::Cut(loss(9, 12, 7))),
            (Some(1), (0, 0), Finding::Cut(loss(0, 1, 0))),
        ] {
            assert_eq!(find(4, wanted, log), expected, "{wanted:?} of {log:?}");
        }
        assert_eq!(loss(5, 7, 7).records(), 2);
    }

    #[test]
    fn the_time_that_is_left_ends_at_zero() {
        let hour = Duration::from_secs(3_600);
        for (oldest, now, left) in [
            (1_000, 1_000, hour),
            (1_000, 61_000, Duration::from_secs(3_540)),
            (0, 3_600_000, Duration::ZERO),
            (0, i64::MAX, Duration::ZERO),
            // A clock that is behind the broker's.
            (5_000, 1_000, hour),
        ] {
            assert_eq!(time_left(hour, oldest, now), left, "{oldest} {now}");
        }
    }
}
