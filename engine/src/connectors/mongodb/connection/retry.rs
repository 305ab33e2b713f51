//! Waits between attempts, and questions that are asked again where a connection was lost.

use std::time::Duration;

use datafusion::error::{DataFusionError, Result};
use tokio::time::Instant;

/// The bound of the wait before the second attempt. It doubles with every attempt.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The bound of every wait.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Asks, and asks again while connections are lost, as long as less than `patience` has passed. Only for questions:
/// what changes something may have been done although its answer was lost.
///
/// The driver repeats a read once and at once, which an outage of a moment outlasts.
pub(crate) async fn retry_transient<T, F>(patience: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let started = Instant::now();
    let mut attempt = 1;
    loop {
        match ask().await {
            // A lost connection travels as an I/O error, see `fault`.
            Err(DataFusionError::IoError(error)) if started.elapsed() < patience => {
                let wait = wait(attempt);
                tracing::debug!(%error, attempt, ?wait, "asking MongoDB again");
                tokio::time::sleep(wait).await;
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

/// How long to wait after failed attempt number `attempt`, from 1.
pub(crate) fn wait(attempt: u32) -> Duration {
    delay(attempt, random())
}

/// How long to wait after failed attempt number `attempt` (from 1): full jitter below a bound that doubles.
/// `random` lies between 0 and 1.
fn delay(attempt: u32, random: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    FIRST_DELAY.saturating_mul(1 << doublings).min(LONGEST_DELAY).mul_f64(random.clamp(0.0, 1.0))
}

/// A number between 0 and 1, from the keys that the standard library draws for its hash maps.
fn random() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let drawn = std::hash::RandomState::new().build_hasher().finish();
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> DataFusionError {
        DataFusionError::IoError(std::io::Error::other("unexpected end of file"))
    }

    #[tokio::test]
    async fn a_question_is_asked_again_while_connections_are_lost() {
        let mut asked = 0;
        let answer = retry_transient(Duration::from_secs(5), || {
            asked += 1;
            std::future::ready(if asked < 4 { Err(lost()) } else { Ok(asked) })
        });
        assert_eq!(answer.await.unwrap(), 4);
    }

    #[tokio::test]
    async fn patience_ends() {
        let started = tokio::time::Instant::now();
        let mut asked = 0;
        let answer = retry_transient(Duration::from_millis(200), || {
            asked += 1;
            std::future::ready(Err::<(), _>(lost()))
        });
        assert!(matches!(answer.await, Err(DataFusionError::IoError(_))));
        assert!(asked > 1, "asked {asked} times");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn any_other_error_is_told_at_once() {
        let mut asked = 0;
        let answer = retry_transient(Duration::from_secs(5), || {
            asked += 1;
            std::future::ready(Err::<(), _>(DataFusionError::Plan("a wrong field".to_owned())))
        });
        assert!(answer.await.is_err());
        assert_eq!(asked, 1);
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        for (attempt, random, millis) in [
            (1, 1.0, 100),
            (2, 1.0, 200),
            (3, 0.5, 200),
            (7, 1.0, 5_000),
            (u32::MAX, 1.0, 5_000),
            (5, 0.0, 0),
        ] {
            assert_eq!(delay(attempt, random), Duration::from_millis(millis), "attempt {attempt}");
        }
        assert!((0..100).all(|_| (0.0..1.0).contains(&random())));
    }
}
