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

/// There are so many partitions that each has about as many bytes at most: a task that is tried again begins anew.
const PART_BYTES: u64 = 1 << 30;

/// The same for files, whose names travel with their task.
const PART_FILES: usize = 20_000;

/// The partitions for a cluster that runs `slots` tasks at a time, none of them empty. `reads` is whether files are opened.
pub(crate) fn spread(files: Vec<ImageFile>, slots: usize, reads: bool) -> Vec<Vec<ImageFile>> {
    let cost = |file: &ImageFile| if reads { file.size.saturating_add(FILE_COST) } else { 1 };
    let parts = parts(&files, slots, reads);
    let mut loads: BinaryHeap<Reverse<(u64, usize)>> = (0..parts).map(|part| Reverse((0, part))).collect();
    let mut spread: Vec<Vec<ImageFile>> = vec![Vec::new(); parts];
    let mut files = files;
    files.sort_unstable_by(|a, b| (Reverse(a.size), &a.relative).cmp(&(Reverse(b.size), &b.relative)));
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

/// How many partitions there are.
fn parts(files: &[ImageFile], slots: usize, reads: bool) -> usize {
    let most = usize::try_from(MOST_PARTS).unwrap_or(usize::MAX);
    let least = files.len().div_ceil(PART_FILES);
    if !reads {
        return least.min(most);
    }
    let bytes = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size));
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
            assert_eq!(sizes(&spread(files(&found), slots, true)), expected, "{found:?} over {slots}");
        }
    }

    #[test]
    fn files_that_are_not_opened_need_one_task() {
        let many = files(&vec![1 << 30; PART_FILES + 1]);
        assert_eq!(spread(many[1..].to_vec(), 8, false).len(), 1);
        let two = spread(many, 8, false);
        assert_eq!(two.len(), 2);
        assert!(two.iter().all(|part| part.len() <= PART_FILES));
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_partition_and_none_has_much_more_than_another(
            found in prop::collection::vec(0..5_000_000_u64, 0..200),
            slots in 0..20_usize,
            reads in any::<bool>(),
        ) {
            let all = files(&found);
            let spread = spread(all.clone(), slots, reads);
            prop_assert!(spread.len() <= slots.max(1).min(found.len()));
            prop_assert!(spread.iter().all(|part| !part.is_empty() && part.is_sorted()));
            let mut together = spread.concat();
            together.sort();
            prop_assert_eq!(together, all);
            let load = |part: &Vec<ImageFile>| part.iter().map(|file| file.size + FILE_COST).sum::<u64>();
            let (most, least) = (spread.iter().map(load).max(), spread.iter().map(load).min());
            if let (true, Some(most), Some(least)) = (reads, most, least) {
                let largest = found.iter().max().copied().unwrap_or(0) + FILE_COST;
                prop_assert!(most - least <= largest, "{most} and {least}");
            }
        }
    }
}
