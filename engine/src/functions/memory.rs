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

    /// Accounts for `bytes` more, which are held until the process ends.
    ///
    /// An error, which names who holds how much, where tasks of this executor may not use so much more
    /// (`--memory-pool-size`).
    pub fn grow(&self, bytes: usize) -> Result<()> {
        let mut held = self.held();
        if let Some(reservation) = &held.reservation {
            reservation.try_grow(bytes)?;
        }
        held.bytes += bytes;
        Ok(())
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
        memory.grow(40).unwrap();
        assert_eq!(memory.bytes(), 40);

        let small: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(100));
        memory.charge("f", &small);
        assert_eq!(small.reserved(), 40);
        memory.clone().grow(50).unwrap();
        assert_eq!((small.reserved(), memory.bytes()), (90, 90));
        let error = memory.grow(11).unwrap_err().to_string();
        assert!(error.contains("function f"), "{error}");
        assert_eq!((small.reserved(), memory.bytes()), (90, 90), "what was refused does not count");

        let next: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        memory.charge("f", &next);
        assert_eq!((small.reserved(), next.reserved()), (0, 90));
    }
}
