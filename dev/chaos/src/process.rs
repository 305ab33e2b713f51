//! A process that the harness keeps running: started, killed, held, started again, and watched for ends that nobody caused.

use crate::launch;
use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// How a process is started.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Its name in logs and records.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Where it runs, so that no settings file of a user is in its way.
    pub(crate) folder: PathBuf,
    /// What it prints is appended here.
    pub(crate) log: PathBuf,
    /// Where `/readyz` is asked, if it has one.
    pub(crate) health: Option<SocketAddr>,
}

/// A process that is to run until the harness says otherwise.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) spec: Spec,
    state: Mutex<State>,
    /// Held by the fault that is at work on it, so that no second one takes the same.
    pub(crate) busy: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    /// Whether it should be running: an end is then nobody's doing.
    wanted: bool,
}

impl Process {
    pub(crate) fn new(spec: Spec) -> Self {
        Self { spec, state: Mutex::default(), busy: tokio::sync::Mutex::default() }
    }

    /// Starts it. To be called from a thread of the runtime: the kernel kills a child when the thread that started it ends.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        let mut state = self.lock();
        let spec = &self.spec;
        let log = OpenOptions::new().create(true).append(true).open(&spec.log);
        let log: File = log.with_context(|| format!("cannot write {}", spec.log.display()))?;
        let mut command = launch::command(&spec.program)?;
        command.args(&spec.arguments).envs(spec.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&spec.folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", spec.name))?;
        state.child = Some(child);
        state.wanted = true;
        Ok(())
    }

    /// Its process id while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        let mut state = self.lock();
        let child = state.child.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then(|| child.id())
    }

    /// Sends a signal; false where it does not run.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let state = self.lock();
        let pid = state.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
        pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// Ends it with a signal and waits; killed where that takes longer than `within`. `None`: it did not run.
    pub(crate) async fn end(&self, signal: Signal, within: Duration) -> anyhow::Result<Option<Ended>> {
        self.lock().wanted = false;
        // One that stands still takes no signal but this.
        if signal != Signal::KILL {
            self.signal(Signal::CONT);
        }
        if !self.signal(signal) {
            return Ok(self.reap());
        }
        let deadline = Instant::now() + within;
        loop {
            if let Some(ended) = self.reap() {
                return Ok(Some(ended));
            }
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
                let status = self.lock().child.take().map(|mut child| child.wait()).transpose()?;
                return Ok(status.map(|status| Ended { status, in_time: false }));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The status of a process that ended although it should run.
    pub(crate) fn unexpected_end(&self) -> Option<ExitStatus> {
        let mut state = self.lock();
        let status = state.wanted.then(|| state.child.as_mut()?.try_wait().ok()?).flatten()?;
        state.child = None;
        state.wanted = false;
        Some(status)
    }

    /// Waits until `/readyz` says so; the time that it took.
    pub(crate) async fn ready(&self, within: Duration) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let Some(health) = self.spec.health else { return Ok(Duration::ZERO) };
        loop {
            let answer = tokio::time::timeout(
                Duration::from_secs(2),
                firesteel_testkit::http(health, "GET", "/readyz"),
            )
            .await;
            let said = match answer {
                Ok(Ok(answer)) if answer.status == 200 => return Ok(started.elapsed()),
                Ok(Ok(answer)) => answer.body,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer within 2 s".to_owned(),
            };
            if started.elapsed() > within {
                let name = &self.spec.name;
                return Err(anyhow!(
                    "{name} is not ready after {within:?}: {}; log {}",
                    said.trim(),
                    self.spec.log.display()
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn reap(&self) -> Option<Ended> {
        let mut state = self.lock();
        let status = state.child.as_mut()?.try_wait().ok()??;
        state.child = None;
        Some(Ended { status, in_time: true })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.lock().child.take() {
            // One that has ended by itself is waited for all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// By the signal that was asked for, not killed after it.
    pub(crate) in_time: bool,
}
