//! The trait of models: pixels in, logits out, and a description of both.
//!
//! Anything that implements [`Model`] can stand behind the server: the candle network, a faster compiled one, a
//! fake in a test. It is driven by one thread at a time and never sees an image of the wrong size.

use super::decode::Resize;
use super::error::{Error, Result};
use firesteel_proto::Label;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A network that names what is in a picture.
pub trait Model: Send {
    /// The description of the inputs and the outputs.
    fn info(&self) -> &ModelInfo;

    /// The logits of `n` images: `pixels` is u8 `[n, height, width, 3]` (RGB, rows from the top), the result f32
    /// `[n, classes]`. A fast implementation may keep buffers between calls, hence `&mut`.
    ///
    /// # Errors
    /// When the computation fails; nothing is said about any of the images then.
    fn forward(&mut self, pixels: &[u8]) -> Result<Vec<f32>>;

    /// How many numbers [`Model::embed`] gives for an image; `None` where the model has no embedding to give.
    fn features(&self) -> Option<usize> {
        None
    }

    /// The embeddings of `n` images: what the network has found in each before its classifier says what that is. `pixels` is as in
    /// [`Model::forward`], the result f32 `[n, features]`.
    ///
    /// # Errors
    /// When the computation fails, and [`Error::Output`] from a model without [`Model::features`].
    fn embed(&mut self, _pixels: &[u8]) -> Result<Vec<f32>> {
        Err(no_embedding(self.info()))
    }

    /// The instructions that it is computed with, in words for people: empty where there is nothing to tell.
    fn kernels(&self) -> String {
        String::new()
    }

    /// Bytes of this process' memory, not of a GPU's, that it holds at this moment: its weights, as they are kept for the
    /// computation, and the buffers that it keeps between calls, which only grow.
    fn bytes(&self) -> usize;
}

/// A model's description.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Weights, their version where they have one, and precision: NAME/PRECISION or NAME@VERSION/PRECISION, e.g.
    /// "resnet18-cifar10/f32". It is what a prediction carries as its `model`.
    pub name: String,
    /// The network, as torchvision names it: "resnet18", "resnet50", "wide_resnet50_2".
    pub architecture: String,
    /// The classes, in the order of the outputs.
    pub classes: Vec<Label>,
    /// Other names by which a true label may mean a class, each with that class.
    pub aliases: BTreeMap<Label, Label>,
    /// The version of the weights, which is a part of `name`.
    pub version: Option<String>,
    /// Rows of an input image.
    pub height: usize,
    /// Columns of an input image.
    pub width: usize,
    /// The mean that is subtracted from RGB / 255, per channel.
    pub mean: [f32; 3],
    /// The standard deviation that the difference is divided by, per channel.
    pub std: [f32; 3],
    /// How an image of another size becomes one of the input's.
    pub resize: Resize,
}

impl ModelInfo {
    /// Bytes of one image's pixels.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.height * self.width * 3
    }

    /// Bytes of one image's pixels, where `pixels` are those of one or more whole images.
    ///
    /// # Errors
    /// [`Error::Output`] where they are not.
    pub(super) fn whole_images(&self, pixels: &[u8]) -> Result<usize> {
        let Self { height, width, .. } = self;
        if pixels.is_empty() || !pixels.len().is_multiple_of(self.image_len()) {
            let problem =
                format!("was given {} bytes, which are no whole images of {height}x{width}", pixels.len());
            return Err(Error::Output { model: self.name.clone(), problem });
        }
        Ok(self.image_len())
    }
}

/// The answer of a model for one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Classification {
    /// The most probable class, an index into [`ModelInfo::classes`].
    pub class: usize,
    /// Its softmax probability, 0 to 1.
    pub confidence: f32,
}

/// Runs the model on `count` images and reads its logits: one [`Classification`] an image.
///
/// # Errors
/// As [`logits`].
pub fn classify(model: &mut dyn Model, pixels: &[u8], count: usize) -> Result<Vec<Classification>> {
    let logits = logits(model, pixels, count)?;
    // There is at least one class, so that each row has a largest logit.
    Ok(logits.chunks_exact(logits.len() / count.max(1)).filter_map(most_probable).collect())
}

/// Runs the model on `count` images, at least one: f32 `[count, classes]`.
///
/// # Errors
/// The model's own, and [`Error::Output`] when the logits are too many, too few or not finite.
pub fn logits(model: &mut dyn Model, pixels: &[u8], count: usize) -> Result<Vec<f32>> {
    let found = model.forward(pixels)?;
    let info = model.info();
    checked(&info.name, found, count, info.classes.len(), ["logit", "classes"])
}

/// Runs the model on `count` images, at least one, up to its classifier: f32 `[count, features]`.
///
/// # Errors
/// The model's own, and [`Error::Output`] when it gives no embeddings, or when the numbers are too many, too few or not finite.
pub fn embeddings(model: &mut dyn Model, pixels: &[u8], count: usize) -> Result<Vec<f32>> {
    let found = model.embed(pixels)?;
    let width = model.features().unwrap_or(0);
    checked(&model.info().name, found, count, width, ["number", "features"])
}

/// The error of a model that gives none.
pub(super) fn no_embedding(info: &ModelInfo) -> Error {
    Error::Output { model: info.name.clone(), problem: "gives no embedding".to_owned() }
}

/// `found`, which has to be finite and `[count, width]`; `what` names one of its numbers, and its columns.
fn checked(model: &str, found: Vec<f32>, count: usize, width: usize, what: [&str; 2]) -> Result<Vec<f32>> {
    let [number, columns] = what;
    let problem = if width == 0 || found.len() != count * width {
        format!("gave {} {number}s for {count} images of {width} {columns}", found.len())
    } else if !found.iter().all(|v| v.is_finite()) {
        format!("gave a {number} that is no finite number")
    } else {
        return Ok(found);
    };
    Err(Error::Output { model: model.to_owned(), problem })
}

