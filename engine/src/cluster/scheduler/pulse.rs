//! Whether Ballista's event loop still works.
//!
//! All of a scheduler's decisions are made by one task, Ballista's event loop. When it panics nobody notices: requests
//! are accepted, and nothing becomes of them. So a *beat* is sent through the loop once a second: an empty report by an
//! executor that does not exist. The loop hands it to [`Executors`](super::state::Executors), which recognises its name
//! and answers the beat.
//!
//! ```text
//!  watch ── beat ──▶ event loop ──▶ Executors ──▶ Pulse (answered) ──▶ /healthz
//! ```
//!
//! * When the loop has **ended**, a beat cannot be sent. [`watch`] returns, and with it the scheduler: whoever started the
//!   process starts another.
//! * When the loop **hangs**, the beat is not answered. `/healthz` says so after [`STALLED`], and a prober decides.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ballista_core::ids::new_instance_id;
use ballista_core::serde::protobuf::UpdateTaskStatusParams;
use tokio::sync::Notify;

/// The interval of the beats.
const BEAT: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_secs(1) };

/// How long a beat may take before the event loop counts as stalled. A loop that is busy with ten thousand reports takes
/// a fraction of it.
pub(super) const STALLED: Duration = Duration::from_secs(5);

/// The beats of one event loop.
#[derive(Debug)]
pub(super) struct Pulse {
    /// The executor that reports the beats. Its name is random: nobody else can answer a beat.
    id: String,
    /// When the oldest beat without an answer was sent.
    waiting: Mutex<Option<Instant>>,
    answered: Notify,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            id: format!("pulse-{}", new_instance_id()),
            waiting: Mutex::default(),
            answered: Notify::new(),
        }
    }

    /// Returns whether this is the name of the executor that reports the beats.
    pub(super) fn is_beat(&self, executor: &str) -> bool {
        executor == self.id
    }

    /// Notes that the event loop has handled a beat.
    pub(super) fn answer(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.answered.notify_one();
    }

    /// A beat, to be sent through the event loop.
    pub(super) fn beat(&self) -> UpdateTaskStatusParams {
        UpdateTaskStatusParams { executor_id: self.id.clone(), task_status: Vec::new() }
    }

    fn sent(&self, now: Instant) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
    }

    /// For how long the event loop has been stalled at `now`; `None` while it works.
    pub(super) fn stalled(&self, now: Instant) -> Option<Duration> {
        let waiting = *self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.map(|since| now.saturating_duration_since(since)).filter(|time| *time >= STALLED)
    }
}

/// Sends beats by `send` until one cannot be sent, because the event loop has ended, and returns why.
pub(super) async fn watch<F, E>(pulse: &Pulse, mut send: impl FnMut() -> F) -> E
where
    F: Future<Output = Result<(), E>>,
{
    loop {
        pulse.sent(Instant::now());
        if let Err(reason) = send().await {
            return reason;
        }
        // Without an answer the next beat follows anyway: it is what shows that the loop has ended meanwhile.
        if tokio::time::timeout(BEAT, pulse.answered.notified()).await.is_ok() {
            tokio::time::sleep(BEAT).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use ballista_core::error::{BallistaError, Result};
    use ballista_core::event_loop::{EventAction, EventLoop};
    use tokio::sync::mpsc;

    use super::*;

    /// What an event makes the loop do.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Beat,
        Panic,
        Hang,
    }

    struct Action(Arc<Pulse>);

    #[async_trait]
    impl EventAction<Event> for Action {
        fn on_start(&self) {}

        fn on_stop(&self) {}

        async fn on_receive(
            &self,
            event: Event,
            _: &mpsc::Sender<Event>,
            _: &mpsc::Receiver<Event>,
        ) -> Result<()> {
            match event {
                Event::Beat => self.0.answer(),
                Event::Panic => panic!("index out of bounds"),
                Event::Hang => std::future::pending().await,
            }
            Ok(())
        }

        fn on_error(&self, _: BallistaError) {}
    }

    fn running() -> (Arc<Pulse>, EventLoop<Event>) {
        let pulse = Arc::new(Pulse::new());
        let mut events = EventLoop::new("test".to_owned(), 8, Arc::new(Action(Arc::clone(&pulse))));
        events.start().unwrap();
        (pulse, events)
    }

    #[tokio::test]
    async fn a_loop_that_panics_is_noticed() {
        let (pulse, events) = running();
        let sender = events.get_sender().unwrap();
        let watched = watch(&pulse, || sender.post_event(Event::Beat));
        tokio::pin!(watched);
        let some_beats = tokio::time::timeout(BEAT * 10, &mut watched).await;
        assert!(some_beats.is_err(), "a loop that works is left alone");
        assert_eq!(pulse.stalled(Instant::now()), None);
        events.get_sender().unwrap().post_event(Event::Panic).await.unwrap();
        let reason = tokio::time::timeout(Duration::from_secs(60), watched).await.unwrap();
        assert!(reason.to_string().contains("channel closed"), "{reason}");
    }

    #[tokio::test]
    async fn a_loop_that_hangs_is_stalled() {
        let (pulse, events) = running();
        events.get_sender().unwrap().post_event(Event::Hang).await.unwrap();
        let sender = events.get_sender().unwrap();
        let watched = watch(&pulse, || sender.post_event(Event::Beat));
        assert!(tokio::time::timeout(BEAT * 10, watched).await.is_err(), "it has not ended");
        assert_eq!(pulse.stalled(Instant::now()), None, "not for long enough");
        assert!(pulse.stalled(Instant::now() + STALLED).is_some());
        pulse.answer();
        assert_eq!(pulse.stalled(Instant::now() + STALLED), None);
    }
}
