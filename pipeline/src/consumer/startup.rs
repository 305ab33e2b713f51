//! The first contact with a dependency: waited for by a consumer that runs for long, an error after 10 s for one
//! that was told to fail fast.

use super::retry::Retry;
use crate::error::Result;
use crate::kafka::{KafkaConfig, TopicSpec, ensure_topics};

/// Sees that Kafka answers and the topics exist. `false` when the shutdown came first.
pub(super) async fn topics(
    kafka: &KafkaConfig,
    role: &str,
    topics: &[TopicSpec],
    retry: Retry<'_>,
    fail_fast: bool,
) -> Result<bool> {
    let there = first_contact(retry, fail_fast, || ensure_topics(kafka, role, topics)).await?.is_some();
    if there {
        retry.stats.standing.topics_are_there();
    }
    Ok(there)
}

/// Calls `contact` until it succeeds, or once if failing fast. `None` when the shutdown came first.
pub(super) async fn first_contact<T, F>(
    retry: Retry<'_>,
    fail_fast: bool,
    mut contact: impl FnMut() -> F,
) -> Result<Option<T>>
where
    F: Future<Output = Result<T>>,
{
    if fail_fast {
        return tokio::select! {
            biased;
            () = retry.shutdown.cancelled() => Ok(None),
            result = contact() => result.map(Some),
        };
    }
    retry.run(contact).await
}
