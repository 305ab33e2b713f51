//! Does what the schedule says, when it says so.

use crate::fault::{Kind, Target};
use crate::process::Process;
use crate::proxy::{Mode, Proxy};
use crate::record::{Performed, Restart};
use crate::schedule::Fault;
use crate::watch;
use crate::world::World;
use anyhow::Context as _;
use rustix::process::Signal;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long an orderly end may take.
const END_WITHIN: Duration = Duration::from_secs(60);
/// How long a process that was started again is watched.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What Kubernetes takes until a container that died is started again, the first time.
const LIKE_KUBERNETES: Duration = Duration::from_secs(1);
/// How long no other fault may have been at work for a restart to count as one with its dependencies up.
const QUIET: Duration = Duration::from_secs(15);

/// Performs all faults, each at its time and beside the others.
pub(crate) async fn all(world: &World, faults: &[Fault]) {
    let started = Instant::now();
    let each = faults.iter().map(|fault| async move {
        let due = started + Duration::from_millis(fault.at_ms);
        tokio::time::sleep_until(due.into()).await;
        one(world, fault).await;
    });
    futures::future::join_all(each).await;
}

async fn one(world: &World, fault: &Fault) {
    let began_ms = world.now();
    {
        let mut notes = world.notes();
        notes.at_work += 1;
        notes.begun += 1;
    }
    tracing::info!(kind = %fault.kind, target = %fault.target, lasts_ms = fault.lasts_ms, "fault");
    let done = perform(world, fault).await;
    let (hit, note) = match done {
        Ok(Some((hit, note))) => (Some(hit), note),
        Ok(None) => (None, "there was nothing to hit".to_owned()),
        Err(error) => (None, format!("{error:#}")),
    };
    let ended_ms = world.now();
    let mut notes = world.notes();
    notes.at_work -= 1;
    notes.quiet_since = Some(Instant::now());
    notes.performed.push(Performed { fault: fault.clone(), hit, began_ms, ended_ms, note });
}

/// What was hit, and a note; nothing where there was nothing to hit.
async fn perform(world: &World, fault: &Fault) -> anyhow::Result<Option<(String, String)>> {
    let lasts = Duration::from_millis(fault.lasts_ms);
    match fault.kind {
        Kind::Kill | Kind::Terminate | Kind::Stop | Kind::ClockStep => {
            let Some(process) = choose(world, fault).await else { return Ok(None) };
            // The lock was free a moment ago; another fault may have taken it, and comes first then.
            let _busy = process.busy.lock().await;
            let note = match fault.kind {
                Kind::Stop => stop(process, lasts).await,
                Kind::ClockStep => {
                    let clock = world.fleet.clock(&process.spec.name).context("no clock")?;
                    clock.step(fault.size)?;
                    tokio::time::sleep(lasts).await;
                    clock.step(0)?;
                    format!("{} s", fault.size)
                }
                _ => restart(world, process, fault).await?,
            };
            Ok(Some((process.spec.name.clone(), note)))
        }
        Kind::StepDown => {
            let primary = world.servers.mongodb.primary().await.context("there is no primary")?.0;
            world.servers.mongodb.step_down(10).await?;
            Ok(Some((format!("mongod-{}", primary + 1), String::new())))
        }
        Kind::Join => {
            let guest = {
                let mut ports = world.ports.lock().unwrap_or_else(PoisonError::into_inner);
                world.fleet.guest(fault.target, 10 + fault.at_ms as usize, &mut ports)?
            };
            guest.start()?;
            tokio::time::sleep(lasts).await;
            let ended = guest.end(Signal::TERM, END_WITHIN).await?;
            let note = orderly(world, &guest, ended);
            Ok(Some((guest.spec.name.clone(), note)))
        }
        Kind::Delay | Kind::Cut | Kind::BlackHole => {
            let proxies = proxies(world, fault.target);
            let Some(proxy) = proxies.get(fault.number % proxies.len().max(1)) else { return Ok(None) };
            let mode = match fault.kind {
                Kind::Delay => Mode::Delayed(Duration::from_millis(fault.size.unsigned_abs())),
                Kind::Cut => Mode::Cut,
                _ => Mode::BlackHole,
            };
            proxy.set(mode);
            tokio::time::sleep(lasts).await;
            proxy.set(Mode::Open);
            Ok(Some((format!("{} at {}", fault.target, proxy.address), String::new())))
        }
        Kind::FullDisk => {
            let Some(disk) = &world.disk else { return Ok(None) };
            // Twice full is full.
            let Ok(_busy) = disk.busy.try_lock() else { return Ok(None) };
            disk.fill()?;
            tokio::time::sleep(lasts).await;
            disk.free()?;
            Ok(Some(("disk".to_owned(), String::new())))
        }
    }
}

