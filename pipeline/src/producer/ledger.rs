//! The ids of acknowledged images, one a line: what a producer goes on from, and what a test holds the rest of the pipeline to.
//!
//! A line is written with one system call after the acknowledgement, so a process that is killed leaves whole
//! lines, and every id in the file was acknowledged. About once a second, and at the end, the file is brought to the disk; what a
//! machine loses that goes down is acknowledged again, under the same ids.
//!
//! A producer that has its id to itself (`claim`) keeps the proof in a line of its own, `claim PRODUCER TOKEN ROW DATASET`, with the
//! images that it sends: from this row of the data set on, which is told by its digest. An image that is sent again is the same one,
//! whatever else the second run is told. A ledger is for one machine; a copy of it would speak for the same producer.

use super::claim::Token;
use crate::error::{Error, Result};
use firesteel_proto::{ImageId, ProducerId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const CLAIM: &str = "claim";
const SYNC_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    synced: Instant,
    /// Whether the last line may be half a line.
    broken: bool,
}

/// What a ledger says of one producer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) claim: Option<Claim>,
    pub(super) acknowledged: Sequences,
}

/// A producer's id, and the images that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) token: Token,
    /// The row of the data set that is its first image.
    pub(super) row: usize,
    /// The digest of the data set.
    pub(super) dataset: String,
}

impl Claim {
    fn read(text: &str) -> Result<Self, String> {
        let mut parts = text.split(' ');
        let mut next = || parts.next().ok_or("a claim is a producer, a token, a row and a data set");
        let (token, row, dataset) = (next()?.parse()?, next()?.parse(), next()?.to_owned());
        Ok(Self { token, row: row.map_err(|error| format!("no row: {error}"))?, dataset })
    }
}

impl Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.token, self.row, self.dataset)
    }
}

/// A set of sequences, of which nearly all are the first ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sequences {
    /// All below this one are in it.
    next: u64,
    beyond: BTreeSet<u64>,
}

impl Sequences {
    fn insert(&mut self, sequence: u64) {
        if sequence >= self.next {
            self.beyond.insert(sequence);
        }
        while self.beyond.remove(&self.next) {
            self.next += 1;
        }
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        sequence < self.next || self.beyond.contains(&sequence)
    }

    /// How many of the sequences below `end` are in it.
    pub(super) fn count_below(&self, end: u64) -> u64 {
        self.next.min(end) + self.beyond.range(..end).count() as u64
    }
}

impl Ledger {
    /// Opens `path` to append to.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::Ledger { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(failed)?;
        let state = State { synced: Instant::now(), broken: false };
        Ok(Self { path: path.to_owned(), file, state: Mutex::new(state) })
    }

    /// Opens `path` for one process alone, reads what it says, and cuts off the line that a machine did not finish writing.
    ///
    /// # Errors
    /// [`Error::Ledger`], also where another process has it, or a line is none of a ledger.
    pub(super) fn resume(path: &Path) -> Result<(Self, BTreeMap<ProducerId, Entry>)> {
        let ledger = Self::open(path)?;
        let failed = |source| ledger.failed(source);
        match ledger.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = "another producer is using it";
                return Err(failed(std::io::Error::new(ErrorKind::ResourceBusy, reason)));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let (mut entries, mut whole) = (BTreeMap::new(), 0);
        let mut lines = BufReader::new(&ledger.file);
        let mut line = String::new();
        for number in 1_u64.. {
            line.clear();
            let bytes = lines.read_line(&mut line).map_err(failed)?;
            let Some(text) = line.strip_suffix('\n') else { break };
            read(text, &mut entries).map_err(|reason| {
                failed(std::io::Error::new(ErrorKind::InvalidData, format!("line {number}: {reason}")))
            })?;
            whole += bytes as u64;
        }
        ledger.file.set_len(whole).map_err(failed)?;
        Ok((ledger, entries))
    }

    /// Adds an id. The file is in append mode, so writers do not disturb each other.
    pub(super) fn append(&self, id: ImageId) -> Result<()> {
        if self.write(id)? { self.sync() } else { Ok(()) }
    }

    /// Adds the proof that the id of a producer is this ledger's, for good.
    pub(super) fn claim(&self, producer: ProducerId, claim: &Claim) -> Result<()> {
        self.write(format_args!("{CLAIM} {producer} {claim}"))?;
        self.sync()
    }

    /// Brings everything to the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|source| self.failed(source))
    }

    /// Writes a line, and says whether it is time to bring the file to the disk. After a line that could not be written as a whole,
    /// such as on a disk that is full, no other is written behind it.
    fn write(&self, line: impl Display) -> Result<bool> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.broken {
            let source = std::io::Error::other("an earlier line could not be written");
            return Err(self.failed(source));
        }
        (&self.file).write_all(format!("{line}\n").as_bytes()).map_err(|source| {
            state.broken = true;
            self.failed(source)
        })?;
        let is_due = state.synced.elapsed() >= SYNC_EVERY;
        if is_due {
            state.synced = Instant::now();
        }
        Ok(is_due)
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Ledger { path: self.path.clone(), source }
    }
}

