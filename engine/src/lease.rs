//! Until when the tasks of an executor may write, so that a late task never overwrites what a later statement has written.
//!
//! A scheduler that has not heard of an executor for its timeout T gives it up and runs its tasks elsewhere. The executor may
//! still be there: stopped for a while, or cut off from the scheduler alone. So its tasks write under a *lease*:
//!
//! ```text
//!  executor    heartbeat sent ───── lease: 4/5 T ─────┤ no command is sent any more
//!                   │                                  ├─ margin: 1/5 T ─┤
//!  scheduler     heard of ───────────────────── T ─────────────────────────┤ given up: its tasks run elsewhere
//! ```
//!
//! * The lease counts from the moment at which a heartbeat was *sent* that the scheduler has answered, and the scheduler's T
//!   from when it has arrived, which is not before. Both are measured by clocks that nobody sets.
//! * A command is sent while at least 1/5 T of the lease is left, and has what is left as its `maxTimeMS`: the server gives it
//!   up when the lease ends. The margin is for its way to the server.
//! * An answer that comes T or more after the last one was sent renews nothing: meanwhile the executor may have been given
//!   up. The registration ends, with its tasks. The scheduler does not take heartbeats of executors that it does not know.
//! * An executor may be lost in another way than by silence, such as a connection to it that fails. [`Fence`] then holds the
//!   *next* statements that write until its lease has ended for certain.
//!
//! What is left is a command that takes longer than the margin from the look at the lease to the server: a process that is
//! stopped exactly between the two, or a network that holds bytes back. The clock stands still while a machine is suspended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The header of the scheduler's answers to heartbeats that tells T, in milliseconds.
pub(crate) const TIMEOUT_HEADER: &str = "firesteel-executor-timeout-ms";

/// T of a scheduler that does not tell it.
const UNTOLD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest T that a lease is made of: a scheduler that waits longer loses nothing.
const LONGEST: Duration = Duration::from_secs(60);

/// How long after it was heard of an executor may still write, where the scheduler gives it up after `timeout`.
pub(crate) fn longest(timeout: Duration) -> Duration {
    timeout.min(LONGEST)
}

/// The timeout that an answer of the scheduler tells.
pub(crate) fn told_timeout(header: Option<&str>) -> Duration {
    header.and_then(|millis| millis.parse().ok()).map_or(UNTOLD_TIMEOUT, Duration::from_millis)
}

/// A heartbeat that the scheduler has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heartbeat {
    sent: Instant,
    timeout: Duration,
}

/// How things stand with the registration of an executor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Term {
    /// The number of the registration, from 1; 0: this process is no executor.
    registration: u64,
    last: Option<Heartbeat>,
    over: bool,
}

/// Whether a task may write now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// For this long.
    For(Duration),
    /// After the next answer to a heartbeat.
    Later,
    /// Never more.
    Nothing,
}

impl Term {
    /// What is left at `now` for a task of `registration`.
    fn left(&self, registration: u64, now: Instant) -> Left {
        if self.registration != registration || self.over {
            return Left::Nothing;
        }
        if registration == 0 {
            return Left::For(LONGEST);
        }
        let Some(Heartbeat { sent, timeout }) = self.last else { return Left::Later };
        let fifth = longest(timeout) / 5;
        let left = (sent + fifth * 4).saturating_duration_since(now);
        if left >= fifth { Left::For(left) } else { Left::Later }
    }

    /// The term after an answer came at `now` to a heartbeat that was sent at `sent`.
    fn answered(self, sent: Instant, now: Instant, timeout: Duration) -> Self {
        let too_late = |last: Heartbeat| now.saturating_duration_since(last.sent) >= last.timeout;
        if self.over || self.last.is_some_and(too_late) {
            return Self { over: true, ..self };
        }
        Self { last: Some(Heartbeat { sent, timeout }), ..self }
    }
}

/// The lease of a process. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Lease(Arc<watch::Sender<Term>>);

impl Default for Lease {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Term::default())))
    }
}

impl Lease {
    /// The lease of a new registration. Tasks of the one before write no more.
    pub(crate) fn begin(&self) -> Registration {
        let mut number = 0;
        self.0.send_modify(|term| {
            number = term.registration + 1;
            *term = Term { registration: number, ..Term::default() };
        });
        Registration { terms: Arc::clone(&self.0), number }
    }

    /// What a task asks that begins now.
    pub(crate) fn tenure(&self) -> Tenure {
        let terms = self.0.subscribe();
        let registration = terms.borrow().registration;
        Tenure { terms, registration }
    }
}

/// The lease of one registration. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    terms: Arc<watch::Sender<Term>>,
    number: u64,
}

impl Registration {
    /// Renews the lease after the answer to a heartbeat that was sent at `sent`. Returns whether the registration lasts.
    pub(crate) fn answered(&self, sent: Instant, timeout: Duration) -> bool {
        let mut lasts = false;
        self.terms.send_modify(|term| {
            if term.registration == self.number {
                *term = term.answered(sent, Instant::now(), timeout);
                lasts = !term.over;
            }
        });
        lasts
    }

    /// Ends the lease: no task of the registration sends a command any more.
    pub(crate) fn end(&self) {
        self.terms.send_modify(|term| term.over |= term.registration == self.number);
    }
}

/// The right of a task to write.
#[derive(Clone, Debug)]
pub(crate) struct Tenure {
    terms: watch::Receiver<Term>,
    registration: u64,
}

