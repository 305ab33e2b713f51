//! Partitions a scan: asks the server how large a collection is and where to cut it.
//!
//! What to ask follows from the partitioner and the size by a pure function, [`decide`]. What comes back is a list of ascending
//! boundaries, which [`ranges::ranges`] and [`ranges::records`] turn into partitions that cover everything exactly once:
//! ranges of `_id`, or of records where the documents do not lie in the order of `_id`.

pub(crate) mod boundaries;
pub(crate) mod collection;
pub(crate) mod index;
pub(crate) mod ranges;
pub(crate) mod sharded;

use bson::{Document, Timestamp};
use datafusion::error::Result;
use firesteel_common::mongodb::CollectionInfo;

use self::collection::CollectionRef;
use crate::config::{MOST_PARTS, Partitioner, ScanConfig};
use crate::connectors::mongodb::read::partition::ScanPartition;

/// How a collection is to be read.
#[derive(Debug)]
pub(crate) struct PartitionPlan {
    /// The part of the collection that each partition reads.
    pub(crate) partitions: Vec<ScanPartition>,
    /// How they were found, for `EXPLAIN`.
    pub(crate) partitioner: String,
    /// Whether whole documents cost less than what is wanted of them.
    pub(crate) whole_documents: bool,
}

impl PartitionPlan {
    /// One partition that reads everything, and why.
    pub(crate) fn one(partitioner: impl Into<String>) -> Self {
        Self {
            partitions: vec![ScanPartition::full()],
            partitioner: partitioner.into(),
            whole_documents: false,
        }
    }
}

/// How a collection is split: the question that the server is asked for the boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SplitDecision {
    /// Nothing: one part.
    Whole,
    /// `size` random ids, for `parts` parts.
    Sample { parts: usize, size: usize },
    /// The buckets of `$bucketAuto`.
    Buckets { parts: usize, sample: Option<u64> },
    /// Every `step`-th id, for `parts` parts.
    Pages { parts: usize, step: u64 },
}

/// Decides how to cut `documents` documents of `average_bytes` each, where `wanted` parts would keep the cluster busy.
fn decide(
    partitioner: Partitioner,
    documents: u64,
    average_bytes: u64,
    wanted: usize,
    config: &ScanConfig,
) -> SplitDecision {
    let wanted = wanted.min(usize::try_from(MOST_PARTS).unwrap_or(usize::MAX));
    let by_size = ranges::partition_count(documents, wanted, config.min_documents_per_partition);
    let pages = |parts: u64| {
        let most = config.max_partitions.and_then(|most| u64::try_from(most).ok());
        let parts = parts.clamp(1, most.unwrap_or(MOST_PARTS).clamp(1, MOST_PARTS)).min(documents.max(1));
        SplitDecision::Pages { parts: usize::try_from(parts).unwrap_or(1), step: documents.div_ceil(parts) }
    };
    let cut = match partitioner {
        Partitioner::Single => SplitDecision::Whole,
        Partitioner::Auto | Partitioner::Sharded => {
            SplitDecision::Sample { parts: by_size, size: ranges::sample_size(by_size, documents) }
        }
        Partitioner::Sample { per_partition } => {
            let each = usize::try_from(per_partition.get()).unwrap_or(usize::MAX);
            SplitDecision::Sample { parts: by_size, size: by_size.saturating_mul(each) }
        }
        Partitioner::BucketAuto { sample } => {
            SplitDecision::Buckets { parts: by_size, sample: sample.map(|sample| sample.get()) }
        }
        Partitioner::Size { megabytes } => {
            let part = megabytes.get().saturating_mul(1 << 20);
            pages(documents.saturating_mul(average_bytes).div_ceil(part))
        }
        Partitioner::Count { partitions } => pages(u64::from(partitions.get())),
    };
    match cut {
        SplitDecision::Sample { parts: 0 | 1, .. }
        | SplitDecision::Buckets { parts: 0 | 1, .. }
        | SplitDecision::Pages { parts: 0 | 1, .. } => SplitDecision::Whole,
        cut => cut,
    }
}

/// The scan that is partitioned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanRequest<'a> {
    pub(crate) filter: Option<&'a Document>,
    /// The fields that are read.
    pub(crate) columns: &'a [&'a str],
    /// The snapshot; `None` on a server without.
    pub(crate) cluster_time: Option<Timestamp>,
    /// How many parts keep the cluster busy, where the partitioner leaves the number open.
    pub(crate) parts: usize,
}

