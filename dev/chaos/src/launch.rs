//! How a process of the harness starts: by way of the harness' own program, which sees to it that the kernel kills it when the
//! harness is gone, however that went, and then becomes the program that is wanted.

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// The first argument of a program that is to be launched so.
pub(crate) const ARGUMENT: &str = "launch";
/// Names the process that the launched one must not outlive.
const PARENT: &str = "FIRESTEEL_CHAOS_PARENT";

/// `program` as a command that is launched so, in a process group of its own.
pub(crate) fn command(program: &Path) -> anyhow::Result<Command> {
    let this = std::env::current_exe().context("the harness does not know its own program")?;
    let mut command = firesteel_testkit::binary(&this, &[ARGUMENT]);
    command.arg(program).env(PARENT, std::process::id().to_string()).process_group(0);
    Ok(command)
}

/// Becomes the program that the arguments name; returns only where that fails.
pub(crate) fn become_program(mut arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("PR_SET_PDEATHSIG")?;
    // The harness may have died before the line above.
    let parent = std::env::var(PARENT).ok().and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
    if parent.is_some() && getppid() != parent {
        bail!("the harness is gone");
    }
    let program = arguments.next().context("launch: no program")?;
    let failure = Command::new(&program).args(arguments).env_remove(PARENT).exec();
    Err(failure).with_context(|| format!("cannot start {}", program.to_string_lossy()))
}
