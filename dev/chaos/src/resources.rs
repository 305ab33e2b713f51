//! What a process has at a moment: memory, open files, threads, processor time; read from `/proc`.

use serde::{Deserialize, Serialize};
use std::fs;

/// Linux tells processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Resources {
    pub(crate) resident_bytes: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    pub(crate) cpu_seconds: f64,
}

impl Resources {
    /// Of process `pid`; `None` once it has ended.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let count = |folder| Some(fs::read_dir(format!("/proc/{pid}/{folder}")).ok()?.count());
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self {
            resident_bytes: firesteel_testkit::ports::resident_bytes(pid)?,
            descriptors: count("fd")?,
            threads: count("task")?,
            cpu_seconds: cpu_seconds(&stat)?,
        })
    }
}

/// `pid (name) state …`: user and system time are the 12th and 13th field after the name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 =
        [11, 12].iter().map(|field| fields.get(*field)?.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

/// The processes whose environment holds `NAME=value`, such as those that a run has left behind.
pub(crate) fn with_environment(name: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{name}={value}");
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_something_and_none_has_nothing() {
        let found = Resources::of(std::process::id()).expect("this process");
        assert!(found.resident_bytes > 1 << 20 && found.descriptors > 2 && found.threads > 0, "{found:?}");
        assert_eq!(Resources::of(u32::MAX), None);
        let stat = "7 (a) b (c) S 4 7 7 0 -1 4194560 1 0 0 0 12 30 5 6 20 0 1 0 100";
        assert_eq!(cpu_seconds(stat), Some(0.42));
        assert!(with_environment("FIRESTEEL_CHAOS_NO_SUCH", "1").is_empty());
    }
}
