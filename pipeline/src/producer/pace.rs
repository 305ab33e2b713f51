//! When an image is due: a pure function of its number, so that lateness never adds up.

use crate::error::{Error, Result};
use firesteel_common::ConfigField;
use std::time::{Duration, Instant};

/// The time from the start at which image `sequence` is due at `rate` images per second; 0 is at once.
pub(super) fn due(rate: f64, sequence: u64) -> Duration {
    if rate <= 0.0 {
        return Duration::ZERO;
    }
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 images")]
    let seconds = sequence as f64 / rate;
    // A year of an absurdly low rate is as good as never.
    Duration::try_from_secs_f64(seconds).unwrap_or(YEAR).min(YEAR)
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// # Errors
/// [`Error::Setting`] for a rate that is no rate.
pub(super) fn check(rate: f64) -> Result<()> {
    if rate.is_finite() && rate >= 0.0 {
        return Ok(());
    }
    Err(Error::Setting {
        field: ConfigField::ProducerRate,
        reason: format!("{rate} is not a number of images per second"),
    })
}

/// Returns at once when `due` has passed.
pub(super) async fn wait_until(due: Instant) {
    if due > Instant::now() {
        tokio::time::sleep_until(due.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn full_speed_is_always_due_and_a_rate_is_a_rate() {
        assert_eq!(due(0.0, 1_000_000), Duration::ZERO);
        assert_eq!(due(10.0, 25), Duration::from_millis(2_500));
        assert_eq!(due(f64::MIN_POSITIVE, u64::MAX), YEAR);
        for rate in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(check(rate).is_err(), "{rate}");
        }
    }

    proptest! {
        #[test]
        fn over_any_stretch_the_rate_is_kept(rate in 0.1_f64..10_000.0, from in 0_u64..1_000_000, count in 1_u64..10_000) {
            let stretch = due(rate, from + count) - due(rate, from);
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let expected = count as f64 / rate;
            prop_assert!((stretch.as_secs_f64() - expected).abs() < 1e-6 * expected.max(1.0) + 1e-8);
        }
    }
}
