//! What a query reads at: one point for all of its scans.
//!
//! The scans of a query are planned one after the other. What the first of them finds, such as a cluster time or the ends of
//! a topic, is kept for the others, so that all of them see the same.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use datafusion::catalog::Session;

use crate::Result;

/// How many recent queries keep what they read at.
const REMEMBERED_QUERIES: usize = 256;

/// Names one query of one session.
pub(crate) type QueryKey = (String, i64);

/// Names the query that is being planned: all its scans are planned with one state, which is stamped once.
pub(crate) fn query_key(state: &dyn Session) -> Option<QueryKey> {
    let started = state.execution_props().query_execution_start_time?;
    Some((state.session_id().to_owned(), started.timestamp_nanos_opt()?))
}

/// The points in time at which recent queries read, by query and key. All scans of one query get the same value for a key.
#[derive(Debug)]
pub(crate) struct PerQuery<K, V> {
    known: Mutex<VecDeque<(QueryKey, K, V)>>,
}

impl<K, V> Default for PerQuery<K, V> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<K: PartialEq, V: Clone> PerQuery<K, V> {
    /// The value of `key` for `query`: the result of `now` the first time that the query asks, and the same from then on.
    pub(crate) async fn once(
        &self,
        query: Option<QueryKey>,
        key: K,
        now: impl AsyncFnOnce() -> Result<V>,
    ) -> Result<V> {
        let find = |known: &VecDeque<(QueryKey, K, V)>, query: &QueryKey| {
            known.iter().find(|(of, what, _)| of == query && *what == key).map(|(.., value)| value.clone())
        };
        let Some(query) = query else { return now().await };
        if let Some(value) = find(&self.known.lock().unwrap_or_else(PoisonError::into_inner), &query) {
            return Ok(value);
        }
        let value = now().await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Another scan of the query may have been faster.
        if let Some(value) = find(&known, &query) {
            return Ok(value);
        }
        known.push_back((query, key, value.clone()));
        if known.len() > REMEMBERED_QUERIES {
            known.pop_front();
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[tokio::test]
    async fn a_query_reads_at_one_point_and_the_next_at_another() {
        let reads: PerQuery<&str, u32> = PerQuery::default();
        let query = |n: i64| Some(("session".to_owned(), n));
        let at = async |query, key, now| reads.once(query, key, async || Ok(now)).await.unwrap();
        assert_eq!(at(query(1), "images", 10).await, 10);
        assert_eq!(at(query(1), "images", 11).await, 10, "the same query");
        assert_eq!(at(query(1), "predictions", 12).await, 12, "another topic");
        assert_eq!(at(query(2), "images", 13).await, 13, "another query");
        assert_eq!(at(None, "images", 14).await, 14, "no query to share with");
        // One that fails is asked again.
        let failed =
            reads.once(query(3), "images", async || Err(Error::Embedded { message: "no".into() })).await;
        assert!(failed.is_err());
        assert_eq!(at(query(3), "images", 15).await, 15);
        for n in 4..4 + i64::try_from(REMEMBERED_QUERIES).unwrap() {
            at(query(n), "images", 0).await;
        }
        assert_eq!(at(query(1), "images", 16).await, 16, "old queries are forgotten");
    }
}
