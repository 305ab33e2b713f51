//! The offset of a partition that may be committed while its records complete in any order. Pure.
//!
//! **Invariant:** every record delivered before [`Tracker::position`] is complete. So a consumer that starts again
//! at a committed position repeats records, and never skips one.
//!
//! Offsets need not be dense (compaction and transactions leave gaps), so the tracker knows the records it was
//! given, each under a serial number. A record is completed by its serial, not by its offset: when a partition's
//! log is cut and offsets run backwards, the tracker starts over and late completions of the old records, whose
//! offsets may now name other records, mean nothing.

use std::collections::VecDeque;

/// The records of one partition between delivery and commit.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    /// Delivered and not yet released, in order of delivery; the front is incomplete.
    window: VecDeque<Entry>,
    /// The serial of the front of the window, or of the next delivery when the window is empty.
    front: u64,
    /// The offset after the last delivered one.
    next: Option<i64>,
    /// The number of records that were released.
    released: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: i64,
    complete: bool,
}

impl Tracker {
    /// Takes note of a record and returns the serial to complete it by.
    pub fn deliver(&mut self, offset: i64) -> u64 {
        if self.next.is_some_and(|next| offset < next) {
            self.front += self.window.len() as u64;
            self.window.clear();
        }
        self.next = Some(offset + 1);
        self.window.push_back(Entry { offset, complete: false });
        self.front + self.window.len() as u64 - 1
    }

    /// Takes note that what came out of a record is durable. A serial that is unknown, or already complete, is
    /// ignored.
    pub fn complete(&mut self, serial: u64) {
        let Some(index) = serial.checked_sub(self.front).and_then(|index| usize::try_from(index).ok()) else {
            return;
        };
        if let Some(entry) = self.window.get_mut(index) {
            entry.complete = true;
        }
        while self.window.front().is_some_and(|entry| entry.complete) {
            self.window.pop_front();
            self.front += 1;
            self.released += 1;
        }
    }

    /// The offset to commit: the lowest delivered one that is not complete, or the one after the last delivered
    /// when all are. `None` before the first delivery.
    #[must_use]
    pub fn position(&self) -> Option<i64> {
        self.window.front().map(|entry| entry.offset).or(self.next)
    }

    /// How many records lie before the position since the tracker was made.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        /// Deliver the record this far after the last one.
        Deliver(i64),
        /// Complete the n-th record delivered so far (modulo).
        Complete(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![(1_i64..5).prop_map(Step::Deliver), (0_usize..100).prop_map(Step::Complete)];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn the_position_is_the_lowest_incomplete_offset(steps in steps()) {
            let mut tracker = Tracker::default();
            let mut model: Vec<(u64, i64, bool)> = Vec::new();
            let mut last_position = None;
            for step in steps {
                match step {
                    Step::Deliver(gap) => {
                        let offset = model.last().map_or(0, |(_, offset, _)| *offset) + gap;
                        model.push((tracker.deliver(offset), offset, false));
                    }
                    Step::Complete(n) if !model.is_empty() => {
                        let n = n % model.len();
                        model[n].2 = true;
                        tracker.complete(model[n].0);
                    }
                    Step::Complete(_) => {}
                }
                let lowest = model.iter().find(|(_, _, complete)| !complete).map(|(_, offset, _)| *offset);
                let expected = lowest.or(model.last().map(|(_, offset, _)| offset + 1));
                prop_assert_eq!(tracker.position(), expected);
                prop_assert!(last_position <= tracker.position(), "a position never goes back");
                let before = model.iter().take_while(|(_, _, complete)| *complete).count();
                prop_assert_eq!(tracker.released(), before as u64);
                last_position = tracker.position();
            }
        }
    }

    #[test]
    fn a_log_that_was_cut_starts_over_and_old_completions_mean_nothing() {
        let mut tracker = Tracker::default();
        let old = [tracker.deliver(10), tracker.deliver(11)];
        let new = tracker.deliver(10);
        for serial in old {
            tracker.complete(serial);
        }
        assert_eq!(tracker.position(), Some(10));
        tracker.complete(new);
        assert_eq!(tracker.position(), Some(11));
    }

    #[test]
    fn unknown_and_repeated_completions_are_ignored() {
        let mut tracker = Tracker::default();
        tracker.complete(7);
        assert_eq!(tracker.position(), None);
        let serial = tracker.deliver(3);
        tracker.complete(serial);
        tracker.complete(serial);
        assert_eq!((tracker.position(), tracker.released()), (Some(4), 1));
    }
}
