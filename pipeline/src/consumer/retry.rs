//! Waiting for a dependency that is down: without limit, with backoff and jitter, and without filling the log.
//!
//! Many records meet the same outage at once. They share one [`OutageLog`], which logs the first failure, a failure with a
//! new message, and the recovery. While an outage lasts the consumer is not ready.

use super::Stats;
use crate::error::{Error, Result, chain};
use firesteel_common::retry::RetryPolicy;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The outages of one dependency, and what was logged of them.
#[derive(Debug)]
pub(crate) struct OutageLog {
    role: &'static str,
    dependency: &'static str,
    stats: Arc<Stats>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    since: Instant,
    message: String,
    failures: u64,
}

/// An event that is worth a line in the log.
#[derive(Debug, PartialEq, Eq)]
enum Announcement {
    Began,
    Changed { failures: u64 },
    Ended { after: Duration, failures: u64 },
}

impl State {
    fn failed(&mut self, message: &str, now: Instant) -> Option<Announcement> {
        match &mut self.current {
            None => {
                self.current = Some(Current { since: now, message: message.to_owned(), failures: 1 });
                Some(Announcement::Began)
            }
            Some(current) => {
                current.failures += 1;
                (current.message != message).then(|| {
                    message.clone_into(&mut current.message);
                    Announcement::Changed { failures: current.failures }
                })
            }
        }
    }

    fn succeeded(&mut self, now: Instant) -> Option<Announcement> {
        self.current.take().map(|current| Announcement::Ended {
            after: now.saturating_duration_since(current.since),
            failures: current.failures,
        })
    }
}

impl OutageLog {
    pub(crate) fn new(role: &'static str, dependency: &'static str, stats: Arc<Stats>) -> Self {
        Self { role, dependency, stats, state: Mutex::default() }
    }

    /// Takes note of a failed attempt.
    pub(crate) fn failed(&self, message: &str) {
        let mut state = self.lock();
        let announcement = state.failed(message, Instant::now());
        if announcement == Some(Announcement::Began) {
            // Under the lock, or the news of a later recovery might come first.
            self.stats.health.dependency_down(self.dependency);
        }
        drop(state);
        self.say(announcement, message);
    }

    /// Takes note of a successful attempt.
    pub(crate) fn succeeded(&self) {
        let mut state = self.lock();
        let announcement = state.succeeded(Instant::now());
        if announcement.is_some() {
            self.stats.health.dependency_up(self.dependency);
        }
        drop(state);
        self.say(announcement, "");
    }

    /// Whether the last attempt failed.
    pub(crate) fn is_on(&self) -> bool {
        self.lock().current.is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, announcement: Option<Announcement>, error: &str) {
        let (role, dependency) = (self.role, self.dependency);
        match announcement {
            None => {}
            Some(Announcement::Began) => {
                tracing::warn!(
                    role,
                    dependency,
                    error,
                    "dependency is unavailable, retrying until it is back"
                );
            }
            Some(Announcement::Changed { failures }) => {
                tracing::warn!(role, dependency, error, failures, "dependency is still unavailable");
            }
            Some(Announcement::Ended { after, failures }) => {
                let seconds = after.as_secs_f64();
                tracing::info!(role, dependency, seconds, failures, "dependency is back");
            }
        }
    }
}

/// Attempts at a dependency until one succeeds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry<'a> {
    pub(crate) policy: &'a RetryPolicy,
    pub(crate) outage: &'a OutageLog,
    pub(crate) stats: &'a Stats,
    pub(crate) shutdown: &'a CancellationToken,
}

impl Retry<'_> {
    /// Calls `attempt` until it succeeds or fails for good. `None` when the shutdown came first; an attempt that is under
    /// way then is dropped.
    pub(crate) async fn run<T, F>(self, mut attempt: impl FnMut() -> F) -> Result<Option<T>>
    where
        F: Future<Output = Result<T>>,
    {
        let mut backoff = self.policy.backoff();
        loop {
            let result = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(None),
                result = attempt() => result,
            };
            match result {
                Ok(value) => {
                    self.outage.succeeded();
                    return Ok(Some(value));
                }
                Err(error) if error.is_transient() => self.note(&error),
                Err(error) => return Err(error),
            }
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    fn note(&self, error: &Error) {
        self.stats.retries.inc();
        self.outage.failed(&chain(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_once_then_on_change_then_when_it_ends() {
        let start = Instant::now();
        let mut state = State::default();
        assert_eq!(state.succeeded(start), None);
        assert_eq!(state.failed("refused", start), Some(Announcement::Began));
        assert_eq!(state.failed("refused", start), None);
        assert_eq!(state.failed("not primary", start), Some(Announcement::Changed { failures: 3 }));
        assert_eq!(state.failed("not primary", start), None);
        let after = Duration::from_secs(7);
        assert_eq!(state.succeeded(start + after), Some(Announcement::Ended { after, failures: 4 }));
        assert_eq!(state.failed("refused", start), Some(Announcement::Began));
    }

    #[tokio::test]
    async fn a_shutdown_ends_the_waiting_and_a_permanent_error_ends_the_tries() {
        let (stats, shutdown) = (Arc::new(Stats::default()), CancellationToken::new());
        let outage = OutageLog::new("r", "d", Arc::clone(&stats));
        let policy = RetryPolicy { initial: Duration::from_millis(1), ..RetryPolicy::default() };
        let retry = Retry { policy: &policy, outage: &outage, stats: &stats, shutdown: &shutdown };
        let down = || Error::MongoUnconfirmed {
            database: "d".into(),
            collection: "c".into(),
            code: 91,
            message: "shutting down".into(),
        };
        let mut tries = 0;
        let result = retry.run(|| {
            tries += 1;
            let outcome = if tries < 4 { Err(down()) } else { Ok(tries) };
            async { outcome }
        });
        assert_eq!(result.await.expect("transient"), Some(4));
        assert_eq!(stats.snapshot().retries, 3);

        let permanent = retry.run(|| async { Err::<(), _>(Error::Stopped { task: "t" }) }).await;
        assert!(permanent.is_err());

        let wait = retry.run(|| async { Err::<(), _>(down()) });
        let (result, ()) = tokio::join!(wait, async { shutdown.cancel() });
        assert_eq!(result.expect("shut down"), None);

        let unavailable = || stats.health.reasons().contains(&"d is unavailable".to_owned());
        outage.failed("refused");
        assert!(unavailable());
        outage.succeeded();
        assert!(!unavailable());
    }
}
