//! The memory pool of an executor, which operators that can spill share in equal parts.
//!
//! Its size is configured, or detected from the limit of the container and the memory of the machine.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryPool, TrackConsumersPool, UnboundedMemoryPool,
};

use crate::cluster::MemoryLimit;

/// The pool's share of the available memory, in percent. Scans, plans and buffers, which no pool accounts for, need the
/// rest.
const SHARE_PERCENT: u64 = 70;

/// The number of consumers that an error names when the pool is exhausted.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// Creates the pool, and returns it with its size in bytes, which is `None` without a limit.
pub(super) fn pool(limit: MemoryLimit) -> (Arc<dyn MemoryPool>, Option<usize>) {
    let bytes = match limit {
        MemoryLimit::Unlimited => None,
        MemoryLimit::Bytes(bytes) => Some(bytes),
        MemoryLimit::Detect => detect(Path::new("/sys/fs/cgroup"), Path::new("/proc/meminfo")),
    };
    match bytes {
        Some(bytes) => {
            (Arc::new(TrackConsumersPool::new(FairSpillPool::new(bytes), NAMED_CONSUMERS)), Some(bytes))
        }
        None => (Arc::new(UnboundedMemoryPool::default()), None),
    }
}

/// Returns [`SHARE_PERCENT`] of the container's limit or of the machine's memory, whichever is smaller.
fn detect(cgroup: &Path, meminfo: &Path) -> Option<usize> {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let container = number(&cgroup.join("memory.max"))
        .or_else(|| number(&cgroup.join("memory").join("memory.limit_in_bytes")));
    let machine = fs::read_to_string(meminfo).ok().and_then(|text| total(&text));
    let bytes = match (container, machine) {
        (Some(container), Some(machine)) => container.min(machine),
        (one, other) => one.or(other)?,
    };
    usize::try_from(bytes / 100 * SHARE_PERCENT).ok()
}

/// Reads `MemTotal`, in bytes, from `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_container_and_machine_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (cgroup, meminfo) = (dir.path().join("cgroup"), dir.path().join("meminfo"));
        fs::create_dir(&cgroup).unwrap();
        fs::write(&meminfo, "MemTotal:        1000 kB\nMemFree:          1 kB\n").unwrap();
        for (limit, expected) in
            [("max\n", Some(716_800)), ("512000\n", Some(358_400)), ("99999999999\n", Some(716_800))]
        {
            fs::write(cgroup.join("memory.max"), limit).unwrap();
            let expected: Option<usize> = expected.map(|bytes: usize| bytes / 100 * 100);
            assert_eq!(detect(&cgroup, &meminfo).map(|bytes| bytes / 100 * 100), expected, "{limit}");
        }
        assert_eq!(detect(dir.path(), &dir.path().join("nowhere")), None);
    }

    #[test]
    fn no_limit_means_no_pool_that_fills() {
        assert_eq!(pool(MemoryLimit::Unlimited).1, None);
        assert_eq!(pool(MemoryLimit::Bytes(7)).1, Some(7));
    }
}
