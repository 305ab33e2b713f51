//! SIGINT and SIGTERM: the first ends the benchmark, with everything that it started, the second the process at once.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// The exit code that the first signal asks for: 128 and its number, as a shell reports it. Must be called inside the
/// runtime.
pub(crate) fn listen() -> anyhow::Result<oneshot::Receiver<u8>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let (first, received) = oneshot::channel();
    let mut first = Some(first);
    tokio::spawn(async move {
        loop {
            let kind = tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
            };
            let code = 128 + kind.as_raw_value();
            match (first.take(), u8::try_from(code)) {
                // Nobody receives it where the benchmark has just ended by itself.
                (Some(first), Ok(code)) => drop(first.send(code)),
                _ => std::process::exit(code),
            }
        }
    });
    Ok(received)
}
