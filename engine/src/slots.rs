//! How many tasks the cluster runs at once, as far as this process knows.
//!
//! Scans are planned in the scheduler, and how many partitions they are worth follows from the executors, which only
//! the scheduler knows. Whoever keeps track of executors calls [`Slots::set`] with the sum of the vcores of those that
//! are alive, whenever that changes; [`Slots::scan_partitions`] is what a source asks. A client and an executor
//! never set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A shared count of task slots. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Arc<AtomicUsize>);

impl Slots {
    /// Tells how many tasks the executors that are alive run at once. 0: unknown.
    pub(crate) fn set(&self, slots: usize) {
        self.0.store(slots, Ordering::Relaxed);
    }

    /// How many tasks the executors run at once; 0: unknown.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// How many partitions a scan should have: what the user asked for, else as many as there are slots, and not
    /// fewer than the session's `target_partitions`. At least 1.
    pub(crate) fn scan_partitions(&self, asked_for: Option<usize>, target_partitions: usize) -> usize {
        asked_for.unwrap_or_else(|| target_partitions.max(self.get())).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_the_slots_unless_a_number_was_asked_for() {
        let slots = Slots::default();
        for (known, asked_for, target, expected) in [
            (0, None, 4, 4),
            (0, None, 0, 1),
            (16, None, 4, 16),
            (2, None, 4, 4),
            (16, Some(3), 4, 3),
            (16, Some(0), 4, 1),
            (16, Some(64), 4, 64),
        ] {
            slots.clone().set(known);
            assert_eq!(slots.scan_partitions(asked_for, target), expected, "{known} slots, {asked_for:?}");
        }
    }
}
