//! How the shipped model errs: its confusion matrix over the CIFAR-10 test set, and predictions that err alike.

use firesteel_proto::Label;
use std::sync::LazyLock;

/// The classes of the test set, in the order of [`CONFUSION`].
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The same as labels. Each is one for all predictions.
static LABELS: LazyLock<Vec<Label>> =
    LazyLock::new(|| CLASSES.iter().filter_map(|name| Label::parse("label", name).ok()).collect());

/// Images of each true class in the test set, which is the sum of each row of [`CONFUSION`].
const IMAGES_OF_A_CLASS: u16 = 1_000;

/// How often the model says class *column* of an image of class *row*, in the order of [`CLASSES`].
///
/// Source: `confusion` of `assets/evaluation.json`, PyTorch's f32 forward pass of the shipped weights over all 10,000
/// test images. A test compares the two.
pub const CONFUSION: [[u16; 10]; 10] = [
    [946, 4, 9, 4, 4, 1, 4, 1, 19, 8],
    [5, 972, 0, 0, 0, 0, 0, 0, 3, 20],
    [18, 0, 911, 23, 21, 12, 12, 1, 2, 0],
    [3, 3, 17, 848, 21, 76, 14, 8, 7, 3],
    [2, 0, 16, 20, 929, 12, 10, 11, 0, 0],
    [5, 0, 8, 74, 12, 886, 4, 9, 0, 2],
    [8, 0, 10, 23, 3, 4, 950, 0, 1, 1],
    [4, 0, 6, 11, 9, 13, 1, 953, 1, 2],
    [16, 4, 4, 5, 1, 0, 3, 0, 962, 5],
    [2, 26, 1, 1, 1, 0, 2, 0, 9, 958],
];

/// The true class and the prediction of a test image that is picked by `random`, each image alike, as indexes of [`CLASSES`].
pub(super) fn pick(random: u64) -> (usize, usize) {
    let [class, rank] = [random >> 32, random & 0xffff_ffff];
    // Lemire's multiply-shift: a uniform number below n out of 32 uniform bits. Both are below n by construction.
    let class = below(class, CLASSES.len() as u64);
    let mut rank = below(rank, u64::from(IMAGES_OF_A_CLASS));
    for (predicted, images) in CONFUSION[class].into_iter().enumerate() {
        match rank.checked_sub(usize::from(images)) {
            Some(rest) => rank = rest,
            None => return (class, predicted),
        }
    }
    (class, class)
}

/// The label of a class.
pub(super) fn label(class: usize) -> Label {
    LABELS[class].clone()
}

fn below(random: u64, n: u64) -> usize {
    usize::try_from((random * n) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::{Network, Weights};

    #[test]
    fn the_matrix_is_that_of_the_shipped_evaluation() {
        let evaluation: serde_json::Value =
            serde_json::from_str(include_str!("../../assets/evaluation.json")).expect("JSON");
        assert_eq!(evaluation["confusion"], serde_json::json!(CONFUSION));
        for row in CONFUSION {
            assert_eq!(row.iter().sum::<u16>(), IMAGES_OF_A_CLASS);
        }
    }

    #[test]
    fn every_class_has_its_label_and_they_are_those_of_the_shipped_model() {
        let model = Network::read(Weights::shipped().expect("weights")).expect("a network");
        assert_eq!(model.info.classes, (0..CLASSES.len()).map(label).collect::<Vec<_>>());
    }

    #[test]
    fn every_test_image_is_picked_alike() {
        // All classes and ranks once: exactly the matrix comes out.
        let mut counts = [[0; 10]; 10];
        for class in 0..10_u64 {
            for rank in 0..1_000_u64 {
                // The smallest 32 bits that the multiplication takes to this number.
                let bits = |value: u64, n: u64| (value << 32).div_ceil(n);
                let (label, predicted) = pick((bits(class, 10) << 32) | bits(rank, 1_000));
                counts[label][predicted] += 1_u16;
            }
        }
        assert_eq!(counts, CONFUSION);
    }
}
