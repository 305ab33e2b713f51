//! What a process has at the end against what it had when it was ready.

use super::Finding;
use crate::resources::Resources;
use serde::{Deserialize, Serialize};

/// Memory that a process may gain: caches, buffers of connections, pages that an allocator keeps.
const MORE_BYTES: u64 = 192 << 20;
/// Files and connections that it may gain: clients keep one to each broker and member, and reopen them.
const MORE_DESCRIPTORS: usize = 48;
/// Threads that it may gain: pools grow with the first work.
const MORE_THREADS: usize = 24;
/// The share of a core that a consumer without work may use.
const IDLE: f64 = 0.05;

/// A process from its being ready to the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Growth {
    pub(crate) process: String,
    pub(crate) first: Resources,
    pub(crate) last: Resources,
    /// The share of a core that it used while there was nothing to do.
    pub(crate) idle_cpu: f64,
    /// Whether it is a consumer, which has nothing to do when its topic is read.
    pub(crate) consumer: bool,
}

/// What grew, and who works without work.
pub(crate) fn judge(all: &[Growth]) -> Vec<Finding> {
    let grown = all.iter().flat_map(|growth| {
        let (Growth { process, first, last, .. }, mut said) = (growth, Vec::new());
        let bytes = last.resident_bytes.saturating_sub(first.resident_bytes);
        if bytes > MORE_BYTES {
            said.push(format!(
                "{process}: memory from {} to {} MiB",
                first.resident_bytes >> 20,
                last.resident_bytes >> 20
            ));
        }
        if last.descriptors > first.descriptors + MORE_DESCRIPTORS {
            said.push(format!("{process}: descriptors from {} to {}", first.descriptors, last.descriptors));
        }
        if last.threads > first.threads + MORE_THREADS {
            said.push(format!("{process}: threads from {} to {}", first.threads, last.threads));
        }
        said
    });
    let idle = all.iter().filter(|growth| growth.consumer && growth.idle_cpu > IDLE);
    let idle = idle.map(|growth| format!("{}: {:.1} % of a core", growth.process, growth.idle_cpu * 100.0));
    let findings = [
        Finding::all("memory, descriptors and threads do not grow", grown),
        Finding::all("an idle consumer waits at no CPU", idle),
    ];
    findings.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_the_bounds_is_told() {
        let first = Resources { resident_bytes: 100 << 20, descriptors: 40, threads: 10, cpu_seconds: 1.0 };
        let check = |last: Resources, idle_cpu, findings| {
            let growth = Growth { process: "x".to_owned(), first, last, idle_cpu, consumer: true };
            assert_eq!(judge(&[growth]).len(), findings, "{last:?}");
        };
        check(first, 0.01, 0);
        check(Resources { resident_bytes: 120 << 20, descriptors: 60, threads: 20, ..first }, 0.0, 0);
        check(Resources { resident_bytes: 400 << 20, ..first }, 0.0, 1);
        check(Resources { descriptors: 400, ..first }, 0.0, 1);
        check(Resources { threads: 400, ..first }, 0.2, 2);
    }
}
