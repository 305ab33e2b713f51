//! `seed`: synthetic predictions in MongoDB, for scale tests and benchmarks without hours of inference.
//!
//! [`Generator`] → batches of raw BSON → unordered `insert` commands, several side by side. The documents are those
//! that the sink writes, field for field; labels and errors come as often as from the shipped model. Index *i* has the
//! same document in every run with the same seed and number of producers, so a run that was interrupted, or that
//! should have been longer, is continued by running it again with [`Existing::Append`]: what is there already is
//! found, not doubled. Each batch is acknowledged with `w: majority, j: true`.

mod confusion;
mod generate;

pub use confusion::{CLASSES, CONFUSION};
pub use generate::{Generator, MODEL};

use crate::error::{Error, Result};
use crate::sink::{Layout, MongoConfig, MongoSink};
use firesteel_common::ConfigField;
use firesteel_proto::ProducerId;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const ROLE: &str = "seed";

/// What to do with a collection that holds documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and fail.
    Refuse,
    /// Add to it; a document whose `_id` is there is left as it is.
    Append,
    /// Drop it first.
    Drop,
}

/// The documents to write and the collection that they go to.
#[derive(Debug, Clone)]
pub struct Config {
    /// The collection.
    pub mongo: MongoConfig,
    /// The number of predictions.
    pub docs: u64,
    /// The seed of the predictions: equal seeds give equal predictions.
    pub seed: u64,
    /// The number of producers, who take turns.
    pub producers: u32,
    /// The share of images without a true class, 0 to 1.
    pub unlabelled: f64,
    /// How the collection is stored, where it has to be created.
    pub layout: Layout,
    /// What to do with a collection that holds documents.
    pub existing: Existing,
    /// Batches that are written side by side.
    pub writers: usize,
    /// Documents in a batch.
    pub batch: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mongo: MongoConfig::default(),
            docs: 100_000,
            seed: 1,
            producers: 4,
            unlabelled: 0.0,
            layout: Layout::Clustered,
            existing: Existing::Refuse,
            writers: 4,
            batch: 5_000,
        }
    }
}

/// Counters of the writers, which progress bars read while they run.
#[derive(Debug, Default)]
pub struct Stats {
    /// Documents written.
    pub written: AtomicU64,
    /// Documents that were there already.
    pub found: AtomicU64,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Documents written.
    pub written: u64,
    /// Documents that were there already.
    pub found: u64,
    /// The producers, in the order of their turns.
    pub producers: Vec<ProducerId>,
    /// From the first batch to the last acknowledgement.
    pub elapsed: Duration,
}

/// Writes the predictions, or those that are done when `shutdown` comes: batches under way are finished, and the
/// summary counts what is durable.
///
/// # Errors
/// MongoDB unreachable within 10 s or refusing; [`Error::CollectionNotEmpty`] unless told what to do about it;
/// [`Error::Setting`] for a layout that the collection does not have.
pub async fn run(config: Config, stats: Arc<Stats>, shutdown: CancellationToken) -> Result<Summary> {
    let sink = MongoSink::new(&config.mongo, ROLE).await?;
    let written = fill(&sink, config, stats, shutdown).await;
    sink.close().await;
    written
}

async fn fill(
    sink: &MongoSink,
    config: Config,
    stats: Arc<Stats>,
    shutdown: CancellationToken,
) -> Result<Summary> {
    sink.check().await?;
    make_room(sink, &config).await?;
    let generator = Generator::new(config.seed, config.producers).with_unlabelled(config.unlabelled);
    let start = Instant::now();
    let stop = shutdown.child_token();
    let next = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for _ in 0..config.writers.max(1) {
        let (sink, stats, stop) = (sink.clone(), Arc::clone(&stats), stop.clone());
        let (next, docs, batch) = (Arc::clone(&next), config.docs, config.batch);
        writers.spawn(async move {
            while !stop.is_cancelled()
                && let Some(range) = stretch(next.fetch_add(1, Ordering::Relaxed), batch, docs)
            {
                let count = range.end - range.start;
                let found = sink.insert(range.map(|index| generator.prediction(index))).await?;
                stats.found.fetch_add(found, Ordering::Relaxed);
                stats.written.fetch_add(count - found, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    let mut failure = None;
    while let Some(ended) = writers.join_next().await {
        if let Err(error) = ended.unwrap_or(Err(Error::Stopped { task: "a writer" })) {
            stop.cancel();
            failure.get_or_insert(error);
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    Ok(Summary {
        written: stats.written.load(Ordering::Relaxed),
        found: stats.found.load(Ordering::Relaxed),
        producers: (0..config.producers.max(1)).map(|number| generator.producer(number)).collect(),
        elapsed: start.elapsed(),
    })
}

/// A collection that this run may write to.
async fn make_room(sink: &MongoSink, config: &Config) -> Result<()> {
    match config.existing {
        Existing::Drop => sink.drop_collection().await?,
        Existing::Append => {}
        Existing::Refuse => match sink.documents().await? {
            0 => {}
            documents => {
                return Err(Error::CollectionNotEmpty {
                    database: config.mongo.database.clone(),
                    collection: config.mongo.collection.clone(),
                    documents,
                });
            }
        },
    }
    if let Some(found) = sink.layout().await?
        && found != config.layout
    {
        let reason = format!(
            "{}.{} exists and is {found}; replacing it makes it anew",
            config.mongo.database, config.mongo.collection
        );
        return Err(Error::Setting { field: ConfigField::SeedLayout, reason });
    }
    sink.prepare_as(config.layout).await
}

/// The indexes of batch `number`; none behind the end.
fn stretch(number: u64, batch: u64, docs: u64) -> Option<Range<u64>> {
    let batch = batch.max(1);
    let start = number.checked_mul(batch).filter(|start| *start < docs)?;
    Some(start..start.saturating_add(batch).min(docs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batches_cover_every_index_once(batch in 0_u64..50, docs in 0_u64..500) {
            let all: Vec<u64> = (0..).map_while(|number| stretch(number, batch, docs)).flatten().collect();
            prop_assert_eq!(all, (0..docs).collect::<Vec<_>>());
        }

        #[test]
        fn no_batch_is_behind_the_end(number: u64, batch: u64, docs: u64) {
            if let Some(range) = stretch(number, batch, docs) {
                prop_assert!(range.start < range.end && range.end <= docs);
            }
        }
    }
}
