//! How a collection is cut into partitions: the setting, by the names that Spark's MongoDB connector gives the choices.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

/// How a scan of a collection is cut into partitions, each a range of `_id`.
///
/// Whatever the choice, the ranges cover every `_id` of every type exactly once: a choice decides how even the parts are
/// and what finding the cuts costs. All but [`Partitioner::Size`], [`Partitioner::Count`] and
/// [`Partitioner::Sharded`] make as many parts as the cluster has task slots, where the collection is large enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partitioner {
    /// Cuts at random ids of a small `$sample`: quick, and even within some 16 %.
    #[default]
    Auto,
    /// Cuts at random ids, as `Auto`, of a sample that has this many ids a part (Spark's `SamplePartitioner`).
    Sample {
        /// Ids a part. More make the parts more even.
        per_partition: NonZeroU32,
    },
    /// Cuts where `$bucketAuto` does (Spark's `AutoBucketPartitioner`): even parts, of the sample or of everything.
    BucketAuto {
        /// How many random documents the server looks at; `None`: all of them, which reads the whole collection.
        sample: Option<NonZeroU64>,
    },
    /// Parts of about this many megabytes of documents, by the collection's average document (Spark's
    /// `PaginateBySizePartitioner`). Walks the `_id` index once.
    Size {
        /// Megabytes (2^20 bytes) a part.
        megabytes: NonZeroU64,
    },
    /// This many parts with equally many documents each (Spark's `PaginateIntoPartitionsPartitioner`). Walks the `_id`
    /// index once.
    Count {
        /// How many parts.
        partitions: NonZeroU32,
    },
    /// A part for each chunk of a collection that is sharded by `_id` (Spark's `ShardedPartitioner`). Any other
    /// collection is cut as by `Auto`, and `EXPLAIN` says why.
    Sharded,
    /// One part.
    Single,
}

impl fmt::Display for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => write!(f, "auto"),
            Self::Sample { per_partition } => write!(f, "sample({per_partition} per partition)"),
            Self::BucketAuto { sample: None } => write!(f, "bucketAuto"),
            Self::BucketAuto { sample: Some(sample) } => write!(f, "bucketAuto(sample of {sample})"),
            Self::Size { megabytes } => write!(f, "size({megabytes} MB)"),
            Self::Count { partitions } => write!(f, "count({partitions})"),
            Self::Sharded => write!(f, "sharded"),
            Self::Single => write!(f, "single"),
        }
    }
}
