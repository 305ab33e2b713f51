//! Whether anything is asked on a connection by somebody who may.
//!
//! A request is under way from the moment at which the gate lets it in to the end of its answer's body, wherever the body
//! ends: with the stream, with the connection, or because the server has given up. What is refused is not counted, so that
//! a peer without a credential keeps no place by asking again and again, or by never reading the refusal.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::Extensions;
use http_body::{Frame, SizeHint};

/// The requests under way on one connection. Clones share them.
#[derive(Clone)]
pub(crate) struct Busy(Arc<Mutex<State>>);

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

    /// Makes the place of a request that may be admitted later.
    pub(crate) fn request(&self) -> Admission {
        Admission(Arc::new(Mutex::new(Place { busy: self.clone(), admitted: false })))
    }

    /// Whether no request has been under way for that long.
    pub(crate) fn is_idle_for(&self, time: Duration) -> bool {
        self.with(|state| state.under_way == 0 && state.since.elapsed() >= time)
    }
}

/// A request, in its own extensions: the gate says there that it is let in.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Mutex<Place>>);

struct Place {
    busy: Busy,
    admitted: bool,
}

impl Admission {
    /// Counts the request that `extensions` belong to, from now until its answer has ended.
    pub(crate) fn grant(extensions: &Extensions) {
        if let Some(admission) = extensions.get::<Self>() {
            let mut place = admission.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !place.admitted {
                place.admitted = true;
                place.busy.with(|state| state.under_way += 1);
            }
        }
    }

    /// Keeps the request until `body` has ended.
    pub(crate) fn until_the_end_of(self, body: Body) -> Body {
        Body::new(Counted { body, _admission: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.admitted {
            self.busy.with(|state| {
                state.under_way = state.under_way.saturating_sub(1);
                state.since = Instant::now();
            });
        }
    }
}

struct Counted {
    body: Body,
    _admission: Admission,
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
