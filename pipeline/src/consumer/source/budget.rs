//! How many records, and how many of their bytes, may be in flight at once.
//!
//! Who found no room goes on when there is some again for many records, or soon after there is some for one: woken for each
//! record that completes, the polling thread would cost more than what it polls.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long room for a few records may wait for more of it.
const GATHER: Duration = Duration::from_millis(5);
/// Room for many records is this share of all of it.
const MANY: usize = 8;

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

    /// Whether many other records may come in.
    fn leaves_much_room(self, most: Self) -> bool {
        let below = |taken: usize, most: usize| taken <= most - (most / MANY).min(most);
        self.records == 0 || (below(self.records, most.records) && below(self.bytes, most.bytes))
    }
}

/// The room for what is in flight, from which each record takes its share.
#[derive(Debug)]
pub(super) struct Budget {
    most: Load,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: Load,
    /// What is waited for.
    awaited: Option<Awaited>,
}

/// When the thread that waits is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// As soon as a share is given back.
    Any,
    /// When there is much room.
    Much,
}

/// The share of one record, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(most: Load) -> Self {
        Self { most, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the share of a record that is there, whether or not there is room for it.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Share {
        let mut state = self.lock();
        state.taken.records += 1;
        state.taken.bytes += bytes;
        Share { budget: Arc::clone(self), bytes }
    }

    /// Waits until there is room and `also` agrees, which is asked when shares were given back. `false` when the patience ended
    /// first. Only one thread waits at a time.
    pub(super) fn wait(&self, patience: Duration, also: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        let had_room = state.taken.leaves_room(self.most);
        let mut enough = None;
        loop {
            let now = Instant::now();
            let (until, awaited) = if state.taken.leaves_room(self.most) && also() {
                let enough = *enough.get_or_insert(deadline.min(now + GATHER));
                if had_room || state.taken.leaves_much_room(self.most) || enough <= now {
                    return true;
                }
                (enough, Awaited::Much)
            } else if deadline <= now {
                return false;
            } else {
                (deadline, Awaited::Any)
            };
            state.awaited = Some(awaited);
            let left = until.saturating_duration_since(now);
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.awaited = None;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.taken.records -= 1;
        state.taken.bytes -= self.bytes;
        // Waking is a system call, even where nobody waits.
        let is_awaited = match state.awaited {
            Some(Awaited::Any) => true,
            Some(Awaited::Much) => state.taken.leaves_much_room(self.budget.most),
            None => false,
        };
        drop(state);
        if is_awaited {
            self.budget.changed.notify_all();
        }
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
            assert_eq!(budget.lock().taken, Load::default());
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

    #[test]
    fn who_found_no_room_is_let_in_when_there_is_much_or_after_a_moment() {
        let budget = budget(16, 1_000_000);
        let mut shares: Vec<Share> = (0..16).map(|_| budget.take(1)).collect();
        let wait = || {
            let began = Instant::now();
            (budget.wait(Duration::from_secs(30), || true), began.elapsed())
        };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(wait);
            shares.pop();
            let (let_in, after) = waiting.join().unwrap();
            assert!(
                let_in && after < Duration::from_secs(20),
                "{after:?}: room for one is room, if nothing more comes"
            );
            shares.push(budget.take(1));
            let waiting = scope.spawn(wait);
            shares.truncate(14);
            let (let_in, after) = waiting.join().unwrap();
            assert!(let_in && after < Duration::from_secs(20), "{after:?}: it was told");
        });
        assert!(budget.wait(NOW, || true), "who finds room does not wait");
        shares.push(budget.take(1));
        assert!(budget.wait(NOW, || true), "even for one");
        shares.push(budget.take(1));
        assert!(!budget.wait(NOW, || true));
    }

    #[test]
    fn much_room_is_an_eighth_of_both() {
        let most = Load { records: 80, bytes: 800 };
        for (records, bytes, much) in
            [(70, 700, true), (71, 700, false), (70, 701, false), (0, 900, true), (80, 0, false)]
        {
            assert_eq!(Load { records, bytes }.leaves_much_room(most), much, "{records} {bytes}");
        }
        assert!(Load { records: 3, bytes: 0 }.leaves_much_room(Load { records: 4, bytes: usize::MAX }));
    }
}