impl Tenure {
    /// Waits until a command may be sent, and returns for how long the server may work on it. Never returns once the
    /// registration is over: the task is about to be cancelled.
    pub(crate) async fn allowed(&mut self) -> Duration {
        loop {
            let term = *self.terms.borrow_and_update();
            match term.left(self.registration, Instant::now()) {
                Left::For(left) => return left,
                Left::Later if self.terms.changed().await.is_ok() => {}
                Left::Later | Left::Nothing => std::future::pending().await,
            }
        }
    }
}

/// Until when executors that were lost may still write. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence(Arc<Mutex<Option<Instant>>>);

impl Fence {
    /// Holds statements that write until then.
    pub(crate) fn hold(&self, until: Instant) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = (*held).max(Some(until));
    }

    /// For how long statements are held at `now`.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        let held = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Waits until no lost executor writes any more.
    pub(crate) async fn pass(&self) {
        loop {
            let left = self.left(Instant::now());
            if left.is_zero() {
                return;
            }
            tracing::info!(?left, "a statement that writes waits: a lost executor may still be writing");
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    const T: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn registered(at: Instant) -> Term {
        Term { registration: 1, ..Term::default() }.answered(at, at, T)
    }

    #[test]
    fn a_command_is_sent_while_the_lease_lasts_and_ends_with_it() {
        let start = Instant::now();
        let term = registered(start);
        for (second, expected) in [
            (0, Left::For(seconds(8))),
            (6, Left::For(seconds(2))),
            (7, Left::Later),
            (9, Left::Later),
            (1_000, Left::Later),
        ] {
            assert_eq!(term.left(1, start + seconds(second)), expected, "after {second} s");
        }
        assert_eq!(term.left(2, start), Left::Nothing, "a task of another registration");
        let renewed = term.answered(start + seconds(6), start + seconds(7), T);
        assert_eq!(renewed.left(1, start + seconds(7)), Left::For(seconds(7)), "from when it was sent");
    }

    #[test]
    fn an_answer_after_the_timeout_ends_the_registration() {
        let start = Instant::now();
        // The process was stopped while its heartbeat was on the way, and has just been woken.
        let woken = registered(start).answered(start + seconds(2), start + seconds(12), T);
        assert_eq!(woken.left(1, start + seconds(12)), Left::Nothing);
        let again = woken.answered(start + seconds(13), start + seconds(13), T);
        assert_eq!(again.left(1, start + seconds(13)), Left::Nothing, "and for good");
    }

    #[test]
    fn a_process_that_is_no_executor_has_no_lease() {
        assert_eq!(Term::default().left(0, Instant::now()), Left::For(LONGEST));
        assert_eq!(registered(Instant::now()).left(0, Instant::now()), Left::Nothing);
        assert_eq!(told_timeout(Some("3000")), seconds(3));
        assert_eq!(told_timeout(None), UNTOLD_TIMEOUT);
        assert_eq!(longest(seconds(86_400)), LONGEST);
    }

    #[tokio::test]
    async fn a_task_waits_for_an_answer_and_not_beyond_its_registration() {
        let lease = Lease::default();
        let registration = lease.begin();
        let mut tenure = lease.tenure();
        assert_eq!(tenure.allowed().now_or_never(), None, "no heartbeat was answered");
        assert!(registration.answered(Instant::now(), T));
        assert!(tenure.allowed().now_or_never().is_some_and(|left| left > seconds(7) && left <= seconds(8)));
        let next = lease.begin();
        assert!(next.answered(Instant::now(), T));
        assert_eq!(tenure.allowed().now_or_never(), None, "it is a task of the registration before");
        assert!(!registration.answered(Instant::now(), T));
        let mut tenure = lease.tenure();
        assert!(tenure.allowed().now_or_never().is_some());
        next.end();
        assert_eq!(tenure.allowed().now_or_never(), None);
    }

    #[test]
    fn a_fence_holds_until_the_last_lease_has_ended() {
        let (fence, now) = (Fence::default(), Instant::now());
        assert_eq!(fence.left(now), Duration::ZERO);
        fence.hold(now + seconds(5));
        fence.clone().hold(now + seconds(3));
        assert_eq!(fence.left(now + seconds(1)), seconds(4));
        assert_eq!(fence.left(now + seconds(6)), Duration::ZERO);
    }

    proptest! {
        /// Whatever the delays of heartbeats and of their answers are: at a moment at which a command may be sent, and until
        /// the server gives it up, the scheduler has heard of the executor less than T ago.
        #[test]
        fn a_command_ends_before_the_scheduler_gives_up(
            beats in prop::collection::vec((0..12_000_u64, 0..12_000_u64, 0..12_000_u64), 1..12),
            look in 0..20_000_u64,
        ) {
            let start = Instant::now();
            let at = |millis: u64| start + Duration::from_millis(millis);
            let (mut term, mut now, mut heard) = (registered(start), 0, vec![0]);
            for (pause, way, back) in beats {
                let sent = now + pause;
                let arrived = sent + way;
                // A scheduler that has given up does not answer.
                if arrived - heard[heard.len() - 1] >= 10_000 {
                    break;
                }
                heard.push(arrived);
                now = arrived + back;
                term = term.answered(at(sent), at(now), T);
                if term.over {
                    break;
                }
            }
            let moment = now + look;
            if let Left::For(left) = term.left(1, at(moment)) {
                let last = heard[heard.len() - 1];
                prop_assert!(moment + u64::try_from(left.as_millis()).unwrap() <= last + 8_000);
            }
        }
    }
}
