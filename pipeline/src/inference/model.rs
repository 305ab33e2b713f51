//! The trait of models: pixels in, logits out, and a description of both.
//!
//! Anything that implements [`Model`] can stand behind the server: the candle network, a faster compiled one, a
//! fake in a test. It is driven by one thread at a time and never sees an image of the wrong size.

use super::decode::Resize;
use super::error::{Error, Result};
use firesteel_proto::Label;
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
/// The model's own, and [`Error::Output`] when the logits are too many, too few or not finite.
pub fn classify(model: &mut dyn Model, pixels: &[u8], count: usize) -> Result<Vec<Classification>> {
    let logits = model.forward(pixels)?;
    let info = model.info();
    let output = |problem: String| Error::Output { model: info.name.clone(), problem };
    let classes = info.classes.len();
    if classes == 0 || logits.len() != count * classes {
        let found = logits.len();
        return Err(output(format!("gave {found} logits for {count} images of {classes} classes")));
    }
    logits
        .chunks_exact(classes)
        .map(|row| {
            most_probable(row).ok_or_else(|| output("gave a logit that is no finite number".to_owned()))
        })
        .collect()
}

/// The largest logit and its share of the softmax; of equal ones the first. `None` if one is not finite.
fn most_probable(logits: &[f32]) -> Option<Classification> {
    if !logits.iter().all(|v| v.is_finite()) {
        return None;
    }
    let class = (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best })?;
    // exp(x - max) cannot overflow, and the largest term is 1, so the sum is never 0.
    let sum: f32 = logits.iter().map(|v| (v - logits[class]).exp()).sum();
    Some(Classification { class, confidence: 1.0 / sum })
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
        assert_eq!(most_probable(&[1.0, f32::NAN]), None);
        assert_eq!(most_probable(&[]), None);
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
    }
}
