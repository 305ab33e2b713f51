//! The queue between async callers and worker threads: what a worker takes is decided when it is free.
//!
//! Pushing never waits (the batcher's permits bound what is inside); taking blocks the worker's own thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many of `queued` items the next of `idle` workers takes: its fair share, so that no worker starves beside
/// one with a full batch, and never more than `max`. 0 only for an empty queue.
#[must_use]
pub(super) fn share(queued: usize, idle: usize, max: usize) -> usize {
    queued.div_ceil(idle.max(1)).min(max.max(1))
}

/// A queue of `T` with any number of producers and consumers.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    idle: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let state = State { items: VecDeque::new(), idle: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// No user code runs under the lock, so a poisoned one is still in order.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item; gives it back if the queue is closed.
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push_back(item);
        let is_awaited = state.idle > 0;
        drop(state);
        // A system call, even where nobody waits.
        if is_awaited {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Waits for items and takes this worker's [`share`] of at most `max` into `batch`, oldest first. `false` once
    /// the queue is closed and empty.
    pub(super) fn take(&self, max: usize, batch: &mut Vec<T>) -> bool {
        let mut state = self.lock();
        state.idle += 1;
        while state.items.is_empty() && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let count = share(state.items.len(), state.idle, max);
        state.idle -= 1;
        batch.extend(state.items.drain(..count));
        let is_awaited = !state.items.is_empty() && state.idle > 0;
        drop(state);
        if is_awaited {
            self.changed.notify_one();
        }
        count > 0
    }

    /// Lets nothing more in; what is inside is still taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Lets nothing more in and drops what is inside.
    pub(super) fn abandon(&self) {
        let items = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.items)
        };
        self.changed.notify_all();
        drop(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_share_is_bounded_and_never_idle(queued in 0_usize..2_000, idle in 0_usize..9, max in 0_usize..300) {
            let taken = share(queued, idle, max);
            prop_assert!(taken <= queued && taken <= max.max(1));
            prop_assert_eq!(taken == 0, queued == 0, "a free worker never leaves work lying");
        }

        #[test]
        fn idle_workers_together_take_all_that_fits(queued in 0_usize..2_000, idle in 1_usize..9, max in 1_usize..300) {
            let shares: Vec<usize> = (1..=idle).rev().scan(queued, |left, idle| {
                let taken = share(*left, idle, max);
                *left -= taken;
                Some(taken)
            }).collect();
            prop_assert_eq!(shares.iter().sum::<usize>(), queued.min(idle * max));
            let (least, most) = (shares.iter().min().copied(), shares.iter().max().copied());
            prop_assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1, "and none has two more than another");
        }

        #[test]
        fn what_goes_in_comes_out_in_order(items in proptest::collection::vec(any::<u8>(), 0..100), max in 1_usize..20) {
            let queue = Queue::new();
            for item in &items {
                prop_assert_eq!(queue.push(*item), Ok(()));
            }
            queue.close();
            prop_assert_eq!(queue.push(0), Err(0));
            let mut out = Vec::new();
            while queue.take(max, &mut out) {}
            prop_assert_eq!(out, items);
        }
    }
}
