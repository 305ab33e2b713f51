//! An operation: its answer as it is made, kept until the client has received it.
//!
//! ```text
//!  task ── push ──▶ responses, numbered ──▶ stream ──▶ client
//!            ▲ waits where much is kept         ▲ begins anew behind any response: reattach
//!            └──────────── release ◀────────────┘
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firesteel_proto::spark::connect::ExecutePlanResponse;
use futures::Stream;
use futures::stream::unfold;
use prost::Message as _;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use super::error::{Result, SparkError};

/// How many bytes of an answer are kept before its task waits.
const KEPT: usize = 64 << 20;

/// An operation of a session.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) id: String,
    /// The names by which a client ends several at once.
    pub(super) tags: Vec<String>,
    /// Ends it before time.
    pub(super) cancel: CancellationToken,
    /// Whether a client may come back for the rest.
    pub(super) reattachable: bool,
    state: Mutex<State>,
    changed: Notify,
    /// How many streams of the answer are open.
    readers: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    responses: VecDeque<ExecutePlanResponse>,
    /// The number of the first response that is kept.
    first: usize,
    bytes: usize,
    end: Option<std::result::Result<(), Status>>,
}

impl Operation {
    pub(super) fn new(id: String, tags: Vec<String>, reattachable: bool) -> Arc<Self> {
        let (cancel, state) = (CancellationToken::new(), Mutex::default());
        let (changed, readers) = (Notify::new(), AtomicUsize::new(0));
        Arc::new(Self { id, tags, cancel, reattachable, state, changed, readers })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its answer has no end yet.
    pub(super) fn is_running(&self) -> bool {
        self.lock().end.is_none()
    }

    /// Whether somebody receives its answer.
    pub(super) fn is_watched(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    /// Adds a response, once there is room for it.
    pub(super) async fn push(&self, mut response: ExecutePlanResponse) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if state.bytes < KEPT || self.cancel.is_cancelled() {
                    let number = state.first + state.responses.len();
                    response.response_id = format!("{}-{number}", self.id);
                    state.bytes += response.encoded_len();
                    state.responses.push_back(response);
                    break;
                }
            }
            tokio::select! {
                () = changed => {}
                () = self.cancel.cancelled() => {}
            }
        }
        self.changed.notify_waiters();
    }

    /// Ends the answer.
    pub(super) fn finish(&self, end: std::result::Result<(), Status>) {
        self.lock().end = Some(end);
        self.changed.notify_waiters();
    }

    /// The number of the response behind one that the client has.
    ///
    /// # Errors
    /// A response that is not of this operation.
    fn behind(&self, response: &str) -> Result<usize> {
        let number =
            response.strip_prefix(&format!("{}-", self.id)).and_then(|number| number.parse::<usize>().ok());
        let known = number.filter(|number| {
            let state = self.lock();
            *number < state.first + state.responses.len()
        });
        known.map(|number| number + 1).ok_or_else(|| {
            let message = format!("The response {response:?} is none of the operation {}.", self.id);
            SparkError::handle("INVALID_CURSOR.POSITION_NOT_FOUND", message)
        })
    }

    /// Forgets what the client has received, up to a response or all of it.
    pub(super) fn release(&self, until: Option<&str>) -> Result<()> {
        let until = match until {
            Some(response) => self.behind(response)?,
            None => usize::MAX,
        };
        self.forget(until);
        Ok(())
    }

    fn forget(&self, until: usize) {
        let mut state = self.lock();
        while state.first < until {
            let Some(response) = state.responses.pop_front() else { break };
            state.bytes -= response.encoded_len().min(state.bytes);
            state.first += 1;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The answer, behind a response where one is given.
    ///
    /// # Errors
    /// A response that is not of this operation, or one behind which parts are already forgotten.
    pub(super) fn stream(
        self: &Arc<Self>,
        behind: Option<&str>,
    ) -> Result<impl Stream<Item = std::result::Result<ExecutePlanResponse, Status>> + Send + use<>> {
        let first = self.lock().first;
        let next = match behind {
            Some(response) => self.behind(response)?,
            None => 0,
        };
        if next < first {
            let message =
                format!("The answer of the operation {} is released up to its part {first}.", self.id);
            return Err(SparkError::handle("INVALID_CURSOR.POSITION_NOT_AVAILABLE", message));
        }
        // Nobody can come back for the answer of an operation that is not reattachable: it ends with its stream.
        let guard = (!self.reattachable).then(|| self.cancel.clone().drop_guard());
        self.readers.fetch_add(1, Ordering::Relaxed);
        let reader = Reader { operation: Arc::clone(self), next, ended: false, _guard: guard };
        Ok(unfold(reader, Reader::read))
    }
}

/// Reads an answer.
struct Reader {
    operation: Arc<Operation>,
    next: usize,
    ended: bool,
    _guard: Option<DropGuard>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.operation.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reader {
    async fn read(mut self) -> Option<(std::result::Result<ExecutePlanResponse, Status>, Self)> {
        if self.ended {
            return None;
        }
        let operation = Arc::clone(&self.operation);
        loop {
            let changed = operation.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = operation.lock();
                let kept = self.next.checked_sub(state.first).and_then(|index| state.responses.get(index));
                if let Some(response) = kept.cloned() {
                    drop(state);
                    self.next += 1;
                    if !operation.reattachable {
                        operation.forget(self.next);
                    }
                    return Some((Ok(response), self));
                }
                match &state.end {
                    None => {}
                    Some(Ok(())) => return None,
                    Some(Err(status)) => {
                        self.ended = true;
                        return Some((Err(status.clone()), self));
                    }
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    fn part() -> ExecutePlanResponse {
        ExecutePlanResponse { session_id: "s".to_owned(), ..ExecutePlanResponse::default() }
    }

    #[tokio::test]
    async fn a_client_comes_back_for_the_rest() {
        let operation = Operation::new("op".to_owned(), Vec::new(), true);
        for _ in 0..3 {
            operation.push(part()).await;
        }
        operation.finish(Ok(()));
        let ids = async |behind: Option<&str>| {
            let stream = operation.stream(behind).unwrap();
            stream.map(|part| part.unwrap().response_id).collect::<Vec<_>>().await
        };
        assert_eq!(ids(None).await, ["op-0", "op-1", "op-2"]);
        assert_eq!(ids(Some("op-0")).await, ["op-1", "op-2"]);
        operation.release(Some("op-1")).unwrap();
        assert_eq!(ids(Some("op-1")).await, ["op-2"]);
        assert!(operation.stream(Some("op-0")).is_err());
        for wrong in ["op-3", "other-1", "op-x", ""] {
            assert!(operation.stream(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_nobody_can_come_back_for_ends_with_its_stream() {
        let operation = Operation::new("op".to_owned(), Vec::new(), false);
        operation.push(part()).await;
        operation.finish(Err(Status::internal("failed")));
        assert!(!operation.is_running() && !operation.is_watched());
        let mut stream = Box::pin(operation.stream(None).unwrap());
        assert!(operation.is_watched());
        assert!(stream.next().await.unwrap().is_ok());
        assert_eq!(operation.lock().responses.len(), 0);
        assert!(stream.next().await.unwrap().is_err());
        assert!(stream.next().await.is_none());
        drop(stream);
        assert!(operation.cancel.is_cancelled() && !operation.is_watched());
    }
}
