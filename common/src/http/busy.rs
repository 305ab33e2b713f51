//! Whether anything is asked on a connection.
//!
//! A request is under way from its headers to the end of its answer's body, wherever the body ends: with the stream, with
//! the connection, or because the server has given up.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};

/// The requests under way on one connection. Clones share them.
#[derive(Clone)]
pub(super) struct Busy(Arc<Mutex<State>>);

struct State {
    under_way: usize,
    /// When the last request ended, or the connection began.
    since: Instant,
}

impl Default for Busy {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { under_way: 0, since: Instant::now() })))
    }
}

impl Busy {
    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a request until what is returned is dropped.
    pub(super) fn begin(&self) -> UnderWay {
        self.with(|state| state.under_way += 1);
        UnderWay(self.clone())
    }

    /// Whether no request has been under way for that long.
    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        self.with(|state| state.under_way == 0 && state.since.elapsed() >= time)
    }
}

/// A request under way.
pub(super) struct UnderWay(Busy);

impl UnderWay {
    /// Counts the request until `body` has ended.
    pub(super) fn until_the_end_of(self, body: Body) -> Body {
        Body::new(Counted { body, _under_way: self })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.under_way = state.under_way.saturating_sub(1);
            state.since = Instant::now();
        });
    }
}

struct Counted {
    body: Body,
    _under_way: UnderWay,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
