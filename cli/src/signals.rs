//! SIGINT and SIGTERM: the first asks every component to finish, the second ends the process at once.

use anyhow::Context as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the user asked for while the command ran.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    /// Cancelled by the first signal.
    pub(crate) shutdown: CancellationToken,
    received: Arc<AtomicI32>,
}

impl Signals {
    /// Starts listening. Must be called inside the runtime.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let signals = Self { shutdown: CancellationToken::new(), received: Arc::new(AtomicI32::new(0)) };
        let listener = signals.clone();
        tokio::spawn(async move {
            loop {
                let number = tokio::select! {
                    _ = interrupt.recv() => SignalKind::interrupt(),
                    _ = terminate.recv() => SignalKind::terminate(),
                }
                .as_raw_value();
                if listener.received.swap(number, Ordering::SeqCst) != 0 {
                    // The user has asked twice: nothing that is still running is waited for.
                    std::process::exit(128 + number);
                }
                listener.shutdown.cancel();
            }
        });
        Ok(signals)
    }

    /// 128 + the signal's number, as a shell reports it; none when no signal came.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        match self.received.load(Ordering::SeqCst) {
            0 => None,
            number => u8::try_from(128 + number).ok(),
        }
    }
}
