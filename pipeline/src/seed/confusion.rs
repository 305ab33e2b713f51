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
    [921, 3, 21, 4, 8, 0, 5, 3, 26, 9],
    [4, 964, 0, 1, 0, 0, 1, 0, 2, 28],
    [27, 0, 855, 25, 34, 17, 26, 8, 7, 1],
    [11, 3, 30, 782, 28, 102, 29, 7, 3, 5],
    [5, 1, 32, 21, 890, 20, 17, 13, 1, 0],
    [5, 0, 17, 100, 17, 831, 12, 17, 1, 0],
    [6, 2, 20, 23, 9, 7, 933, 0, 0, 0],
    [11, 0, 10, 20, 18, 19, 1, 917, 0, 4],
    [31, 7, 3, 5, 1, 1, 1, 2, 942, 7],
    [12, 28, 4, 3, 1, 0, 0, 0, 13, 939],
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
