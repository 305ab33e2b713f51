//! Requests that are repeated where a connection was lost.

use std::time::Duration;

use datafusion::error::{DataFusionError, Result};
use firesteel_common::retry::{RetryPolicy, retry_within};

/// Asks, and asks again while connections are lost, as long as less than `patience` has passed. Only for reads: a write
/// may have been done although its answer was lost.
///
/// The driver repeats a read once and at once, which is not enough for a short outage.
pub(crate) async fn retry_transient<T, F>(patience: Duration, ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    // A lost connection travels as an I/O error, see `error`.
    let is_lost = |error: &DataFusionError| matches!(error, DataFusionError::IoError(_));
    retry_within(&RetryPolicy::default(), patience, is_lost, ask).await
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
}
