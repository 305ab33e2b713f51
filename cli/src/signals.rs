//! SIGINT and SIGTERM: the first asks every component to finish, the second ends the process at once. In an interactive
//! shell SIGINT ends what runs and not the shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The signals that the process has received.
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
                    // The second signal ends the process at once, without waiting for running work.
                    std::process::exit(128 + number);
                }
                listener.shutdown.cancel();
            }
        });
        Ok(signals)
    }

    /// Makes SIGINT wake [`Signals::interrupted`] only; from now on SIGTERM alone ends the process.
    pub(crate) fn stay_on_interrupt(&self) {
        self.interactive.store(true, Ordering::SeqCst);
    }

    /// Waits until the running statement has to end: for the next SIGINT of a shell, or for the shutdown.
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
