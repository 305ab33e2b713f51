//! How many records, and how many of their bytes, may be in flight at once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is in flight, or may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Records.
    pub(crate) records: usize,
    /// Bytes of their keys, values and headers.
    pub(crate) bytes: usize,
}

impl Load {
    /// Whether another record may come in. Its size is not known before it is there, so the last one in may go beyond the
    /// bytes; a limit of less than one record lets one in.
    fn leaves_room(self, most: Self) -> bool {
        self.records == 0 || (self.records < most.records && self.bytes < most.bytes)
    }
}

/// The room for what is in flight, from which each record takes its share.
#[derive(Debug)]
pub(super) struct Budget {
    most: Load,
    taken: Mutex<Load>,
    changed: Condvar,
}

/// The share of one record, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(most: Load) -> Self {
        Self { most, taken: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the share of a record that is there, whether or not there is room for it.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Share {
        let mut taken = self.lock();
        taken.records += 1;
        taken.bytes += bytes;
        Share { budget: Arc::clone(self), bytes }
    }

    /// Waits until there is room and `also` agrees, which is asked whenever a share was given back. `false` when the
    /// patience ended first.
    pub(super) fn wait(&self, patience: Duration, also: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut taken = self.lock();
        loop {
            if taken.leaves_room(self.most) && also() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            taken = self.changed.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.budget.lock();
        taken.records -= 1;
        taken.bytes -= self.bytes;
        drop(taken);
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn budget(records: usize, bytes: usize) -> Arc<Budget> {
        Arc::new(Budget::new(Load { records, bytes }))
    }

    #[test]
    fn records_and_bytes_are_both_limits() {
        for (sizes, fits) in [
            (&[][..], true),
            (&[40][..], true),
            (&[40, 40], true),
            (&[40, 40, 40], false),
            (&[99], true),
            (&[100], false),
            (&[1_000_000], false),
        ] {
            let budget = budget(3, 100);
            let shares: Vec<Share> = sizes.iter().map(|size| budget.take(*size)).collect();
            assert_eq!(budget.wait(NOW, || true), fits, "{sizes:?}");
            drop(shares);
            assert_eq!(*budget.lock(), Load::default());
        }
    }

    #[test]
    fn one_record_always_fits_and_another_condition_counts() {
        assert!(budget(0, 0).wait(NOW, || true));
        assert!(!budget(3, 100).wait(NOW, || false));
    }

    #[test]
    fn who_waits_goes_on_when_a_share_is_given_back() {
        let budget = budget(1, 100);
        let share = budget.take(10);
        assert!(!budget.wait(NOW, || true));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.wait(Duration::from_secs(30), || true));
            drop(share);
            assert!(waiting.join().unwrap());
        });
    }
}
