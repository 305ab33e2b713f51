//! A disk that fills up: a small file system in memory, where this user may mount one, that the executors have their shuffle files
//! and cached tables on.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the file systems of all harnesses are called, with the harness' process id behind it.
const SOURCE: &str = "firesteel-chaos-";
/// Room for the shuffle files of every query of a run.
const SIZE: &str = "size=64m";

/// The mounted file system; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    /// Held by the fault that has filled it.
    pub(crate) busy: tokio::sync::Mutex<()>,
}

impl Disk {
    /// Mounts one at `path`; `None`, after saying so, where this user may not.
    pub(crate) fn mount(path: PathBuf) -> anyhow::Result<Option<Self>> {
        sweep();
        fs::create_dir_all(&path)?;
        let source = format!("{SOURCE}{}", std::process::id());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, &source]).arg(&path);
        let mounted = mount.stdin(Stdio::null()).output();
        match mounted {
            Ok(done) if done.status.success() => Ok(Some(Self { path, busy: tokio::sync::Mutex::default() })),
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stderr);
                eprintln!("no disk will be full: {}", said.trim());
                Ok(None)
            }
            Err(error) => {
                eprintln!("no disk will be full: mount: {error}");
                Ok(None)
            }
        }
    }

    /// Takes all room that is left.
    pub(crate) fn fill(&self) -> anyhow::Result<()> {
        let mut file = fs::File::create(self.filler())?;
        let piece = vec![0_u8; 1 << 16];
        // The last piece may go in half; that it fails is the aim.
        while file.write_all(&piece).is_ok() {}
        Ok(())
    }

    /// Gives it back.
    pub(crate) fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Unmounts what a harness left that was killed: the kernel ends its processes, and leaves its mounts.
fn sweep() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for (pid, path) in mounts.lines().filter_map(mounted) {
        if !Path::new(&format!("/proc/{pid}")).exists() {
            unmount(Path::new(path));
        }
    }
}

/// The harness and the place of one of these file systems, in a line of `/proc/mounts`.
fn mounted(line: &str) -> Option<(u32, &str)> {
    let (pid, rest) = line.strip_prefix(SOURCE)?.split_once(' ')?;
    Some((pid.parse().ok()?, rest.split(' ').next()?))
}

fn unmount(path: &Path) {
    // Lazily: a process that was just killed may still hold a file of it.
    match Command::new("umount").arg("--lazy").arg(path).stdin(Stdio::null()).status() {
        Ok(status) if status.success() => {}
        other => eprintln!("cannot unmount {}: {other:?}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_harness_are_told_from_others() {
        let line = "firesteel-chaos-12 /tmp/firesteel-chaos-x/disk tmpfs rw,relatime,size=65536k 0 0";
        assert_eq!(mounted(line), Some((12, "/tmp/firesteel-chaos-x/disk")));
        assert_eq!(mounted("tmpfs /tmp tmpfs rw 0 0"), None);
    }

    #[test]
    fn a_full_disk_takes_nothing_until_it_is_freed() {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(disk) = Disk::mount(folder.path().join("disk")).expect("a folder") else { return };
        disk.fill().expect("filled");
        let file = disk.path.join("file");
        assert!(fs::write(&file, vec![1; 1 << 20]).is_err());
        disk.free().expect("freed");
        fs::write(&file, vec![1; 1 << 20]).expect("room again");
    }
}
