//! A table's partitioner as a message.

use std::num::{NonZeroU32, NonZeroU64};

use super::wire;
use super::wire::partitioner::Kind;
use crate::config::Partitioner;
use crate::connectors::mongodb::config::MOST_SAMPLES;
use crate::{Error, Result};

/// `None` for the default.
pub(super) fn encode(partitioner: Partitioner) -> Option<wire::Partitioner> {
    let kind = match partitioner {
        Partitioner::Auto => return None,
        Partitioner::Sample { per_partition } => Kind::SamplePerPartition(per_partition.get()),
        Partitioner::BucketAuto { sample } => Kind::BucketAutoSample(sample.map_or(0, NonZeroU64::get)),
        Partitioner::Size { megabytes } => Kind::SizeMegabytes(megabytes.get()),
        Partitioner::Count { partitions } => Kind::Count(partitions.get()),
        Partitioner::Sharded => Kind::Sharded(true),
        Partitioner::Single => Kind::Single(true),
    };
    Some(wire::Partitioner { kind: Some(kind) })
}

pub(super) fn decode(partitioner: Option<wire::Partitioner>) -> Result<Partitioner> {
    let Some(partitioner) = partitioner else { return Ok(Partitioner::Auto) };
    let zero = || Error::PlanDecode { message: "a partitioner holds a zero".to_owned() };
    Ok(match partitioner.kind {
        Some(Kind::SamplePerPartition(ids)) if ids > MOST_SAMPLES => {
            let message =
                format!("a partitioner takes {ids} ids for each partition, more than {MOST_SAMPLES}");
            return Err(Error::PlanDecode { message });
        }
        Some(Kind::SamplePerPartition(ids)) => {
            Partitioner::Sample { per_partition: NonZeroU32::new(ids).ok_or_else(zero)? }
        }
        Some(Kind::BucketAutoSample(sample)) => Partitioner::BucketAuto { sample: NonZeroU64::new(sample) },
        Some(Kind::SizeMegabytes(size)) => {
            Partitioner::Size { megabytes: NonZeroU64::new(size).ok_or_else(zero)? }
        }
        Some(Kind::Count(count)) => {
            Partitioner::Count { partitions: NonZeroU32::new(count).ok_or_else(zero)? }
        }
        Some(Kind::Sharded(_)) => Partitioner::Sharded,
        Some(Kind::Single(_)) => Partitioner::Single,
        None => {
            let message = "it holds a partitioner that this process does not know".to_owned();
            return Err(Error::PlanDecode { message });
        }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::connectors::mongodb) fn any_partitioner() -> impl Strategy<Value = Partitioner> {
        prop_oneof![
            Just(Partitioner::Auto),
            (1..=MOST_SAMPLES)
                .prop_map(|ids| Partitioner::Sample { per_partition: NonZeroU32::new(ids).unwrap() }),
            any::<Option<NonZeroU64>>().prop_map(|sample| Partitioner::BucketAuto { sample }),
            any::<NonZeroU64>().prop_map(|megabytes| Partitioner::Size { megabytes }),
            any::<NonZeroU32>().prop_map(|partitions| Partitioner::Count { partitions }),
            Just(Partitioner::Sharded),
            Just(Partitioner::Single),
        ]
    }

    #[test]
    fn a_zero_or_an_unknown_kind_is_refused() {
        for kind in [
            Some(Kind::Count(0)),
            Some(Kind::SizeMegabytes(0)),
            Some(Kind::SamplePerPartition(0)),
            Some(Kind::SamplePerPartition(u32::MAX)),
            None,
        ] {
            let decoded = decode(Some(wire::Partitioner { kind }));
            assert!(matches!(decoded, Err(Error::PlanDecode { .. })), "{decoded:?}");
        }
    }
}
