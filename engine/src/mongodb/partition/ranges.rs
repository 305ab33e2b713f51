//! How a collection is cut into ranges of `_id`: pure functions over boundaries.
//!
//! Ranges are half-open, the first is open below and the last above, so that they cover every value exactly once,
//! whatever the boundaries are. Boundaries come from a sample: they decide how even the parts are, never whether
//! a document is read.

/// From `lower`, inclusive, to `upper`, exclusive. `None` is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range<T> {
    pub(crate) lower: Option<T>,
    pub(crate) upper: Option<T>,
}

impl<T> Range<T> {
    /// The range that holds everything.
    pub(crate) fn full() -> Self {
        Self { lower: None, upper: None }
    }
}

/// How many partitions a collection of `documents` is worth, at least 1 and at most `wanted`.
pub(super) fn partition_count(documents: u64, wanted: usize, min_documents: u64) -> usize {
    let worth = documents / min_documents.max(1);
    usize::try_from(worth).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
}

/// How many documents to sample for `partitions` parts. Forty samples a part keep the expected size of a part
/// within about 16 % of even.
pub(super) fn sample_size(partitions: usize) -> usize {
    partitions.saturating_mul(40)
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
    fn without_a_sample_there_is_one_range() {
        assert_eq!(ranges(&boundaries::<i32>(&[], 8)), [Range::full()]);
    }
}
