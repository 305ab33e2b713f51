//! Runs in a line each: what the documentation's table needs of a record, small enough to be kept for good.

use crate::fault::{Kind, Target};
use crate::oracle::books::Counts;
use crate::record::RunRecord;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A run, without the times of its faults and what each process did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) seed: u64,
    pub(crate) images: u64,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// The SHA-256 of the binary.
    pub(crate) firesteel: String,
    /// How often each fault hit which target.
    pub(crate) faults: Vec<Hits>,
    pub(crate) counts: Counts,
    pub(crate) offsets_sampled: usize,
    pub(crate) answered: usize,
    pub(crate) failed: usize,
    /// Seconds until a process that was started again was ready, no other fault being at work: the longest.
    pub(crate) slowest_restart: Option<f64>,
    pub(crate) seconds: f64,
    /// The promises that were not kept.
    pub(crate) not_kept: Vec<String>,
    pub(crate) passed: bool,
}

/// How often a fault hit a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hits {
    pub(crate) target: Target,
    pub(crate) kind: Kind,
    pub(crate) times: usize,
}

impl From<&RunRecord> for Line {
    fn from(record: &RunRecord) -> Self {
        let mut hits: BTreeMap<(Target, Kind), usize> = BTreeMap::new();
        for fault in record.faults.iter().filter(|fault| fault.hit.is_some()) {
            *hits.entry((fault.fault.target, fault.fault.kind)).or_default() += 1;
        }
        let alone = record.restarts.iter().filter(|restart| restart.alone);
        Self {
            seed: record.seed,
            images: record.images,
            processor: record.processor.clone(),
            cores: record.cores,
            firesteel: record.firesteel.clone(),
            faults: hits.into_iter().map(|((target, kind), times)| Hits { target, kind, times }).collect(),
            counts: record.counts.clone(),
            offsets_sampled: record.offsets_sampled,
            answered: record.queries.answered,
            failed: record.queries.failed,
            slowest_restart: alone.filter_map(|restart| restart.seconds).reduce(f64::max),
            seconds: record.seconds.values().sum(),
            not_kept: record.findings.iter().map(|finding| finding.statement.clone()).collect(),
            passed: record.passed,
        }
    }
}

/// The runs in these files of lines and folders of records, in the order of the seeds; what is there twice counts once.
pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Line>> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(crate::many::records(path)?.iter().map(Line::from));
        } else {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            for (number, line) in text.lines().enumerate() {
                let line = serde_json::from_str(line)
                    .with_context(|| format!("{}:{} is no run", path.display(), number + 1))?;
                found.push(line);
            }
        }
    }
    if found.is_empty() {
        bail!("there is no run in {paths:?}");
    }
    let key = |line: &Line| (line.seed, line.firesteel.clone());
    found.sort_by(|a: &Line, b: &Line| key(a).cmp(&key(b)).then(a.seconds.total_cmp(&b.seconds)));
    found.dedup();
    Ok(found)
}

/// Writes the runs into a file, a line each: first into one beside it, so that an interrupted write takes nothing away.
pub(crate) fn write(path: &Path, lines: &[Line]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run in which these faults hit.
    pub(crate) fn line(seed: u64, passed: bool, faults: Vec<Hits>) -> Line {
        Line {
            seed,
            images: 5,
            processor: String::new(),
            cores: 1,
            firesteel: String::new(),
            faults,
            counts: Counts { acknowledged: 5, ..Default::default() },
            offsets_sampled: 0,
            answered: 0,
            failed: 0,
            slowest_restart: None,
            seconds: 1.5,
            not_kept: Vec::new(),
            passed,
        }
    }

    #[test]
    fn runs_are_read_back_as_they_were_written_and_count_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("runs.jsonl");
        let hits = vec![Hits { target: Target::Broker, kind: Kind::Kill, times: 2 }];
        let runs = [line(1, true, hits), line(2, false, Vec::new())];
        write(&path, &runs).expect("written");
        assert_eq!(read(&[path.clone(), path.clone()]).expect("read"), runs);
        let mut text = std::fs::read_to_string(&path).expect("text");
        text.push_str("{}\n");
        std::fs::write(&path, text).expect("written");
        let error = read(&[path]).expect_err("the third line is no run").to_string();
        assert!(error.contains("runs.jsonl:3"), "{error}");
    }

    #[test]
    fn a_folder_without_runs_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(read(&[folder.path().to_owned()]).is_err());
    }
}
