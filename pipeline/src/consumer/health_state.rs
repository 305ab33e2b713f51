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
    partitions: BTreeMap<i32, Standing>,
}

/// Where a consumer stands in one of its partitions; `None` where that is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Standing {
    /// Records that are not complete, those in flight included.
    pub(crate) lag: Option<u64>,
    /// Records that may be removed before the first one that is not complete.
    pub(crate) headroom: Option<u64>,
    /// Seconds until retention may remove the oldest record that is in flight.
    pub(crate) seconds_left: Option<f64>,
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
        state.partitions.clear();
    }

    /// Reports that a dependency is unavailable.
    pub(crate) fn dependency_down(&self, dependency: &'static str) {
        self.lock().away.insert(dependency);
    }

    /// Reports that a dependency answers again.
    pub(crate) fn dependency_up(&self, dependency: &'static str) {
        self.lock().away.remove(dependency);
    }

    /// Sets where this member stands in each of its partitions.
    pub(crate) fn set_partitions(&self, partitions: BTreeMap<i32, Standing>) {
        self.lock().partitions = partitions;
    }

    pub(crate) fn partitions(&self) -> BTreeMap<i32, Standing> {
        self.lock().partitions.clone()
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
