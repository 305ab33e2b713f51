//! Which files of a partition are a batch: a pure function over their sizes.
//!
//! A batch is bounded in bytes as well as in rows, so that a folder of large photographs does not take the memory: a task holds
//! one batch, and what comes behind it is not read before it is taken.

use std::ops::Range;

/// The bytes of images that a batch has at most, unless one image alone has more.
pub(crate) const BATCH_BYTES: u64 = 8 << 20;

/// The end of the batch that begins with file `start` of these `sizes`: at least one file, where there is one.
pub(crate) fn next_batch(sizes: &[u64], start: usize, rows: usize, bytes: u64) -> Range<usize> {
    let mut sum = 0_u64;
    let fits = |(number, size): &(usize, &u64)| {
        sum = sum.saturating_add(**size);
        *number == 0 || (*number < rows && sum <= bytes)
    };
    let rest = sizes.get(start..).unwrap_or_default();
    start..start + rest.iter().enumerate().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_ends_by_rows_or_by_bytes() {
        for (sizes, start, rows, bytes, end) in [
            (vec![1; 10], 0, 4, 100, 4),
            (vec![1; 10], 8, 4, 100, 10),
            (vec![5; 10], 0, 100, 17, 3),
            (vec![50, 1, 1], 0, 100, 17, 1),
            (vec![1, 50, 1], 0, 100, 17, 1),
            (vec![0; 3], 0, 100, 0, 3),
            (vec![1, 1], 0, 0, 17, 1),
            (vec![u64::MAX, u64::MAX], 0, 9, u64::MAX, 2),
            (vec![], 0, 9, 9, 0),
        ] {
            assert_eq!(next_batch(&sizes, start, rows, bytes), start..end, "{sizes:?} from {start}");
        }
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_batch_and_no_batch_is_too_large(
            sizes in prop::collection::vec(0..40_u64, 0..60), rows in 0..9_usize, bytes in 0..60_u64,
        ) {
            let mut start = 0;
            while start < sizes.len() {
                let batch = next_batch(&sizes, start, rows, bytes);
                prop_assert_eq!(batch.start, start);
                let sum: u64 = sizes[batch.clone()].iter().sum();
                prop_assert!(batch.len() == 1 || (batch.len() <= rows && sum <= bytes));
                // It takes what fits.
                if let Some(next) = sizes.get(batch.end) {
                    prop_assert!(batch.len() >= rows || sum + next > bytes);
                }
                start = batch.end;
            }
            prop_assert_eq!(start, sizes.len());
        }
    }
}
