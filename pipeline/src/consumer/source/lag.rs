//! The lag of a partition: the records between its end and the first one that is not complete. Pure.

use rdkafka::statistics::Partition;

/// The known offsets of a partition's log; `None` where an offset is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Log {
    /// The oldest record that is kept.
    pub(super) start: Option<i64>,
    /// The offset after the newest record, at the last fetch.
    pub(super) end: Option<i64>,
    /// The offset after the newest record, when the broker was asked because nothing was fetched.
    pub(super) asked: Option<i64>,
    /// Whether fetched records wait here, so that nothing newer is fetched.
    pub(super) waiting: bool,
    /// The committed offset of the group, as far as this client knows.
    pub(super) committed: Option<i64>,
    /// Whether the client does not fetch it: because it has yet to begin, or because it stopped at an offset that is not there.
    pub(super) stopped: bool,
}

impl Log {
    /// Reads the client's statistics, where an offset below 0 is unknown.
    pub(super) fn of(partition: &Partition) -> Self {
        let known = |offset: i64| (offset >= 0).then_some(offset);
        Self {
            start: known(partition.lo_offset),
            end: known(partition.hi_offset),
            asked: None,
            waiting: partition.fetchq_cnt > 0,
            committed: known(partition.committed_offset),
            stopped: partition.fetch_state == "none",
        }
    }

    /// Takes over what newer statistics say; what was asked stays.
    pub(super) fn learn(&mut self, news: Self) {
        self.start = news.start.or(self.start);
        self.end = news.end.or(self.end);
        self.waiting = news.waiting;
        self.stopped = news.stopped;
        self.committed = news.committed.or(self.committed);
    }
}

/// The number of existing records that are not complete; `None` while it is unknown. Before the first record the position
/// is the committed offset of the group, or the beginning of the log for a group without one.
pub(super) fn behind(position: Option<i64>, log: Log) -> Option<u64> {
    let end = log.asked.max(log.end)?;
    let position = position.or(log.committed).max(log.start)?;
    // A log that was cut is no longer than the position: nothing is behind.
    Some(u64::try_from(end.saturating_sub(position)).unwrap_or(0))
}

/// How many records removal has still to go through before it comes to one that is not complete: everything before the first
/// of these is dispensable. `None` while it is unknown.
pub(super) fn headroom(position: Option<i64>, log: Log) -> Option<u64> {
    let position = position.or(log.committed)?;
    Some(u64::try_from(position.saturating_sub(log.start?)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(start: Option<i64>, end: Option<i64>, committed: Option<i64>) -> Log {
        Log { start, end, committed, ..Log::default() }
    }

    #[test]
    fn what_is_behind_the_end_is_counted_from_the_position() {
        for (position, log, expected) in [
            (Some(40), log(Some(0), Some(100), Some(30)), Some(60)),
            // No record yet: what the group has committed, or the beginning.
            (None, log(Some(0), Some(100), Some(30)), Some(70)),
            (None, log(Some(20), Some(100), None), Some(80)),
            // What is gone by retention is no longer behind: it is lost, see `loss`.
            (None, log(Some(50), Some(100), Some(30)), Some(50)),
            // Nothing is known of the end, or of the position.
            (Some(40), log(Some(0), None, Some(30)), None),
            (None, log(None, Some(100), None), None),
            // A log that was cut, an empty one.
            (Some(40), log(Some(0), Some(10), None), Some(0)),
            (None, log(Some(0), Some(0), None), Some(0)),
        ] {
            assert_eq!(behind(position, log), expected, "{position:?} {log:?}");
        }
    }

    #[test]
    fn the_headroom_shrinks_to_nothing_when_records_are_removed_unread() {
        for (position, log, expected) in [
            (Some(40), log(Some(0), None, Some(30)), Some(40)),
            (None, log(Some(10), None, Some(30)), Some(20)),
            (Some(40), log(Some(50), None, None), Some(0)),
            (Some(40), log(None, None, None), None),
            (None, log(Some(0), None, None), None),
        ] {
            assert_eq!(headroom(position, log), expected, "{position:?} {log:?}");
        }
    }

    #[test]
    fn an_answer_stands_until_more_is_fetched() {
        let mut known = Log { asked: Some(150), ..log(Some(0), Some(100), None) };
        known.learn(Log { waiting: true, ..log(None, Some(100), Some(7)) });
        let expected = Log { asked: Some(150), waiting: true, ..log(Some(0), Some(100), Some(7)) };
        assert_eq!(known, expected);
        assert_eq!(behind(Some(10), known), Some(140));
        known.learn(log(None, Some(160), None));
        assert_eq!(behind(Some(10), known), Some(150));
    }

    #[test]
    fn offsets_below_zero_are_unknown() {
        let partition =
            Partition { lo_offset: 3, hi_offset: -1001, committed_offset: -1001, ..Partition::default() };
        assert_eq!(Log::of(&partition), log(Some(3), None, None));
    }
}
