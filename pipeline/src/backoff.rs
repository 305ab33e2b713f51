//! How long to wait before the next try: exponential growth with full jitter.
//!
//! The delay before try *n* is uniform over `0 ..= min(maximum, initial × factor^n)`. Full jitter spreads the
//! tries of many clients that failed at the same moment; see "Exponential Backoff And Jitter", AWS Architecture
//! Blog, 2015. The source of randomness is an argument, so a test knows every delay.

use std::time::Duration;

/// The shape of the growth.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Upper bound of the first delay.
    pub initial: Duration,
    /// Upper bound of every delay.
    pub maximum: Duration,
    /// Growth of the bound from one try to the next; at least 1.
    pub factor: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { initial: Duration::from_millis(100), maximum: Duration::from_secs(5), factor: 2.0 }
    }
}

impl Config {
    /// The bound that the delay before try `attempt` (from 0) is drawn below.
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
}

/// Draws numbers from 0 (included) to 1 (excluded).
pub type Random = Box<dyn FnMut() -> f64 + Send>;

/// One run of tries.
pub struct Backoff {
    config: Config,
    attempt: u32,
    random: Random,
}

impl std::fmt::Debug for Backoff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backoff").field("config", &self.config).field("attempt", &self.attempt).finish()
    }
}

impl Backoff {
    /// Starts a run with the thread's random numbers.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with_random(config, Box::new(rand::random::<f64>))
    }

    /// Starts a run with a given source of numbers.
    #[must_use]
    pub fn with_random(config: Config, random: Random) -> Self {
        Self { config, attempt: 0, random }
    }

    /// The delay before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let bound = self.config.bound(self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        bound.mul_f64((self.random)().clamp(0.0, 1.0))
    }

    /// How many delays this run has given.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bound_doubles_up_to_the_maximum() {
        let config =
            Config { initial: Duration::from_millis(100), maximum: Duration::from_millis(500), factor: 2.0 };
        let mut backoff = Backoff::with_random(config, Box::new(|| 1.0));
        let delays: Vec<u128> = (0..5).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 500, 500]);
        assert_eq!(backoff.attempts(), 5);
    }

    proptest! {
        #[test]
        fn a_delay_is_never_above_its_bound(attempt: u32, initial in 0_u64..10_000, random in 0.0_f64..1.0) {
            let config = Config { initial: Duration::from_millis(initial), ..Config::default() };
            let bound = config.bound(attempt);
            prop_assert!(bound <= config.maximum.max(config.initial));
            let mut backoff = Backoff::with_random(config.clone(), Box::new(move || random));
            prop_assert!(backoff.next_delay() <= config.bound(0));
        }
    }
}
