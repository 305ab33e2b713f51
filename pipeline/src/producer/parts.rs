//! Which images of a data set each producer sends: a pure function.

use crate::dataset;

/// The images of one producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The row of its first image.
    pub(super) first: usize,
    /// How many follow each other from there, starting anew at the end of the data set.
    pub(super) images: u64,
}

/// The parts of `producers` over a data set of `rows`: `images` each, or else the data set once, in parts whose sizes differ by one
/// image at most.
pub(super) fn parts(images: Option<u64>, producers: usize, rows: usize) -> Vec<Part> {
    let bound = |producer: usize| {
        let row = producer as u128 * rows as u128 / producers.max(1) as u128;
        usize::try_from(row).unwrap_or(rows)
    };
    let part = |producer: usize| match images {
        Some(images) => Part { first: dataset::row(producer as u64, images, 0, rows), images },
        None => Part { first: bound(producer), images: (bound(producer + 1) - bound(producer)) as u64 },
    };
    (0..producers).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn without_a_number_each_image_is_sent_once(producers in 1_usize..50, rows in 1_usize..2_000) {
            let parts = parts(None, producers, rows);
            let sent: Vec<usize> = parts
                .iter()
                .flat_map(|part| (0..part.images).map(|n| dataset::row_after(part.first, n, rows)))
                .collect();
            prop_assert_eq!(sent, (0..rows).collect::<Vec<_>>());
            let sizes = parts.iter().map(|part| part.images);
            prop_assert!(sizes.clone().max().unwrap_or(0) - sizes.min().unwrap_or(0) <= 1);
        }

        #[test]
        fn with_a_number_each_sends_as_many(producers in 1_usize..50, images: u64, rows in 1_usize..2_000) {
            for (producer, part) in parts(Some(images), producers, rows).into_iter().enumerate() {
                prop_assert_eq!(part, Part { first: dataset::row(producer as u64, images, 0, rows), images });
            }
        }
    }
}
