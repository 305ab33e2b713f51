//! A clock that steps in one process: a library of ten lines, compiled by the system's C compiler and preloaded, adds the seconds
//! of a file to `CLOCK_REALTIME`. The monotonic clock is left alone, as it is when a clock is set.

use anyhow::{Context as _, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("clock.c");

/// The compiled library.
#[derive(Debug, Clone)]
pub(crate) struct Library {
    path: PathBuf,
}

impl Library {
    /// Compiles it into `folder`; `None`, after saying so, on a machine without a C compiler.
    pub(crate) fn compile(folder: &Path) -> anyhow::Result<Option<Self>> {
        let (source, path) = (folder.join("clock.c"), folder.join("clock.so"));
        fs::write(&source, SOURCE)?;
        let compiled =
            Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&path).arg(&source).output();
        match compiled {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("no clock will step: there is no `cc` on this machine");
                Ok(None)
            }
            Err(error) => Err(error).context("cannot run cc"),
            Ok(compiled) => {
                let said = String::from_utf8_lossy(&compiled.stderr);
                ensure!(compiled.status.success(), "cc cannot compile the clock: {said}");
                Ok(Some(Self { path }))
            }
        }
    }

    /// The clock of a process, in a file of its own, and the environment that the process needs for it.
    pub(crate) fn clock(&self, file: PathBuf) -> anyhow::Result<(Clock, [(String, String); 2])> {
        let clock = Clock { file };
        clock.step(0)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let environment =
            [("LD_PRELOAD".to_owned(), text(&self.path)), ("CHAOS_CLOCK".to_owned(), text(&clock.file))];
        Ok((clock, environment))
    }
}

/// The clock of one process.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    file: PathBuf,
}

impl Clock {
    /// From now on it is `seconds` ahead of the machine's.
    pub(crate) fn step(&self, seconds: i64) -> anyhow::Result<()> {
        use std::os::unix::fs::FileExt as _;
        // In place: the process has the file mapped.
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&self.file)?;
        file.write_all_at(&seconds.to_ne_bytes(), 0)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stepped_clock_is_seen_by_its_process_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(library) = Library::compile(folder.path()).expect("compiled") else { return };
        let (clock, environment) = library.clock(folder.path().join("step")).expect("a clock");
        clock.step(-3_600).expect("stepped");
        let year = |environment: &[(String, String)]| {
            let mut date = Command::new("date");
            date.arg("+%s").envs(environment.iter().map(|(name, value)| (name, value)));
            let told = date.output().expect("date").stdout;
            String::from_utf8(told).expect("text").trim().parse::<i64>().expect("seconds")
        };
        let behind = year(&[]) - year(&environment);
        assert!((3_595..=3_600).contains(&behind), "{behind}");
    }
}
