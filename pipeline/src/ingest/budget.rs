//! What requests may hold of the process's memory, all together.

use prometheus::IntGauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes of all requests that are read or wait for Kafka.
#[derive(Debug)]
pub(super) struct Budget {
    held: AtomicUsize,
    most: usize,
    told: IntGauge,
}

impl Budget {
    pub(super) fn new(most: usize, told: IntGauge) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), most, told })
    }

    /// Whether a request of that many bytes would fit now.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.most.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    /// What a request holds: nothing at first.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        Hold { budget: Arc::clone(self), bytes: AtomicUsize::new(0) }
    }
}

/// The bytes of one request. They are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
}

impl Hold {
    /// Holds more. `false`, and no change, where that would be over the limit.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        let budget = &self.budget;
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= budget.most);
        let fits = budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if fits {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            budget.told.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        fits
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.told.sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_requests_together_have_a_limit_and_give_back_what_they_held() {
        let told = firesteel_common::metrics::gauge("held", "Bytes");
        let budget = Budget::new(100, told.clone());
        let (a, b) = (budget.hold(), budget.hold());
        assert!(a.grow(60) && b.grow(40) && !b.grow(1) && !a.grow(usize::MAX));
        assert_eq!(told.get(), 100);
        assert!(!budget.has_room(1) && budget.has_room(0));
        drop(a);
        assert!(budget.has_room(60) && !budget.has_room(61));
        assert!(b.grow(60) && told.get() == 100);
        drop(b);
        assert!(budget.has_room(100) && told.get() == 0);
    }
}
