//! What a tree of processes costs while something runs: processor time and peak memory, read from `/proc`.
//!
//! Memory is the sum of the processes' proportional set sizes (`Pss` of `smaps_rollup`): a page that three processes
//! share counts once, so neither a forking Python nor three copies of one binary are charged for it twice. Between two
//! samples a peak may go unseen; they are 10 ms apart at first and never more than 200.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Linux reports processor time in hundredths of a second to every program, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Whose costs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// A process and all that descend from it.
    Tree(u32),
    /// One process.
    Alone(u32),
}

/// What something cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Cost {
    pub(super) cpu_seconds: f64,
    pub(super) peak_bytes: u64,
}

/// Samples the costs of processes from its start to its end.
#[derive(Debug)]
pub(super) struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Cost>,
}

impl Sampler {
    /// Begins. What the processes used up before does not count.
    pub(super) fn start(roots: Vec<Root>) -> Self {
        let (stop, stopped) = channel();
        let mut ledger = Ledger::default();
        ledger.look(&roots);
        ledger.forget_the_past();
        let thread = std::thread::spawn(move || sample(ledger, &roots, &stopped));
        Self { stop, thread }
    }

    /// Ends, before anybody waits for a process of the tree: one that has been waited for is no longer told of.
    pub(super) fn finish(self) -> Cost {
        // A thread that has gone has nothing to stop.
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_default()
    }
}

fn sample(mut ledger: Ledger, roots: &[Root], stopped: &Receiver<()>) -> Cost {
    let mut pause = FIRST_PAUSE;
    loop {
        let ended = !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout));
        ledger.look(roots);
        if ended {
            return ledger.cost();
        }
        pause = (pause * 5 / 4).min(LONGEST_PAUSE);
    }
}

/// What is known of every process that was ever seen.
#[derive(Debug, Default)]
struct Ledger {
    /// Ticks at the beginning and at the last look.
    ticks: BTreeMap<u32, (u64, u64)>,
    peak_bytes: u64,
}

impl Ledger {
    fn look(&mut self, roots: &[Root]) {
        let table = processes();
        let mut bytes = 0;
        for pid in members(&table, roots) {
            let Some(process) = table.get(&pid) else { continue };
            self.ticks.entry(pid).or_default().1 = process.ticks;
            bytes += proportional_bytes(pid);
        }
        self.peak_bytes = self.peak_bytes.max(bytes);
    }

    fn forget_the_past(&mut self) {
        self.ticks.values_mut().for_each(|(first, last)| *first = *last);
        self.peak_bytes = 0;
    }

    fn cost(&self) -> Cost {
        let ticks: u64 = self.ticks.values().map(|(first, last)| last.saturating_sub(*first)).sum();
        Cost { cpu_seconds: ticks as f64 / TICKS_PER_SECOND, peak_bytes: self.peak_bytes }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    parent: u32,
    /// User and system time.
    ticks: u64,
}

fn processes() -> BTreeMap<u32, Process> {
    let Ok(folder) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // A process may be gone before its file is read.
    let told = |pid: u32| Some((pid, parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?));
    pids.filter_map(told).collect()
}

/// `pid (name) state ppid …`, see proc(5): the name may hold anything, so what follows its last parenthesis counts.
fn parse(stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Process { parent: fields.get(1)?.parse().ok()?, ticks: number(11)? + number(12)? })
}

fn members(table: &BTreeMap<u32, Process>, roots: &[Root]) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut open = Vec::new();
    for root in roots {
        match root {
            Root::Alone(pid) => drop(found.insert(*pid)),
            Root::Tree(pid) => open.push(*pid),
        }
    }
    while let Some(pid) = open.pop() {
        if found.insert(pid) {
            open.extend(table.iter().filter(|(_, process)| process.parent == pid).map(|(child, _)| *child));
        }
    }
    found
}

fn proportional_bytes(pid: u32) -> u64 {
    // One that is gone, or that has become a zombie, holds nothing.
    let Ok(text) = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"))
    else {
        return 0;
    };
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_named_anything() {
        let stat = "7 (a) b (c) S 4 7 7 0 -1 4194560 1 0 0 0 12 30 5 6 20 0 1 0 100";
        assert_eq!(parse(stat), Some(Process { parent: 4, ticks: 42 }));
        assert_eq!(parse("7 (a"), None);
    }

    #[test]
    fn a_tree_is_all_that_descends() {
        let process = |parent| Process { parent, ticks: 0 };
        let table = BTreeMap::from([(2, process(1)), (3, process(2)), (4, process(3)), (5, process(1))]);
        assert_eq!(members(&table, &[Root::Tree(2)]), BTreeSet::from([2, 3, 4]));
        assert_eq!(members(&table, &[Root::Alone(2), Root::Tree(5)]), BTreeSet::from([2, 5]));
    }

    #[test]
    fn what_this_process_does_costs() {
        let sampler = Sampler::start(vec![Root::Alone(std::process::id())]);
        let held = vec![1_u8; 64 << 20];
        let started = std::time::Instant::now();
        let mut sum = 0_u64;
        while started.elapsed() < Duration::from_millis(300) {
            sum = sum.wrapping_add(held.iter().step_by(4096).map(|byte| u64::from(*byte)).sum());
        }
        let cost = sampler.finish();
        assert!(sum > 0 && cost.peak_bytes >= 64 << 20 && cost.cpu_seconds > 0.0, "{cost:?}");
    }
}
