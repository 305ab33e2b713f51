//! What a query that only reads does when the scheduler goes away: it waits until a scheduler answers again.
//!
//! A scheduler keeps its jobs in memory, so they are lost with it. Whoever runs it starts it again within seconds, and its
//! executors register by themselves. A query that only reads is then submitted once more, see [`super::Run`].

use std::time::Duration;

use firesteel_common::retry::RetryPolicy;
use tokio::time::Instant;

use crate::jobs::JobClient;
use crate::{ConfigField, Error, Result};

/// The pauses between two questions whether the scheduler is back.
const ASK: RetryPolicy =
    RetryPolicy { initial: Duration::from_millis(100), maximum: Duration::from_secs(1), factor: 2.0 };

/// The way to the scheduler, which a session keeps among its settings.
#[derive(Clone, Debug)]
pub(crate) struct Reconnect {
    jobs: JobClient,
    grace: Duration,
}

impl Reconnect {
    /// Waits for the scheduler of `jobs` for at most `grace`.
    pub(crate) fn new(jobs: JobClient, grace: Duration) -> Self {
        Self { jobs, grace }
    }

    /// Returns once the scheduler answers, and whether it had gone. Says so once.
    pub(super) async fn wait(&self) -> Result<bool> {
        let gone = || {
            tracing::warn!(
                scheduler = self.jobs.address(),
                grace_seconds = self.grace.as_secs(),
                "the scheduler went away: the query is submitted again as soon as it is back"
            );
        };
        let answers = || async {
            match self.jobs.activity("").await {
                // It is there. Why it refuses, the query is told.
                Ok(_) | Err(Error::Refused { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        };
        until_back(ASK, self.grace, gone, answers).await.map_err(|error| Error::Unreachable {
            role: "the scheduler",
            address: self.jobs.address().to_owned(),
            setting: ConfigField::Scheduler,
            message: format!(
                "it went away while the query ran, and was not back within {} s ({}): {}",
                self.grace.as_secs(),
                ConfigField::Reconnect,
                reason(&error)
            ),
        })
    }
}

/// What the system said.
fn reason(error: &Error) -> String {
    match error {
        Error::Unreachable { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// Asks until there is an answer, for at most `grace`, and returns whether it was missing at first. The first time that it
/// is, `gone` is called; the error is the last one.
async fn until_back<F, E>(
    policy: RetryPolicy,
    grace: Duration,
    gone: impl FnOnce(),
    mut ask: impl FnMut() -> F,
) -> Result<bool, E>
where
    F: Future<Output = Result<(), E>>,
{
    let Err(mut error) = ask().await else { return Ok(false) };
    gone();
    let (deadline, mut pauses) = (Instant::now() + grace, policy.backoff());
    loop {
        let pause = pauses.next_delay();
        if Instant::now() + pause > deadline {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        match ask().await {
            Ok(()) => return Ok(true),
            Err(next) => error = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How waiting ends where the first `missing` questions have no answer: the result, how often it was said that the
    /// scheduler is gone, and after how long.
    async fn waited(missing: usize) -> (Result<bool, usize>, usize, Duration) {
        let (begun, mut said, mut asked) = (Instant::now(), 0, 0);
        let milliseconds = Duration::from_millis;
        let policy = RetryPolicy { initial: milliseconds(1), maximum: milliseconds(5), factor: 2.0 };
        let ended = until_back(
            policy,
            milliseconds(300),
            || said += 1,
            || {
                asked += 1;
                std::future::ready(if asked <= missing { Err(asked) } else { Ok(()) })
            },
        );
        let ended = ended.await;
        (ended, said, begun.elapsed())
    }

    #[tokio::test]
    async fn a_scheduler_is_waited_for_within_the_grace_and_that_is_said_once() {
        let (ended, said, _) = waited(0).await;
        assert_eq!((ended, said), (Ok(false), 0));
        let (ended, said, _) = waited(10).await;
        assert_eq!((ended, said), (Ok(true), 1));
        let (ended, said, took) = waited(usize::MAX).await;
        assert!(ended.is_err());
        assert_eq!(said, 1);
        assert!(took > Duration::from_millis(280), "{took:?}");
    }
}
