//! How a consumer stands: whether its topics are there, whether it is in its group, which dependency is away, how far
//! its partitions are behind. Changes seldom, and is read when somebody asks for health or metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Standing {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    topics: bool,
    member: bool,
    away: BTreeSet<&'static str>,
    lags: BTreeMap<i32, u64>,
}

impl Standing {
    /// The topics exist.
    pub(crate) fn topics_are_there(&self) {
        self.lock().topics = true;
    }

    /// The group has said which partitions are this member's; they may be none.
    pub(crate) fn has_joined(&self) {
        self.lock().member = true;
    }

    /// The group goes on without this member, which has no partitions any more.
    pub(crate) fn has_left(&self) {
        let mut state = self.lock();
        state.member = false;
        state.lags.clear();
    }

    /// The last that was heard of a dependency was a failure.
    pub(crate) fn goes_away(&self, dependency: &'static str) {
        self.lock().away.insert(dependency);
    }

    /// A dependency answers again.
    pub(crate) fn comes_back(&self, dependency: &'static str) {
        self.lock().away.remove(dependency);
    }

    /// How many records each partition that this member has is behind; a partition that is not named is not its own, or
    /// nothing is known of it.
    pub(crate) fn set_lags(&self, lags: BTreeMap<i32, u64>) {
        self.lock().lags = lags;
    }

    pub(crate) fn lags(&self) -> BTreeMap<i32, u64> {
        self.lock().lags.clone()
    }

    /// Why the consumer cannot work at this moment; nothing when it can.
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
        let standing = Standing::default();
        assert_eq!(standing.reasons().len(), 2);
        standing.topics_are_there();
        assert_eq!(
            standing.reasons(),
            ["the consumer group has not said which partitions are this member's"]
        );
        standing.has_joined();
        assert_eq!(standing.reasons(), [""; 0]);
        standing.goes_away("MongoDB");
        standing.goes_away("Kafka");
        assert_eq!(standing.reasons(), ["Kafka is unavailable", "MongoDB is unavailable"]);
        standing.comes_back("Kafka");
        standing.comes_back("MongoDB");
        standing.has_left();
        assert_eq!(standing.reasons().len(), 1);
    }
}
