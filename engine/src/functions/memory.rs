//! Accounts for memory that a function keeps between calls, within the limit of the executor's memory pool.
//!
//! DataFusion does not tell a scalar function which memory pool its task has. A function that keeps something large is
//! therefore given a [`Memory`], and an executor that starts in this process charges it to its pool. In a process
//! without an executor (a client, a scheduler) the bytes are only counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

use crate::Result;

/// An account of bytes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    bytes: usize,
    /// The reservation in the pool of this process's executor, once there is one.
    reservation: Option<MemoryReservation>,
}

impl Memory {
    /// Creates an empty account.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reserves `bytes` in total, if the executor has room for them. The total only grows.
    ///
    /// Returns an error, which lists the largest consumers, if that would exceed the memory of the executor's tasks
    /// (`ExecutorConfig::memory`).
    pub fn try_hold(&self, bytes: usize) -> Result<()> {
        let mut account = self.account();
        let more = bytes.saturating_sub(account.bytes);
        if let Some(reservation) = account.reservation.as_ref().filter(|_| more > 0) {
            reservation.try_grow(more)?;
        }
        account.bytes += more;
        Ok(())
    }

    /// Counts `bytes` in total that are already allocated, whether or not there is room.
    pub fn hold(&self, bytes: usize) {
        let mut account = self.account();
        let more = bytes.saturating_sub(account.bytes);
        if let Some(reservation) = &account.reservation {
            reservation.grow(more);
        }
        account.bytes += more;
    }

    /// Returns the total.
    pub fn bytes(&self) -> usize {
        self.account().bytes
    }

    /// Charges the account to `pool` from now on, under the name of its function. A process has one executor; if there
    /// are several pools, as in a test, the last one is charged.
    pub(super) fn charge(&self, function: &str, pool: &Arc<dyn MemoryPool>) {
        let reservation = MemoryConsumer::new(format!("function {function}")).register(pool);
        let mut account = self.account();
        // The bytes are already allocated, whether or not there is room.
        reservation.grow(account.bytes);
        account.reservation = Some(reservation);
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        // A panic cannot leave a number half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{FairSpillPool, UnboundedMemoryPool};

    use super::*;

    #[test]
    fn memory_of_a_function_counts_in_the_pool_of_the_executor() {
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
