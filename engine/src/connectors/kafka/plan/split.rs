//! How the ranges of a topic are cut into parts, one a scan partition: a pure function over offsets.
//!
//! A part never crosses a Kafka partition. Every partition that holds anything is at least one part; more where it is
//! larger than a part may be, or where the cluster has slots to spare and the parts stay worth their consumer.

use crate::config::MOST_PARTS;
use crate::connectors::kafka::config::PartSize;
use crate::connectors::kafka::read::spec::OffsetRange;

/// Cuts `ranges` for a cluster that runs `slots` tasks at a time.
pub(crate) fn split(ranges: &[OffsetRange], slots: usize, size: PartSize) -> Vec<OffsetRange> {
    let total: u64 = ranges.iter().map(OffsetRange::len).sum();
    let slots = u64::try_from(slots).unwrap_or(u64::MAX).max(1);
    // A list of parts without end would be the planner's memory.
    let least = total.div_ceil(MOST_PARTS).max(1);
    let even = total.div_ceil(slots).max(size.min).clamp(1, size.max.max(1)).max(least);
    ranges.iter().flat_map(|range| cut(range, range.len().div_ceil(even))).collect()
}

/// `parts` parts of nearly the same size.
fn cut(range: &OffsetRange, parts: u64) -> impl Iterator<Item = OffsetRange> {
    let (partition, first, len) = (range.partition, range.start, u128::from(range.len()));
    let at = move |part: u64| {
        let offset = len * u128::from(part) / u128::from(parts);
        first.saturating_add(i64::try_from(offset).unwrap_or(i64::MAX))
    };
    (0..parts).map(move |part| OffsetRange { partition, start: at(part), end: at(part + 1) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(partition: i32, start: i64, end: i64) -> OffsetRange {
        OffsetRange { partition, start, end }
    }

    #[test]
    fn small_partitions_stay_whole_and_large_ones_are_cut() {
        let size = PartSize { max: 1_000, min: 100 };
        for (ranges, slots, parts) in [
            (vec![], 4, vec![]),
            (vec![range(0, 5, 5)], 4, vec![]),
            (vec![range(0, 0, 10), range(1, 0, 10)], 8, vec![10, 10]),
            (vec![range(0, 0, 400)], 4, vec![100; 4]),
            (vec![range(0, 0, 399)], 1, vec![399]),
            (vec![range(0, 0, 2_500)], 1, vec![833, 833, 834]),
            // The larger of two partitions gets the slots.
            (vec![range(0, 0, 100), range(1, 50, 950)], 4, vec![100, 225, 225, 225, 225]),
        ] {
            let cut: Vec<u64> = split(&ranges, slots, size).iter().map(OffsetRange::len).collect();
            assert_eq!(cut, parts, "{ranges:?} for {slots}");
        }
    }

    proptest! {
        #[test]
        fn every_offset_is_in_exactly_one_part(
            starts in prop::collection::vec((0..1_000_i64, 0..200_i64), 0..6),
            slots in 0..20_usize,
            max in 0..300_u64,
            min in 0..100_u64,
        ) {
            let ranges: Vec<OffsetRange> =
                (0..).zip(starts).map(|(id, (start, len))| range(id, start, start + len)).collect();
            let parts = split(&ranges, slots, PartSize { max, min });
            for whole in &ranges {
                let mut next = whole.start;
                for part in parts.iter().filter(|part| part.partition == whole.partition) {
                    prop_assert_eq!(part.start, next);
                    prop_assert!(part.start < part.end && part.len() <= max.max(1));
                    next = part.end;
                }
                prop_assert_eq!(next, whole.end);
            }
        }
    }

    #[test]
    fn the_largest_offsets_do_not_overflow() {
        let parts = split(&[range(0, i64::MAX - 7, i64::MAX)], 3, PartSize { max: 3, min: 1 });
        assert_eq!(parts.len(), 3);
        assert_eq!((parts[0].start, parts[2].end), (i64::MAX - 7, i64::MAX));
    }
}
