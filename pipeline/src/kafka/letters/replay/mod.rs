//! Sends the records of dead letters back: to the topic that they came from, or to another.
//!
//! ```text
//!  letters ──decide──▶ a batch ──▶ one transaction: the records ──▶ {topic}
//!             ▲  │                                  their marks ──▶ {topic}.dead-letter.replayed
//!             │  └ cut: the whole record, from its source offset
//!           marks that are committed
//! ```
//!
//! What is guaranteed, at any kill of the process at any moment: whoever reads committed records, as the consumers do, finds
//! the record of a letter replayed once or not at all, and a second replay adds nothing. Each record and its mark are
//! written in one transaction. The id of the transactions is made of the topic of letters: a replay that begins first ends
//! what an earlier one has left open, and takes over from one that still runs, whose next transaction is refused. Only then
//! are the marks read, so it sees all that were committed.
//!
//! A record is replayed as it was, with its key and its own headers, and two more: `replay.attempts`, one more than before,
//! and `replay.of`, the letter. When it fails again its letter has them, too, so a record that always fails is not sent
//! round for ever.

mod decide;
mod transaction;

pub use decide::Left;

use self::decide::{Decision, Record, Rules};
use self::transaction::{Outgoing, Transactions, Written};
use super::fetch::{Fetched, Fetcher};
use super::marks::{Marks, mark, marks_topic};
use super::{Filter, Letter, Letters, ROLE};
use crate::error::{Error, Result};
use crate::kafka::admin::topic_names;
use crate::kafka::{KafkaConfig, TopicSpec, dead_letter_topic, ensure_topics};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio_util::sync::CancellationToken;

/// A batch ends at this many bytes, too: what it holds is memory.
const BATCH_BYTES: usize = 8 << 20;

/// What to replay.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster.
    pub kafka: KafkaConfig,
    /// The topic whose dead letters are meant.
    pub topic: String,
    /// Which of them.
    pub filter: Filter,
    /// The topic that their records go to; none: the one that they came from.
    pub to: Option<String>,
    /// A record that was replayed as often is left out.
    pub max_attempts: u32,
    /// How many records a transaction has, at most.
    pub batch: usize,
    /// Decides, and writes nothing.
    pub dry_run: bool,
    /// How many replicas the topic of marks is made with; -1 is the broker's default.
    pub replication: i32,
}

impl Config {
    /// How often a record is replayed unless told otherwise.
    pub const MAX_ATTEMPTS: u32 = 3;
    /// How many records a transaction has unless told otherwise.
    pub const BATCH: usize = 300;

    /// All letters of `topic` back to it.
    #[must_use]
    pub fn new(kafka: KafkaConfig, topic: impl Into<String>) -> Self {
        Self {
            kafka,
            topic: topic.into(),
            filter: Filter::default(),
            to: None,
            max_attempts: Self::MAX_ATTEMPTS,
            batch: Self::BATCH,
            dry_run: false,
            replication: -1,
        }
    }
}

/// How far a replay has got.
#[derive(Debug, Default)]
pub struct Stats {
    /// How many letters there are to read, at most.
    pub wanted: AtomicU64,
    /// How many of them were read.
    pub read: AtomicU64,
}

/// What a replay did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records that were sent, and are committed.
    pub replayed: u64,
    /// Letters that were left out, by the reason.
    pub left: BTreeMap<Left, u64>,
    /// Whether the shutdown came before the end.
    pub interrupted: bool,
}

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Its record was sent, or would be.
    Replayed {
        /// The topic.
        to: String,
        /// For which time.
        attempt: u32,
    },
    /// It was left out.
    Left(Left),
}

/// The id of the transactions of replays of the topic `letters`. Two that have one id do not run at once.
#[must_use]
pub fn transactional_id(letters: &str) -> String {
    format!("firesteel-replay-{letters}")
}

