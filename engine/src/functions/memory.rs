//! What a function holds on to between calls, counted among what tasks of its process may use.
//!
//! A scalar function is not told which memory pool its task has. So whoever writes one that keeps something large gives
//! it a [`Memory`], and an executor that starts in this process charges that to its pool. In a process without an
//! executor (a client, a scheduler) it only counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

use crate::Result;

/// An account of bytes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    /// In the pool of this process' executor, once there is one.
    reservation: Option<MemoryReservation>,
}

impl Memory {
    /// An account of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks whether `bytes` may be held in all, and counts them; what a function holds on to only grows.
    ///
    /// An error, which names who holds how much, where tasks of this executor may not use so much more
    /// (`ExecutorConfig::memory`).
    pub fn try_hold(&self, bytes: usize) -> Result<()> {
        let mut held = self.held();
        let more = bytes.saturating_sub(held.bytes);
        if let Some(reservation) = held.reservation.as_ref().filter(|_| more > 0) {
            reservation.try_grow(more)?;
        }
        held.bytes += more;
        Ok(())
    }

    /// Counts `bytes` in all, which are held already, whether there is room or not.
    pub fn hold(&self, bytes: usize) {
        let mut held = self.held();
        let more = bytes.saturating_sub(held.bytes);
        if let Some(reservation) = &held.reservation {
            reservation.grow(more);
        }
        held.bytes += more;
    }

    /// What is accounted for.
    pub fn bytes(&self) -> usize {
        self.held().bytes
    }

    /// From now on it counts in `pool`, under the name of its function. A process has one executor: of several pools,
    /// as in a test, it counts in the last one.
    pub(super) fn charge(&self, function: &str, pool: &Arc<dyn MemoryPool>) {
        let reservation = MemoryConsumer::new(format!("function {function}")).register(pool);
        let mut held = self.held();
        // It is held already, whether there is room or not.
        reservation.grow(held.bytes);
        held.reservation = Some(reservation);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // A number is never half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{FairSpillPool, UnboundedMemoryPool};

    use super::*;

    #[test]
    fn what_a_function_holds_counts_in_the_pool_of_the_executor() {
        let memory = Memory::new();
        memory.try_hold(40).unwrap();
        assert_eq!(memory.bytes(), 40);

        let small: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(100));
        memory.charge("f", &small);
        assert_eq!(small.reserved(), 40);
        memory.clone().try_hold(90).unwrap();
        assert_eq!((small.reserved(), memory.bytes()), (90, 90));
        let error = memory.try_hold(101).unwrap_err().to_string();
        assert!(error.contains("function f"), "{error}");
        assert_eq!((small.reserved(), memory.bytes()), (90, 90), "what was refused does not count");
        memory.try_hold(7).unwrap();
        assert_eq!((small.reserved(), memory.bytes()), (90, 90), "it only grows");
        memory.hold(7);
        memory.hold(110);
        assert_eq!((small.reserved(), memory.bytes()), (110, 110), "what is there counts, room or not");

        let next: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        memory.charge("f", &next);
        assert_eq!((small.reserved(), next.reserved()), (0, 110));
    }
}