/// The largest of finite logits and its share of the softmax; of equal ones the first. `None` if there are none.
fn most_probable(logits: &[f32]) -> Option<Classification> {
    let class = (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best })?;
    Some(Classification { class, confidence: 1.0 / exponentials(logits).sum::<f32>() })
}

/// `exp(x - max)` of each logit, which cannot overflow; the largest is 1, so that their sum is never 0.
fn exponentials(logits: &[f32]) -> impl Iterator<Item = f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().map(move |v| (v - largest).exp())
}

/// The probability of each class: the softmax of an image's logits, which are finite, in the order of the classes.
#[must_use]
pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    let sum: f32 = exponentials(logits).sum();
    exponentials(logits).map(|part| part / sum).collect()
}

/// The `k` most probable classes of an image by its logits, which are finite, or all of them where there are fewer; the most probable
/// first, and equal ones in the order of the classes. The first is what [`classify`] says.
#[must_use]
pub fn top_k(logits: &[f32], k: usize) -> Vec<Classification> {
    let probabilities = probabilities(logits);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // The sort is stable. Logits tell classes apart whose probabilities are rounded to the same number.
    order.sort_by(|a, b| logits[*b].partial_cmp(&logits[*a]).unwrap_or(Ordering::Equal));
    order.truncate(k);
    order.into_iter().map(|class| Classification { class, confidence: probabilities[class] }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn softmax_of_the_largest_logit() {
        let c = most_probable(&[0.0, 2.0_f32.ln(), 0.0]).unwrap();
        assert_eq!(c.class, 1);
        assert!((c.confidence - 0.5).abs() < 1e-6);
        assert_eq!(most_probable(&[3.0, 3.0]).unwrap().class, 0, "the first of equals");
        assert_eq!(most_probable(&[]), None);
    }

    #[test]
    fn what_a_model_gives_has_to_be_finite_and_enough() {
        let check = |found: &[f32], count, width| {
            checked("m/f32", found.to_vec(), count, width, ["logit", "classes"]).map_err(|e| e.to_string())
        };
        assert_eq!(check(&[1.0, 2.0, 3.0, 4.0], 2, 2).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(
            check(&[1.0, 2.0, 3.0], 2, 2).unwrap_err(),
            "m/f32 gave 3 logits for 2 images of 2 classes"
        );
        assert!(check(&[], 2, 0).is_err(), "of no class");
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(check(&[1.0, value], 1, 2).unwrap_err().contains("finite"));
        }
    }

    #[test]
    fn the_best_come_first_and_equal_ones_in_the_order_of_the_classes() {
        let classes =
            |logits: &[f32], k| -> Vec<usize> { top_k(logits, k).iter().map(|one| one.class).collect() };
        assert_eq!(classes(&[1.0, 3.0, 2.0, 3.0], 3), [1, 3, 2]);
        assert_eq!(classes(&[0.0, -0.0, 0.0], 2), [0, 1]);
        assert_eq!(classes(&[1.0, 2.0], 9), [1, 0], "there are no more");
        assert!(classes(&[1.0, 2.0], 0).is_empty() && classes(&[], 3).is_empty());
    }

    #[test]
    fn a_model_without_an_embedding_says_so() {
        struct Bare(ModelInfo);
        impl Model for Bare {
            fn info(&self) -> &ModelInfo {
                &self.0
            }
            fn forward(&mut self, _: &[u8]) -> Result<Vec<f32>> {
                Ok(vec![0.0])
            }
            fn bytes(&self) -> usize {
                0
            }
        }
        let mut info =
            crate::inference::Network::read(crate::inference::Weights::shipped().unwrap()).unwrap().info;
        info.name = "bare/f32".to_owned();
        let error = embeddings(&mut Bare(info), &[0; 3_072], 1).unwrap_err().to_string();
        assert_eq!(error, "bare/f32 gives no embedding");
    }

    proptest! {
        #[test]
        fn a_confidence_is_a_probability(logits in proptest::collection::vec(-1e30_f32..1e30, 1..20)) {
            let c = most_probable(&logits).unwrap();
            prop_assert!((0.0..=1.0).contains(&c.confidence));
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let even = 1.0 / logits.len() as f32;
            prop_assert!(c.confidence >= even - 1e-6);
        }

        #[test]
        fn the_best_are_those_of_the_sorted_probabilities(
            logits in proptest::collection::vec(prop_oneof![-20_f32..20.0, -1e30_f32..1e30, Just(1.5)], 1..40),
            k in 1_usize..50,
        ) {
            let all = probabilities(&logits);
            prop_assert!((all.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{all:?}");
            let best = top_k(&logits, k);
            prop_assert_eq!(best.len(), k.min(logits.len()));
            prop_assert_eq!(Some(best[0]), most_probable(&logits));
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let confidences: Vec<f32> = best.iter().map(|one| one.confidence).collect();
            prop_assert_eq!(confidences.as_slice(), &sorted[..best.len()]);
            for (place, one) in best.iter().enumerate() {
                prop_assert_eq!(one.confidence, all[one.class]);
                let ahead = |other: &Classification| {
                    let (a, b) = (logits[other.class], logits[one.class]);
                    a > b || (a == b && other.class < one.class)
                };
                prop_assert!(best[..place].iter().all(ahead), "{best:?} of {logits:?}");
            }
        }
    }
}
