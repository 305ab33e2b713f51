//! How a collection is cut into ranges of `_id` or of records: pure functions over boundaries.
//!
//! Ranges are half-open, the first is open below and the last above, so that they cover every value exactly once,
//! whatever the boundaries are. Boundaries come from a sample: they decide how even the parts are, never whether
//! a document is read.

use crate::connectors::mongodb::read::partition::{Range, RecordIdRange};

/// How many partitions a collection of `documents` is worth, at least 1 and at most `wanted`.
pub(super) fn partition_count(documents: u64, wanted: usize, min_documents: u64) -> usize {
    let worth = documents / min_documents.max(1);
    usize::try_from(worth).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
}

/// How many of `documents` to sample for `partitions` parts.
///
/// A boundary between two halves, the worst, lies within `0.5 / sqrt(samples)` of where it should, as a share of everything.
/// Forty samples a part keep a part within about 16 % of even. A large collection is worth more: one sample for 5,000
/// documents, five hundred a part at most, with which it is within about 5 %.
pub(super) fn sample_size(partitions: usize, documents: u64) -> usize {
    let each = documents / (partitions.max(1) as u64).saturating_mul(5_000);
    let each = usize::try_from(each).unwrap_or(usize::MAX).clamp(40, 500);
    partitions.saturating_mul(each)
}

/// Picks at most `partitions - 1` distinct boundaries, in order, out of an ascending sample.
pub(super) fn boundaries<T: Clone + PartialEq>(sample: &[T], partitions: usize) -> Vec<T> {
    let mut picked: Vec<T> = Vec::new();
    for part in 1..partitions {
        let Some(value) = sample.get(part * sample.len() / partitions) else { continue };
        if picked.last() != Some(value) {
            picked.push(value.clone());
        }
    }
    picked
}

/// The ranges between ascending boundaries: one more than there are boundaries.
pub(super) fn ranges<T: Clone>(boundaries: &[T]) -> Vec<Range<T>> {
    let lowers = std::iter::once(None).chain(boundaries.iter().cloned().map(Some));
    let uppers = boundaries.iter().cloned().map(Some).chain(std::iter::once(None));
    lowers.zip(uppers).map(|(lower, upper)| Range { lower, upper }).collect()
}

/// The parts between ascending records, each of which is the last of its part: one more than there are boundaries.
pub(super) fn records(boundaries: &[i64]) -> Vec<RecordIdRange> {
    let parts = ranges(boundaries).into_iter();
    parts.map(|Range { lower, upper }| RecordIdRange { after: lower, through: upper }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds<T: Ord>(range: &Range<T>, value: &T) -> bool {
        range.lower.as_ref().is_none_or(|lower| lower <= value)
            && range.upper.as_ref().is_none_or(|upper| value < upper)
    }

    proptest! {
        #[test]
        fn every_id_is_in_exactly_one_range(
            mut sample in prop::collection::vec(".{0,6}", 0..200),
            ids in prop::collection::vec(".{0,6}", 0..200),
            partitions in 1..20_usize,
        ) {
            sample.sort();
            let boundaries = boundaries(&sample, partitions);
            prop_assert!(boundaries.windows(2).all(|pair| pair[0] < pair[1]));
            let ranges = ranges(&boundaries);
            prop_assert!(ranges.len() <= partitions);
            for id in ids.iter().chain(&sample) {
                let holders = ranges.iter().filter(|range| holds(range, id)).count();
                prop_assert_eq!(holders, 1, "{} in {:?}", id, ranges);
            }
        }

        #[test]
        fn every_record_is_in_exactly_one_part(
            mut sample in prop::collection::vec(any::<i64>(), 0..200),
            others in prop::collection::vec(any::<i64>(), 0..200),
            partitions in 1..20_usize,
        ) {
            sample.sort_unstable();
            let parts = records(&boundaries(&sample, partitions));
            for record in others.iter().chain(&sample) {
                let holds = |part: &&RecordIdRange| {
                    part.after.is_none_or(|after| *record > after)
                        && part.through.is_none_or(|through| *record <= through)
                };
                prop_assert_eq!(parts.iter().filter(holds).count(), 1, "{} in {:?}", record, parts);
            }
        }

        #[test]
        fn parts_of_a_full_sample_are_even(size in 1..2_000_usize, partitions in 1..20_usize) {
            let sample: Vec<usize> = (0..size).collect();
            let ranges = ranges(&boundaries(&sample, partitions));
            for range in &ranges {
                let held = sample.iter().filter(|value| holds(range, value)).count();
                prop_assert!(held <= size.div_ceil(partitions));
            }
        }
    }

    #[test]
    fn small_collections_are_one_partition() {
        for (documents, wanted, expected) in
            [(0, 8, 1), (4_000, 8, 1), (39_999, 8, 1), (40_000, 8, 2), (10_000_000, 8, 8), (10_000_000, 0, 1)]
        {
            assert_eq!(partition_count(documents, wanted, 20_000), expected, "{documents} into {wanted}");
        }
        assert_eq!(partition_count(5, 8, 0), 5, "no minimum");
    }

    #[test]
    fn samples_grow_with_the_collection() {
        for (partitions, documents, expected) in
            [(3, 3_000, 120), (8, 1_000_000, 320), (2, 5_000_000, 1_000), (2, u64::MAX, 1_000), (0, 1_000, 0)]
        {
            assert_eq!(sample_size(partitions, documents), expected, "{documents} into {partitions}");
        }
    }

    #[test]
    fn without_a_sample_there_is_one_range() {
        assert_eq!(ranges(&boundaries::<i32>(&[], 8)), [Range::full()]);
    }
}