/// Cuts a collection into parts. A filter that an index finds the few documents for makes it one part.
pub(crate) async fn plan_partitions(
    target: CollectionRef<'_>,
    info: &CollectionInfo,
    request: ScanRequest<'_>,
    config: &ScanConfig,
) -> Result<PartitionPlan> {
    let partitioner = config.partitioner;
    if partitioner == Partitioner::Single {
        return Ok(PartitionPlan::one("single"));
    }
    // A scan over ranges of records needs no order of ids, but a snapshot: else its last record may be deleted meanwhile. And the
    // server looks for matches of a filter beyond the last record, up to the end, before it answers.
    let by_record = request
        .cluster_time
        .filter(|_| info.has_record_ids() && partitioner == Partitioner::Auto && request.filter.is_none());
    if !info.is_splittable() && by_record.is_none() {
        return Ok(PartitionPlan::one("single (only a collection without a collation is split)"));
    }
    let mut shown = partitioner.to_string();
    if partitioner == Partitioner::Sharded {
        match boundaries::chunks(target).await? {
            Ok(chunks) => {
                let partitions = ranges::ranges(&chunks).into_iter().map(ScanPartition::Ids).collect();
                return Ok(PartitionPlan { partitions, partitioner: shown, whole_documents: false });
            }
            Err(reason) => shown = format!("auto (not sharded: {reason})"),
        }
    }
    let size = boundaries::size(target, matches!(partitioner, Partitioner::Size { .. })).await?;
    let cut = decide(partitioner, size.documents, size.average_bytes, request.parts, config);
    if let (Partitioner::Auto, Some(filter), SplitDecision::Sample { parts, .. }) =
        (partitioner, request.filter, cut)
        && let Some(index) = index::selective(target, filter, size.documents, parts).await?
    {
        return Ok(PartitionPlan::one(format!("single (index {index})")));
    }
    let mut whole_documents = false;
    let found: Vec<Document> = match cut {
        SplitDecision::Whole => Vec::new(),
        SplitDecision::Sample { parts, size } => {
            let sample = boundaries::sample(target, size, request.columns).await?;
            whole_documents = prefers_whole_documents(sample.bytes, sample.wanted_bytes);
            if let Some(time) = by_record
                && let Some(records) = boundaries::records(target, &sample.ids, time).await?
            {
                let partitions = ranges::records(&ranges::boundaries(&records, parts));
                let partitions = partitions.into_iter().map(ScanPartition::Records).collect();
                return Ok(PartitionPlan {
                    partitions,
                    partitioner: format!("{shown} (records)"),
                    whole_documents,
                });
            }
            if !info.is_splittable() {
                return Ok(PartitionPlan {
                    whole_documents,
                    ..PartitionPlan::one("single (a collation, and no records)")
                });
            }
            ranges::boundaries(&sample.ids, parts)
        }
        SplitDecision::Buckets { parts, sample } => boundaries::buckets(target, parts, sample).await?,
        SplitDecision::Pages { parts, step } => boundaries::pages(target, parts, step).await?,
    };
    let partitions = ranges::ranges(&distinct(found)).into_iter().map(ScanPartition::Ids).collect();
    Ok(PartitionPlan { partitions, partitioner: shown, whole_documents })
}

/// Whether a server should send documents of `bytes` as they are, although only `wanted` bytes of them are read.
///
/// Picking fields costs `mongod` 6.0.5 more than half as much again as copying a document of 200 bytes (0.28 s instead of
/// 0.17 s of its processor time for 500,000 predictions and six of their ten fields). More than twice what is needed is
/// never sent: between machines the network would pay.
fn prefers_whole_documents(bytes: u64, wanted: Option<u64>) -> bool {
    wanted.is_some_and(|wanted| wanted > 0 && bytes <= wanted.saturating_mul(2))
}

/// Leaves out a boundary that is the one before it. They are compared by their bytes: as values, NaN is not itself.
fn distinct(mut boundaries: Vec<Document>) -> Vec<Document> {
    boundaries.dedup_by(|next, last| next.to_vec().ok() == last.to_vec().ok());
    boundaries
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use super::*;

    #[test]
    fn whole_documents_are_sent_where_most_of_them_is_wanted() {
        for (bytes, wanted, expected) in [
            (200, Some(120), true),
            (200, Some(100), true),
            (200, Some(99), false),
            (200, None, false),
            (0, Some(0), false),
        ] {
            assert_eq!(prefers_whole_documents(bytes, wanted), expected, "{wanted:?} of {bytes}");
        }
    }

    #[test]
    fn what_is_asked_follows_from_partitioner_and_size() {
        let count = |partitions| Partitioner::Count { partitions: NonZeroU32::new(partitions).unwrap() };
        let size = |megabytes| Partitioner::Size { megabytes: NonZeroU64::new(megabytes).unwrap() };
        let sample = Partitioner::Sample { per_partition: NonZeroU32::new(10).unwrap() };
        let bucket = Partitioner::BucketAuto { sample: None };
        let config = ScanConfig { min_documents_per_partition: 1_000, ..ScanConfig::default() };
        for (partitioner, documents, bytes, wanted, expected) in [
            (Partitioner::Single, 1_000_000, 100, 8, SplitDecision::Whole),
            (Partitioner::Auto, 999, 100, 8, SplitDecision::Whole),
            (Partitioner::Auto, 3_000, 100, 8, SplitDecision::Sample { parts: 3, size: 120 }),
            (Partitioner::Sharded, 1_000_000, 100, 8, SplitDecision::Sample { parts: 8, size: 320 }),
            (sample, 1_000_000, 100, 8, SplitDecision::Sample { parts: 8, size: 80 }),
            (bucket, 1_000_000, 100, 8, SplitDecision::Buckets { parts: 8, sample: None }),
            (bucket, 10, 100, 8, SplitDecision::Whole),
            (count(64), 640, 100, 8, SplitDecision::Pages { parts: 64, step: 10 }),
            (count(64), 10, 100, 8, SplitDecision::Pages { parts: 10, step: 1 }),
            (count(64), 0, 0, 8, SplitDecision::Whole),
            (count(1), 10, 100, 8, SplitDecision::Whole),
            (size(1), 1 << 20, 8, 2, SplitDecision::Pages { parts: 8, step: 1 << 17 }),
            (size(8), 1 << 20, 8, 2, SplitDecision::Whole),
            (
                size(1),
                u64::MAX,
                8,
                2,
                SplitDecision::Pages { parts: 10_000, step: u64::MAX.div_ceil(10_000) },
            ),
        ] {
            assert_eq!(decide(partitioner, documents, bytes, wanted, &config), expected, "{partitioner}");
        }
        let capped = ScanConfig { max_partitions: Some(4), ..config };
        assert_eq!(decide(count(64), 640, 100, 8, &capped), SplitDecision::Pages { parts: 4, step: 160 });
    }
}