/// The process that a fault hits: the primary, or the one of its number, or the next that runs and that no fault is at work on.
async fn choose<'a>(world: &'a World, fault: &Fault) -> Option<&'a Process> {
    let processes = world.processes(fault.target);
    let first = match fault.target {
        Target::Primary => world.servers.mongodb.primary().await?.0,
        _ => fault.number,
    };
    let order = (0..processes.len()).map(|step| processes[(first + step) % processes.len()]);
    let take = if fault.target == Target::Primary { 1 } else { processes.len() };
    order.take(take).find(|process| process.id().is_some() && process.busy.try_lock().is_ok())
}

fn proxies(world: &World, target: Target) -> Vec<&Proxy> {
    match target {
        Target::Broker => world.servers.kafka.proxies.iter().collect(),
        Target::Member | Target::Primary => world.servers.mongodb.proxies.iter().collect(),
        Target::Inference => world.fleet.inference.iter().collect(),
        _ => vec![&world.fleet.scheduler],
    }
}

async fn stop(process: &Process, lasts: Duration) -> String {
    if !process.signal(Signal::STOP) {
        return "it had just ended".to_owned();
    }
    tokio::time::sleep(lasts).await;
    process.signal(Signal::CONT);
    String::new()
}

/// Ends a process and starts it again a little later, and watches until it is ready.
async fn restart(world: &World, process: &Process, fault: &Fault) -> anyhow::Result<String> {
    let (begun, mut alone) = {
        let notes = world.notes();
        (notes.begun, notes.at_work == 1 && notes.quiet_since.is_none_or(|since| since.elapsed() > QUIET))
    };
    let is_server = matches!(fault.target, Target::Broker | Target::Primary | Target::Member);
    let (signal, within) = match fault.kind {
        Kind::Kill => (Signal::KILL, END_WITHIN),
        _ => (Signal::TERM, END_WITHIN),
    };
    let ended = process.end(signal, within).await?;
    let note = match ended {
        Some(ended) if fault.target == Target::Producer && ended.status.success() => {
            world.notes().finished.push(process.spec.name.clone());
            return Ok("it had just sent all".to_owned());
        }
        ended if fault.kind == Kind::Terminate && !is_server => orderly(world, process, ended),
        ended => ended.map_or_else(|| "it had just ended".to_owned(), |ended| ended.status.to_string()),
    };
    if matches!(fault.target, Target::ImageConsumer | Target::PredictionConsumer) {
        // What it has committed stands still now, and what it had not made durable is not going to be for a while.
        watch::sample(world, &format!("{} has just ended", process.spec.name)).await;
    }
    tokio::time::sleep(Duration::from_millis(fault.lasts_ms)).await;
    process.start()?;
    if process.spec.health.is_some() {
        let ready = process.ready(READY_WITHIN).await;
        let seconds = ready.ok().map(|took| took.as_secs_f64());
        world.note_first(process);
        let mut notes = world.notes();
        alone &= notes.begun == begun;
        notes.restarts.push(Restart { process: process.spec.name.clone(), seconds, alone });
    }
    Ok(note)
}

/// Kills one consumer of each kind when all is quiet, and notes how long it takes until it works again.
pub(crate) async fn restart_consumers(world: &World) -> anyhow::Result<()> {
    for target in [Target::ImageConsumer, Target::PredictionConsumer] {
        let process = world.fleet.of(target).first().context("a consumer")?;
        process.end(Signal::KILL, END_WITHIN).await?;
        tokio::time::sleep(LIKE_KUBERNETES).await;
        process.start()?;
        let seconds = process.ready(READY_WITHIN).await.ok().map(|took| took.as_secs_f64());
        world.note_first(process);
        world.notes().restarts.push(Restart { process: process.spec.name.clone(), seconds, alone: true });
    }
    Ok(())
}

/// Notes an end by SIGTERM that was none in order.
fn orderly(world: &World, process: &Process, ended: Option<crate::process::Ended>) -> String {
    let Some(ended) = ended else { return "it had just ended".to_owned() };
    // A command that is interrupted says so with 143; a server that is asked to end has done its work.
    let code = ended.status.code();
    if !ended.in_time || !matches!(code, Some(0 | 143)) {
        let how =
            if ended.in_time { ended.status.to_string() } else { format!("killed after {END_WITHIN:?}") };
        let log = process.spec.log.display();
        world.found("SIGTERM ends a process in order", format!("{}: {how}; {log}", process.spec.name));
    }
    ended.status.to_string()
}
