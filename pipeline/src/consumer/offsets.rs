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
    /// Whether records were left out.
    skipped: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: i64,
    /// When the record was written, in milliseconds, where that is known.
    written_at: Option<i64>,
    complete: bool,
}

impl Tracker {
    /// Takes note of a record, which was written at `written_at` (milliseconds since 1970), and returns the serial to
    /// complete it by.
    pub fn deliver(&mut self, offset: i64, written_at: Option<i64>) -> u64 {
        if self.next.is_some_and(|next| offset < next) {
            self.start_over();
        }
        self.next = Some(offset + 1);
        self.window.push_back(Entry { offset, written_at, complete: false });
        self.front + self.window.len() as u64 - 1
    }

    /// Takes note that the next record has this offset or a greater one: what is between does not exist any more. Records that
    /// were delivered stay, unless their log was cut.
    pub fn skip_to(&mut self, offset: i64) {
        if self.next.is_some_and(|next| offset < next) {
            self.start_over();
        }
        self.next = Some(offset);
        self.skipped = true;
    }

    fn start_over(&mut self) {
        self.front += self.window.len() as u64;
        self.window.clear();
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

    /// The offset after the last delivered one, which is where fetching goes on.
    #[must_use]
    pub fn next(&self) -> Option<i64> {
        self.next
    }

    /// When the oldest record that is not complete was written, in milliseconds since 1970.
    #[must_use]
    pub fn oldest(&self) -> Option<i64> {
        self.window.front()?.written_at
    }

    /// How many records are held: delivered, and not yet released because one before them is not complete.
    #[must_use]
    pub fn held(&self) -> usize {
        self.window.len()
    }

    /// Whether the position is another one than at the beginning, so that there is something to commit.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.released > 0 || self.skipped
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
                        model.push((tracker.deliver(offset, Some(offset * 10)), offset, false));
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
                prop_assert_eq!(tracker.held(), model.len() - before);
                prop_assert_eq!(tracker.oldest(), lowest.map(|offset| offset * 10));
                prop_assert_eq!(tracker.next(), model.last().map(|(_, offset, _)| offset + 1));
                last_position = tracker.position();
            }
        }
    }

    #[test]
    fn a_log_that_was_cut_starts_over_and_old_completions_mean_nothing() {
        let mut tracker = Tracker::default();
        let old = [tracker.deliver(10, None), tracker.deliver(11, None)];
        let new = tracker.deliver(10, None);
        for serial in old {
            tracker.complete(serial);
        }
        assert_eq!(tracker.position(), Some(10));
        tracker.complete(new);
        assert_eq!(tracker.position(), Some(11));
    }

    #[test]
    fn what_is_gone_is_left_out_once_everything_before_it_is_complete() {
        let mut tracker = Tracker::default();
        let before = tracker.deliver(3, None);
        assert!(!tracker.has_moved());
        tracker.skip_to(50);
        assert_eq!((tracker.position(), tracker.next(), tracker.has_moved()), (Some(3), Some(50), true));
        tracker.complete(before);
        assert_eq!(tracker.position(), Some(50));
        let after = tracker.deliver(51, None);
        assert_eq!(tracker.position(), Some(51));
        // A log that was made anew.
        tracker.skip_to(0);
        tracker.complete(after);
        assert_eq!((tracker.position(), tracker.held()), (Some(0), 0));
    }

    #[test]
    fn unknown_and_repeated_completions_are_ignored() {
        let mut tracker = Tracker::default();
        tracker.complete(7);
        assert_eq!(tracker.position(), None);
        let serial = tracker.deliver(3, None);
        tracker.complete(serial);
        tracker.complete(serial);
        assert_eq!((tracker.position(), tracker.released()), (Some(4), 1));
    }
}
