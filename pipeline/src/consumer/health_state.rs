//! The state of a consumer that its health and its metrics report: whether its topics exist, whether it is in its group,
//! which dependencies are unavailable, and the lag of its partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct HealthState {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    topics: bool,
    member: bool,
    away: BTreeSet<&'static str>,
    lags: BTreeMap<i32, u64>,
}

impl HealthState {
    /// Reports that the topics exist.
    pub(crate) fn topics_exist(&self) {
        self.lock().topics = true;
    }

    /// Reports that the group has assigned this member its partitions, which may be none.
    pub(crate) fn joined_group(&self) {
        self.lock().member = true;
    }

    /// Reports that this member has left the group and has no partitions any more.
    pub(crate) fn left_group(&self) {
        let mut state = self.lock();
        state.member = false;
        state.lags.clear();
    }

    /// Reports that a dependency is unavailable.
    pub(crate) fn dependency_down(&self, dependency: &'static str) {
        self.lock().away.insert(dependency);
    }

    /// Reports that a dependency answers again.
    pub(crate) fn dependency_up(&self, dependency: &'static str) {
        self.lock().away.remove(dependency);
    }

    /// Sets the lag of each partition of this member whose lag is known.
    pub(crate) fn set_lags(&self, lags: BTreeMap<i32, u64>) {
        self.lock().lags = lags;
    }

    pub(crate) fn lags(&self) -> BTreeMap<i32, u64> {
        self.lock().lags.clone()
    }

    /// The reasons why the consumer cannot work at this moment; empty when it can.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let state = self.lock();
        let mut reasons = Vec::new();
        if !state.topics {
            reasons.push("the topics are not known to be there yet".to_owned());
        }
        if !state.member {
            reasons.push("the consumer group has not said which partitions are this member's".to_owned());
        }
        reasons.extend(state.away.iter().map(|dependency| format!("{dependency} is unavailable")));
        reasons
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_ready_with_its_topics_its_group_and_its_dependencies() {
        let health = HealthState::default();
        assert_eq!(health.reasons().len(), 2);
        health.topics_exist();
        assert_eq!(health.reasons(), ["the consumer group has not said which partitions are this member's"]);
        health.joined_group();
        assert_eq!(health.reasons(), [""; 0]);
        health.dependency_down("MongoDB");
        health.dependency_down("Kafka");
        assert_eq!(health.reasons(), ["Kafka is unavailable", "MongoDB is unavailable"]);
        health.dependency_up("Kafka");
        health.dependency_up("MongoDB");
        health.left_group();
        assert_eq!(health.reasons().len(), 1);
    }
}
