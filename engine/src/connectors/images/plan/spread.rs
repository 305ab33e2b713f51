//! How files are spread over partitions: a pure function over their sizes.
//!
//! The largest file goes first, and each to the partition that has the least so far, so no partition has more than another by
//! more than one file. Within a partition files are in the order of their names. Where no file is opened one partition is
//! enough for many.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::config::MOST_PARTS;
use crate::connectors::images::folder::ImageFile;

/// What opening a file, and what becomes of its image, costs beside its bytes: as much as so many of them.
const FILE_COST: u64 = 64 << 10;

/// There are so many partitions that each has about as many bytes at most. A task that is tried again begins anew, and a filter
/// over images gathers those that pass by their number alone: in the worst case all of a partition.
const PART_BYTES: u64 = 128 << 20;

/// The same for files, whose names travel with their task.
const PART_FILES: usize = 20_000;

/// The partitions for a cluster that runs `slots` tasks at a time, none of them empty. Files of up to `opened` bytes are opened;
/// `None` where none is.
pub(crate) fn spread(files: Vec<ImageFile>, slots: usize, opened: Option<u64>) -> Vec<Vec<ImageFile>> {
    let cost =
        |file: &ImageFile| if is_opened(file, opened) { file.size.saturating_add(FILE_COST) } else { 1 };
    let parts = parts(&files, slots, opened);
    let mut loads: BinaryHeap<Reverse<(u64, usize)>> = (0..parts).map(|part| Reverse((0, part))).collect();
    let mut spread: Vec<Vec<ImageFile>> = vec![Vec::new(); parts];
    let mut files = files;
    files.sort_unstable_by(|a, b| (Reverse(cost(a)), &a.relative).cmp(&(Reverse(cost(b)), &b.relative)));
    for file in files {
        let Some(mut least) = loads.peek_mut() else { break };
        let Reverse((load, part)) = &mut *least;
        *load = load.saturating_add(cost(&file));
        spread[*part].push(file);
    }
    spread.retain(|part| !part.is_empty());
    for part in &mut spread {
        part.sort_unstable();
    }
    spread
}

fn is_opened(file: &ImageFile, opened: Option<u64>) -> bool {
    opened.is_some_and(|most| file.size <= most)
}

/// How many partitions there are.
fn parts(files: &[ImageFile], slots: usize, opened: Option<u64>) -> usize {
    let most = usize::try_from(MOST_PARTS).unwrap_or(usize::MAX);
    let least = files.len().div_ceil(PART_FILES);
    if opened.is_none() {
        return least.min(most);
    }
    let read = files.iter().filter(|file| is_opened(file, opened));
    let bytes = read.fold(0_u64, |sum, file| sum.saturating_add(file.size));
    let by_bytes = usize::try_from(bytes.div_ceil(PART_BYTES)).unwrap_or(usize::MAX);
    slots.max(by_bytes).max(least).min(files.len()).min(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files(sizes: &[u64]) -> Vec<ImageFile> {
        let name = |(number, size): (usize, &u64)| ImageFile {
            relative: format!("{number:06}.jpg"),
            size: *size,
            modified: 0,
        };
        sizes.iter().enumerate().map(name).collect()
    }

    fn sizes(spread: &[Vec<ImageFile>]) -> Vec<Vec<u64>> {
        spread.iter().map(|part| part.iter().map(|file| file.size).collect()).collect()
    }

    #[test]
    fn partitions_are_as_many_as_slots_and_nearly_alike() {
        const MB: u64 = 1 << 20;
        for (found, slots, expected) in [
            (vec![], 4, vec![]),
            (vec![MB], 4, vec![vec![MB]]),
            (vec![MB; 4], 2, vec![vec![MB; 2]; 2]),
            // The large one has a partition to itself.
            (vec![MB, 5 * MB, MB, MB], 2, vec![vec![5 * MB], vec![MB; 3]]),
            // A task would have too much of them together.
            (vec![PART_BYTES - 1, PART_BYTES - 1, 2], 1, vec![vec![PART_BYTES - 1, 2], vec![PART_BYTES - 1]]),
            // Files without bytes are work, too.
            (vec![0; 4], 4, vec![vec![0]; 4]),
        ] {
            let spread = spread(files(&found), slots, Some(u64::MAX));
            assert_eq!(sizes(&spread), expected, "{found:?} over {slots}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_to_be_read_is_no_work() {
        // The first is 3 partitions' worth of bytes that nobody reads.
        let found = files(&[3 * PART_BYTES, 100, 100]);
        assert_eq!(sizes(&spread(found.clone(), 1, Some(100))), [[3 * PART_BYTES, 100, 100]]);
        assert_eq!(sizes(&spread(found, 2, Some(100))), [vec![3 * PART_BYTES, 100], vec![100]]);
    }

    #[test]
    fn files_that_are_not_opened_need_one_task() {
        let many = files(&vec![1 << 30; PART_FILES + 1]);
        assert_eq!(spread(many[1..].to_vec(), 8, None).len(), 1);
        let two = spread(many, 8, None);
        assert_eq!(two.len(), 2);
        assert!(two.iter().all(|part| part.len() <= PART_FILES));
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_partition_and_none_has_much_more_than_another(
            found in prop::collection::vec(0..5_000_000_u64, 0..200),
            slots in 0..20_usize,
            opened in prop::option::of(0..6_000_000_u64),
        ) {
            let all = files(&found);
            let spread = spread(all.clone(), slots, opened);
            let read = found.iter().filter(|size| opened.is_some_and(|most| **size <= most));
            let by_bytes = usize::try_from(read.sum::<u64>().div_ceil(PART_BYTES)).unwrap();
            prop_assert!(spread.len() <= slots.max(1).max(by_bytes).min(found.len()));
            prop_assert!(spread.iter().all(|part| !part.is_empty() && part.is_sorted()));
            let mut together = spread.concat();
            together.sort();
            prop_assert_eq!(&together, &all);
            let cost = |file: &ImageFile| if is_opened(file, opened) { file.size + FILE_COST } else { 1 };
            let load = |part: &Vec<ImageFile>| part.iter().map(cost).sum::<u64>();
            let (most, least) = (spread.iter().map(load).max(), spread.iter().map(load).min());
            if let (Some(most), Some(least)) = (most, least) {
                let largest = all.iter().map(cost).max().unwrap_or(0);
                prop_assert!(most - least <= largest, "{most} and {least}");
            }
        }
    }
}