/// Replays the letters that were there at the start. `told` hears of each letter once its fate is certain. A shutdown ends
/// it between two transactions.
///
/// # Errors
/// [`Error::Topic`] when a topic is missing or refuses, [`Error::ReplayTakenOver`] when another replay of these letters has
/// begun meanwhile. What was committed before stays, and is not sent again.
pub async fn run(
    config: Config,
    stats: &Stats,
    mut told: impl FnMut(&Letter, &Fate) + Send,
    shutdown: CancellationToken,
) -> Result<Summary> {
    let letters = dead_letter_topic(&config.topic);
    let present = topic_names(&config.kafka, ROLE).await?;
    if !present.contains(&letters) {
        return Ok(Summary::default());
    }
    let to = config.to.as_deref().unwrap_or(&config.topic);
    if !present.iter().any(|name| name == to) {
        return Err(Error::Topic {
            topic: to.to_owned(),
            action: "replay into",
            address: config.kafka.bootstrap.clone(),
            source: Box::new(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition)),
        });
    }
    let transactions = match config.dry_run {
        true => None,
        false => {
            let name = marks_topic(&letters);
            let spec =
                TopicSpec::new(name).with_partitions(1).with_replication(config.replication).compacted();
            ensure_topics(&config.kafka, ROLE, &[spec]).await?;
            Some(Transactions::open(&config.kafka, &letters).await?)
        }
    };
    // Only now: nobody else can commit a mark any more.
    let marks = Marks::read(&config.kafka, &letters).await?;
    let Some(mut reading) = Letters::open(&config.kafka, &config.topic, config.filter.clone()).await? else {
        return Ok(Summary::default());
    };
    stats.wanted.store(reading.wanted(), Relaxed);
    let rules = Rules { topic: &config.topic, to: config.to.as_deref(), max_attempts: config.max_attempts };
    let fetcher = Fetcher::new(&config.kafka)?;
    let mut summary = Summary::default();
    let mut batch = Batch { transactions: transactions.as_ref(), waiting: Vec::new(), bytes: 0 };
    loop {
        let letter = tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                summary.interrupted = true;
                return Ok(summary);
            }
            letter = reading.next() => letter?,
        };
        stats.read.store(reading.read(), Relaxed);
        let Some(letter) = letter else { break };
        match resolve(&letter, &marks, &rules, &fetcher).await? {
            Ok((record, attempt)) => batch.push(letter, &record, to, attempt),
            Err(left) => leave(&mut summary, &mut told, &letter, left),
        }
        if batch.waiting.len() >= config.batch.max(1) || batch.bytes >= BATCH_BYTES {
            batch.write(&mut summary, &mut told).await?;
        }
    }
    batch.write(&mut summary, &mut told).await?;
    stats.read.store(reading.wanted(), Relaxed);
    Ok(summary)
}

fn leave(summary: &mut Summary, told: &mut impl FnMut(&Letter, &Fate), letter: &Letter, left: Left) {
    told(letter, &Fate::Left(left));
    *summary.left.entry(left).or_default() += 1;
}

/// The record to send for a letter, and for which time; or why there is none.
async fn resolve(
    letter: &Letter,
    marks: &Marks,
    rules: &Rules<'_>,
    fetcher: &Fetcher,
) -> Result<Result<(Record, u32), Left>> {
    let record = match decide::decide(letter, marks.has(letter), rules) {
        Decision::Leave(left) => return Ok(Err(left)),
        Decision::Send => Record::in_letter(letter),
        Decision::Fetch => match fetcher.fetch(letter).await? {
            Fetched::Whole(whole) => Record::whole(&whole),
            Fetched::Gone { .. } => return Ok(Err(Left::Gone)),
            Fetched::Another => return Ok(Err(Left::Another)),
        },
    };
    let before = record.replays();
    if before >= rules.max_attempts {
        return Ok(Err(Left::TooOften));
    }
    Ok(Ok((record, before + 1)))
}

/// Records that wait for their transaction.
struct Batch<'a> {
    /// None: nothing is written.
    transactions: Option<&'a Transactions>,
    waiting: Vec<(Letter, Fate, Outgoing)>,
    bytes: usize,
}

impl Batch<'_> {
    fn push(&mut self, letter: Letter, record: &Record, to: &str, attempt: u32) {
        let outgoing = Outgoing {
            topic: to.to_owned(),
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: record.headers(&format!("{}:{}", letter.topic(), letter.at()), attempt),
            mark: (letter.at().to_string(), mark(&letter, to, attempt)),
        };
        // The letter is kept, too, for whoever is told.
        self.bytes += outgoing.size() + letter.value().map_or(0, <[u8]>::len);
        self.waiting.push((letter, Fate::Replayed { to: to.to_owned(), attempt }, outgoing));
    }

    /// Writes all that wait in one transaction. Where a topic refuses a record for good, or several that were sent together,
    /// halves are tried, down to the one that is left out.
    async fn write(&mut self, summary: &mut Summary, told: &mut impl FnMut(&Letter, &Fate)) -> Result<()> {
        self.bytes = 0;
        let mut batches = vec![std::mem::take(&mut self.waiting)];
        while let Some(mut batch) = batches.pop() {
            let written = match self.transactions {
                Some(transactions) if !batch.is_empty() => {
                    transactions.write(batch.iter().map(|(_, _, outgoing)| outgoing)).await?
                }
                _ => Written::Committed,
            };
            match written {
                Written::Committed => {
                    for (letter, fate, _) in &batch {
                        told(letter, fate);
                    }
                    summary.replayed += batch.len() as u64;
                }
                Written::Refused { reason } | Written::GivenUp { reason } if batch.len() == 1 => {
                    for (letter, ..) in &batch {
                        tracing::warn!(letter = %letter.at(), topic = letter.topic(), reason, "record refused");
                        leave(summary, told, letter, Left::Refused);
                    }
                }
                Written::Refused { .. } | Written::GivenUp { .. } => {
                    let second = batch.split_off(batch.len() / 2);
                    batches.extend([second, batch]);
                }
            }
        }
        Ok(())
    }
}
