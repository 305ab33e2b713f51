//! The processor time of processes and of their threads, and who listens on a port, read from `/proc`.

use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Linux reports processor time in hundredths of a second to every program, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;
/// The state of a socket that listens, as `/proc/net/tcp` writes it.
const LISTENS: &str = "0A";

/// Processor time of a process, in seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Spent {
    /// All of its threads', those that have ended included.
    pub(super) total: f64,
    /// Those of threads that run, by their names without the number at the end.
    threads: BTreeMap<String, f64>,
}

impl Spent {
    /// What a process of this machine has used up so far.
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let (_, total) = read(&folder.join("stat")).with_context(|| format!("process {pid} is gone"))?;
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(folder.join("task")).into_iter().flatten().flatten() {
            // One may have ended meanwhile.
            let Some((name, seconds)) = read(&task.path().join("stat")) else { continue };
            let kind = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '#']);
            *threads.entry(kind.to_owned()).or_default() += seconds;
        }
        Ok(Self { total, threads })
    }

    /// What was used up since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let earlier = |name: &str| before.threads.get(name).copied().unwrap_or(0.0);
        let threads = self.threads.iter().map(|(name, now)| (name.clone(), (now - earlier(name)).max(0.0)));
        Self { total: (self.total - before.total).max(0.0), threads: threads.collect() }
    }

    /// What threads of these kinds have used up.
    pub(super) fn of_threads(&self, kinds: &[&str]) -> f64 {
        kinds.iter().filter_map(|kind| self.threads.get(*kind)).sum()
    }
}

/// What this process' children that have ended and were waited for have used up, in seconds.
pub(super) fn of_ended_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    parse(&stat, [13, 14]).map_or(0.0, |(_, seconds)| seconds)
}

fn read(path: &Path) -> Option<(String, f64)> {
    parse(&fs::read_to_string(path).ok()?, [11, 12])
}

/// `pid (name) state ppid …`, see proc(5): the name may hold anything, so what follows its last parenthesis counts. The name, and
/// the sum of two fields of ticks, counted from the state on.
fn parse(stat: &str, ticks: [usize; 2]) -> Option<(String, f64)> {
    let (front, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = ticks.map(|index| fields.get(index)?.parse::<f64>().ok());
    let [Some(user), Some(system)] = ticks else { return None };
    Some((front.split_once('(')?.1.to_owned(), (user + system) / TICKS_PER_SECOND))
}

/// The process of this machine that takes connections on a port; `None` where it is another machine's, or another user's.
pub(super) fn listener(port: u16) -> Option<u32> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let sockets: Vec<String> = tables.iter().flat_map(|table| inodes(table, port)).collect();
    let pids = fs::read_dir("/proc").ok()?.flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| sockets.iter().any(|socket| target == Path::new(socket)))
    })
}

/// The sockets of a table of the kernel that listen on a port, as a process' open files name them.
fn inodes(table: &str, port: u16) -> Vec<String> {
    let listens = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, number) = fields.get(1)?.rsplit_once(':')?;
        let is_it = fields.get(3) == Some(&LISTENS) && u16::from_str_radix(number, 16) == Ok(port);
        is_it.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
    };
    table.lines().skip(1).filter_map(listens).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_fields_behind_the_name() {
        let stat = "7 (a) b (c) S 4 7 7 0 -1 4194560 1 0 0 0 12 30 500 600 20 0 1 0 100";
        let (name, seconds) = parse(stat, [11, 12]).unwrap();
        assert_eq!((name.as_str(), seconds), ("a) b (c", 0.42));
        assert_eq!(parse(stat, [13, 14]).unwrap().1, 11.0);
        assert_eq!(parse("7 (a", [11, 12]), None);
    }

    #[test]
    fn a_port_is_found_in_the_kernels_table_and_with_it_the_process() {
        let table = "  sl  local_address rem_address st tx rx tr tm retrnsmt uid timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00:00 00:0 0 0 0 4711 1 0\n\
            1: 0100007F:1F90 0100007F:9999 01 00:00 00:0 0 0 0 4712 1 0\n\
            2: 00000000:1F91 00000000:0000 0A 00:00 00:0 0 0 0 4713 1 0\n";
        assert_eq!(inodes(table, 8080), ["socket:[4711]"]);
        assert_eq!(inodes(table, 1), Vec::<String>::new());
        let here = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listener(here.local_addr().unwrap().port()), Some(std::process::id()));
    }

    #[test]
    fn what_a_thread_uses_up_is_told_by_its_name() {
        let before = Spent::of(std::process::id()).unwrap();
        let (done, hold) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let busy = std::thread::Builder::new().name("busy-7".to_owned()).spawn(move || {
            let begun = std::time::Instant::now();
            while begun.elapsed().as_millis() < 200 {}
            done.0.send(()).unwrap();
            let _ = hold.1.recv();
        });
        done.1.recv().unwrap();
        let spent = Spent::of(std::process::id()).unwrap().since(&before);
        drop(hold.0);
        busy.unwrap().join().unwrap();
        assert!(spent.of_threads(&["busy"]) > 0.0 && spent.of_threads(&["idle"]) == 0.0, "{spent:?}");
        assert!(spent.total >= spent.of_threads(&["busy"]), "{spent:?}");
    }
}
