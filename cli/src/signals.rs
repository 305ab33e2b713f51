//! SIGINT and SIGTERM: the first asks every component to finish, the second ends the process at once. In an interactive
//! shell SIGINT ends what runs and not the shell.

use anyhow::Context as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What the user asked for while the command ran.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    /// Cancelled by the first signal.
    pub(crate) shutdown: CancellationToken,
    received: Arc<AtomicI32>,
    interactive: Arc<AtomicBool>,
    interrupt: Arc<Notify>,
}

impl Signals {
    /// Starts listening. Must be called inside the runtime.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let signals = Self {
            shutdown: CancellationToken::new(),
            received: Arc::new(AtomicI32::new(0)),
            interactive: Arc::new(AtomicBool::new(false)),
            interrupt: Arc::new(Notify::new()),
        };
        let listener = signals.clone();
        tokio::spawn(async move {
            loop {
                let number = tokio::select! {
                    _ = interrupt.recv() => SignalKind::interrupt(),
                    _ = terminate.recv() => SignalKind::terminate(),
                }
                .as_raw_value();
                if number == SignalKind::interrupt().as_raw_value()
                    && listener.interactive.load(Ordering::SeqCst)
                {
                    listener.interrupt.notify_waiters();
                    continue;
                }
                if listener.received.swap(number, Ordering::SeqCst) != 0 {
                    // The user has asked twice: nothing that is still running is waited for.
                    std::process::exit(128 + number);
                }
                listener.shutdown.cancel();
            }
        });
        Ok(signals)
    }

    /// From now on SIGINT is for whoever waits for [`Signals::interrupted`]; only SIGTERM asks for the end.
    pub(crate) fn stay_on_interrupt(&self) {
        self.interactive.store(true, Ordering::SeqCst);
    }

    /// Waits until what runs now is to end: for the next SIGINT of a shell, or for the end of everything.
    pub(crate) async fn interrupted(&self) {
        tokio::select! {
            () = self.interrupt.notified() => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// 128 + the signal's number, as a shell reports it; none when no signal came.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        match self.received.load(Ordering::SeqCst) {
            0 => None,
            number => u8::try_from(128 + number).ok(),
        }
    }
}
