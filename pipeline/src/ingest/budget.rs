//! What requests may hold of the process's memory, all together and those of one user.

use prometheus::IntGauge;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bytes of all requests that are read or wait for Kafka.
#[derive(Debug)]
pub(super) struct Budget {
    held: Mutex<Held>,
    most: usize,
    /// The most that one user has of it.
    share: usize,
    told: IntGauge,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// Of users that hold something.
    users: HashMap<Arc<str>, usize>,
}

impl Budget {
    /// A budget of `most` bytes, of which a user has half at most, and `one` request always fits.
    pub(super) fn new(most: usize, one: usize, told: IntGauge) -> Arc<Self> {
        let most = most.max(one);
        Arc::new(Self { held: Mutex::default(), most, share: one.max(most / 2), told })
    }

    /// What a request of a user holds: nothing at first. Where nobody has a name, there are no shares.
    pub(super) fn hold(self: &Arc<Self>, user: Option<&str>) -> Hold {
        Hold { budget: Arc::clone(self), user: user.map(Arc::from), bytes: Mutex::new(0) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// What there would be with more bytes, of all and of a user, where the limits allow it.
    fn with(&self, bytes: usize, user: Option<&str>, budget: &Budget) -> Option<(usize, usize)> {
        let all = self.all.checked_add(bytes).filter(|sum| *sum <= budget.most)?;
        let Some(user) = user else { return Some((all, 0)) };
        let own = self.users.get(user).copied().unwrap_or(0);
        own.checked_add(bytes).filter(|sum| *sum <= budget.share).map(|own| (all, own))
    }
}

/// The bytes of one request. They are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    budget: Arc<Budget>,
    user: Option<Arc<str>>,
    bytes: Mutex<usize>,
}

impl Hold {
    /// Whether so many bytes more would fit now.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.budget.held().with(bytes, self.user.as_deref(), &self.budget).is_some()
    }

    /// Holds more. `false`, and no change, where that would be over a limit.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        let budget = &self.budget;
        let mut held = budget.held();
        let Some((all, own)) = held.with(bytes, self.user.as_deref(), budget) else { return false };
        held.all = all;
        if let Some(user) = &self.user {
            held.users.insert(Arc::clone(user), own);
        }
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        budget.told.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        true
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.budget.held();
        held.all = held.all.saturating_sub(bytes);
        if let Some(user) = &self.user {
            let left = held.users.get(user).map_or(0, |own| own.saturating_sub(bytes));
            if left == 0 {
                held.users.remove(user);
            } else {
                held.users.insert(Arc::clone(user), left);
            }
        }
        self.budget.told.sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_requests_together_have_a_limit_and_give_back_what_they_held() {
        let told = firesteel_common::metrics::gauge("held", "Bytes");
        let budget = Budget::new(100, 0, told.clone());
        let (a, b) = (budget.hold(None), budget.hold(None));
        assert!(a.grow(60) && b.grow(40) && !b.grow(1) && !a.grow(usize::MAX));
        assert_eq!(told.get(), 100);
        assert!(!b.has_room(1) && b.has_room(0));
        drop(a);
        assert!(b.has_room(60) && !b.has_room(61));
        assert!(b.grow(60) && told.get() == 100);
        drop(b);
        assert!(budget.hold(None).has_room(100) && told.get() == 0);
    }

    #[test]
    fn a_user_has_half_and_one_request_always_fits() {
        let told = firesteel_common::metrics::gauge("held", "Bytes");
        let budget = Budget::new(100, 30, told.clone());
        let [a, b] = [(); 2].map(|()| budget.hold(Some("ada")));
        assert!(a.grow(30) && b.grow(20) && !b.grow(1) && !a.has_room(1));
        let c = budget.hold(Some("bob"));
        assert!(c.grow(50) && !c.has_room(1), "another user has the rest");
        drop(a);
        assert!(b.grow(30) && !b.has_room(1) && !c.has_room(1));
        drop((b, c));
        assert!(budget.held().users.is_empty() && told.get() == 0);
        let small = Budget::new(0, 40, told.clone());
        let only = small.hold(Some("ada"));
        assert!(only.grow(40) && !only.has_room(1));
    }
}