/// Reads one line.
fn read(line: &str, entries: &mut BTreeMap<ProducerId, Entry>) -> Result<(), String> {
    match line.strip_prefix(CLAIM) {
        Some(claim) => {
            let (producer, claim) = claim.trim_start().split_once(' ').ok_or("a claim without a token")?;
            let producer = producer.parse().map_err(|error: firesteel_proto::Error| error.to_string())?;
            entries.entry(producer).or_default().claim = Some(Claim::read(claim)?);
        }
        None => {
            let id: ImageId = line.parse().map_err(|error: firesteel_proto::Error| error.to_string())?;
            entries.entry(id.producer).or_default().acknowledged.insert(id.sequence.0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids() -> Vec<ImageId> {
        ["0000000a:0", "0000000a:1", "0000000b:0", "0000000a:3"].map(|id| id.parse().unwrap()).into()
    }

    #[test]
    fn lines_are_appended_and_a_bad_path_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        for id in ids() {
            Ledger::open(&path).unwrap().append(id).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "0000000a:0\n0000000a:1\n0000000b:0\n0000000a:3\n");
        let error = Ledger::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&*folder.path().to_string_lossy()), "{error}");
    }

    #[test]
    fn a_producer_goes_on_from_what_the_ledger_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let a = ProducerId(10);
        let claim = Claim { token: Token::random(), row: 7, dataset: "sha256:ab".to_owned() };
        let (ledger, nothing) = Ledger::resume(&path).unwrap();
        assert_eq!(nothing, BTreeMap::new());
        ledger.claim(a, &claim).unwrap();
        for id in ids() {
            ledger.append(id).unwrap();
        }
        let error = Ledger::resume(&path).unwrap_err();
        assert!(crate::error::chain(&error).contains("another producer is using it"), "{error}");
        drop(ledger);

        // A machine that went down while it wrote.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"0000000a:").unwrap();
        let (ledger, entries) = Ledger::resume(&path).unwrap();
        ledger.append("0000000a:2".parse().unwrap()).unwrap();
        drop(ledger);
        let of_a = &entries[&a];
        assert_eq!(of_a.claim, Some(claim));
        assert_eq!([0, 1, 2, 3, 4].map(|n| of_a.acknowledged.contains(n)), [true, true, false, true, false]);
        assert_eq!([0, 2, 3, 9].map(|n| of_a.acknowledged.count_below(n)), [0, 2, 2, 3]);
        let (_, entries) = Ledger::resume(&path).unwrap();
        assert_eq!(entries[&a].acknowledged.count_below(u64::MAX), 4);
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn a_file_that_is_no_ledger_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        for wrong in ["hello", "claim 0000000a", "claim 0000000a x 0 d", "0000000a:01"] {
            std::fs::write(&path, format!("0000000a:0\n{wrong}\n")).unwrap();
            let error = crate::error::chain(&Ledger::resume(&path).unwrap_err());
            assert!(error.contains("line 2"), "{wrong}: {error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2, "it is left as it was");
        }
    }

    proptest! {
        #[test]
        fn a_set_of_sequences_is_a_set(sequences in proptest::collection::vec(0_u64..40, 0..60), end in 0_u64..50) {
            let mut set = Sequences::default();
            sequences.iter().for_each(|sequence| set.insert(*sequence));
            let expected: BTreeSet<u64> = sequences.into_iter().collect();
            for sequence in 0..50 {
                prop_assert_eq!(set.contains(sequence), expected.contains(&sequence));
            }
            prop_assert_eq!(set.count_below(end), expected.range(..end).count() as u64);
        }
    }
}
