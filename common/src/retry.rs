//! How long to wait between attempts: exponential growth with full jitter.
//!
//! The delay before a further attempt is uniform over `0 ..= min(maximum, initial × factor^n)`. Full jitter spreads the
//! attempts of many clients that failed at the same moment; see "Exponential Backoff And Jitter", AWS Architecture Blog,
//! 2015. The source of randomness is an argument, so a test knows every delay. Whether an error is worth another attempt,
//! and for how long, is decided by the caller.

use std::time::{Duration, Instant};

/// How the bound of the delays grows.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Upper bound of the first delay.
    pub initial: Duration,
    /// Upper bound of every delay.
    pub maximum: Duration,
    /// Growth of the bound from one attempt to the next; at least 1.
    pub factor: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { initial: Duration::from_millis(100), maximum: Duration::from_secs(5), factor: 2.0 }
    }
}

impl RetryPolicy {
    /// The upper bound of the delay after failed attempt `attempt`, counted from 0.
    #[must_use]
    pub fn bound(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        if seconds.is_finite() && seconds < self.maximum.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.maximum
        }
    }

    /// The delay after failed attempt `attempt`, counted from 0. `random` lies between 0 and 1.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        self.bound(attempt).mul_f64(random.clamp(0.0, 1.0))
    }

    /// Starts a run of attempts with the thread's random numbers.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff::with_random(self.clone(), Box::new(rand::random::<f64>))
    }
}

/// Draws numbers from 0 (included) to 1 (excluded).
pub type Random = Box<dyn FnMut() -> f64 + Send>;

/// One run of attempts.
pub struct Backoff {
    policy: RetryPolicy,
    attempt: u32,
    random: Random,
}

impl std::fmt::Debug for Backoff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backoff").field("policy", &self.policy).field("attempt", &self.attempt).finish()
    }
}

impl Backoff {
    /// Starts a run with a given source of numbers.
    #[must_use]
    pub fn with_random(policy: RetryPolicy, random: Random) -> Self {
        Self { policy, attempt: 0, random }
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.policy.delay(self.attempt, (self.random)());
        self.attempt = self.attempt.saturating_add(1);
        delay
    }

    /// How many delays this run has given.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempt
    }
}

/// Calls `attempt` again while `is_transient` says so of its error and less than `patience` has passed. Only for calls
/// that may be repeated: the work of one may have been done although its answer was lost.
///
/// # Errors
/// The first error that is not transient, or the last error when the patience has ended.
pub async fn retry_within<T, E, F>(
    policy: &RetryPolicy,
    patience: Duration,
    is_transient: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E>
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let (started, mut backoff) = (Instant::now(), policy.backoff());
    loop {
        match attempt().await {
            Err(error) if is_transient(&error) && started.elapsed() < patience => {
                let delay = backoff.next_delay();
                tracing::debug!(%error, attempt = backoff.attempts(), ?delay, "trying again");
                tokio::time::sleep(delay).await;
            }
            ended => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_maximum() {
        let policy = RetryPolicy {
            initial: Duration::from_millis(100),
            maximum: Duration::from_millis(500),
            factor: 2.0,
        };
        let mut backoff = Backoff::with_random(policy, Box::new(|| 1.0));
        let delays: Vec<u128> = (0..5).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 500, 500]);
        assert_eq!(backoff.attempts(), 5);
    }

    #[test]
    fn a_delay_is_a_share_of_its_bound() {
        for (attempt, random, millis) in [
            (0, 1.0, 100),
            (1, 1.0, 200),
            (2, 0.5, 200),
            (6, 1.0, 5_000),
            (u32::MAX, 1.0, 5_000),
            (4, 0.0, 0),
        ] {
            let delay = RetryPolicy::default().delay(attempt, random);
            assert_eq!(delay, Duration::from_millis(millis), "attempt {attempt}");
        }
    }

    proptest! {
        #[test]
        fn a_delay_is_never_above_its_bound(attempt: u32, initial in 0_u64..10_000, random in 0.0_f64..1.0) {
            let policy = RetryPolicy { initial: Duration::from_millis(initial), ..RetryPolicy::default() };
            let bound = policy.bound(attempt);
            prop_assert!(bound <= policy.maximum.max(policy.initial));
            let mut backoff = Backoff::with_random(policy.clone(), Box::new(move || random));
            prop_assert!(backoff.next_delay() <= policy.bound(0));
        }
    }

    const QUICK: RetryPolicy =
        RetryPolicy { initial: Duration::from_millis(1), maximum: Duration::from_millis(20), factor: 2.0 };

    async fn tried(patience: Duration, transient: bool, until: u32) -> (Result<u32, &'static str>, u32) {
        let mut attempts = 0;
        let ended = retry_within(
            &QUICK,
            patience,
            |_| transient,
            || {
                attempts += 1;
                std::future::ready(if attempts < until { Err("lost") } else { Ok(attempts) })
            },
        );
        (ended.await, attempts)
    }

    #[tokio::test]
    async fn a_call_is_repeated_while_its_error_may_pass() {
        assert_eq!(tried(Duration::from_secs(5), true, 4).await, (Ok(4), 4));
        assert_eq!(tried(Duration::from_secs(5), false, 4).await, (Err("lost"), 1));
    }

    #[tokio::test]
    async fn patience_ends() {
        let (ended, attempts) = tried(Duration::from_millis(100), true, u32::MAX).await;
        assert_eq!(ended, Err("lost"));
        assert!(attempts > 1, "{attempts} attempts");
    }
}
