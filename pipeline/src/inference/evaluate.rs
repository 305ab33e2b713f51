//! How good and how fast a model is on labelled images: the figures of a model card.

use super::decode::{Decoder, Limits};
use super::error::{Error, Result};
use super::model::{Model, ModelInfo, classify};
use super::vocabulary::Vocabulary;
use crate::dataset::Image;
use rayon::prelude::*;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// A labelled image, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// u8 `[height, width, 3]`, as [`Decoder`] gives it.
    pub pixels: Vec<u8>,
    /// The true class, an index into the model's classes.
    pub class: usize,
}

/// The result of a model for a set of images.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The name of the model.
    pub model: String,
    /// Images.
    pub images: usize,
    /// Images that were named rightly.
    pub correct: usize,
    /// `confusion[true][predicted]`.
    pub confusion: Vec<Vec<u64>>,
    /// The class that each image was given, in their order.
    pub predicted: Vec<usize>,
    /// Time in the model, normalisation included, JPEG decoding not.
    pub time: Duration,
    /// Images at once; the last batch may be smaller.
    pub batch: usize,
}

impl Evaluation {
    /// Share of right answers, 0 to 1; 0 for no images.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn accuracy(&self) -> f64 {
        if self.images == 0 { 0.0 } else { self.correct as f64 / self.images as f64 }
    }

    /// The share for each true class, 0 to 1; 0 for a class with no images.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn class_accuracy(&self) -> Vec<f64> {
        let share = |(class, row): (usize, &Vec<u64>)| match row.iter().sum::<u64>() {
            0 => 0.0,
            total => row[class] as f64 / total as f64,
        };
        self.confusion.iter().enumerate().map(share).collect()
    }

    /// How many of the images are given another class than in `other`, an evaluation of the same ones.
    #[must_use]
    pub fn disagreements(&self, other: &Self) -> usize {
        self.predicted.iter().zip(&other.predicted).filter(|(a, b)| a != b).count()
    }

    /// Images a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn images_per_second(&self) -> f64 {
        self.images as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Decodes images of a data set, on all cores, for a model of this description: u8 `[height, width, 3]` each. All of them
/// are in memory at once.
///
/// # Errors
/// [`Error::Output`] for an image that cannot be read or resized.
pub fn pixels(info: &ModelInfo, images: &[Image]) -> Result<Vec<Vec<u8>>> {
    let decoder = Decoder::to(info, Limits::DEFAULT)?;
    let decode = |image: &Image| {
        let decoded = decoder.decode(image.encoding, &image.data);
        decoded.map_err(|rejection| unusable(info, image, &rejection))
    };
    images.par_iter().map(decode).collect()
}

/// As [`pixels()`], with the true class of each image.
///
/// # Errors
/// As [`pixels()`], and [`Error::Output`] for an image without a true class or of a class that the model lacks.
pub fn samples(info: &ModelInfo, images: &[Image]) -> Result<Vec<Sample>> {
    let vocabulary = Vocabulary::from(info);
    let class = |image: &Image| {
        let label = image.label.as_ref().ok_or_else(|| unusable(info, image, "it has no true class"))?;
        let class = vocabulary.class(label).map(|(class, _)| class);
        class.ok_or_else(|| unusable(info, image, format_args!("class {label} is none of its classes")))
    };
    let classes = images.iter().map(class).collect::<Result<Vec<usize>>>()?;
    let pixels = pixels(info, images)?;
    Ok(pixels.into_iter().zip(classes).map(|(pixels, class)| Sample { pixels, class }).collect())
}

fn unusable(info: &ModelInfo, image: &Image, why: impl Display) -> Error {
    Error::Output { model: info.name.clone(), problem: format!("cannot take {}: {why}", image.name) }
}

/// Runs `model` over `samples`, `batch` at a time (0 counts as 1).
///
/// # Errors
/// The model's own, and [`Error::Output`] for a sample of a class or size that the model does not have.
pub fn evaluate(model: &mut dyn Model, samples: &[Sample], batch: usize) -> Result<Evaluation> {
    evaluate_watched(model, samples, batch, |_| true)
}

/// As [`evaluate`], and tells after each batch how many images are done. Where it is answered `false` it ends there:
/// what it gives then is about those images alone.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_watched(
    model: &mut dyn Model,
    samples: &[Sample],
    batch: usize,
    mut go_on: impl FnMut(usize) -> bool,
) -> Result<Evaluation> {
    let info = model.info().clone();
    let batch = batch.max(1);
    let classes = info.classes.len();
    let mut confusion = vec![vec![0_u64; classes]; classes];
    let (mut predicted, mut correct, mut time, mut pixels) = (Vec::new(), 0, Duration::ZERO, Vec::new());
    for (index, sample) in samples.iter().enumerate() {
        if sample.class >= classes || sample.pixels.len() != info.image_len() {
            let (class, bytes) = (sample.class, sample.pixels.len());
            let problem = format!("cannot take sample {index} with class {class} and {bytes} bytes");
            return Err(Error::Output { model: info.name, problem });
        }
    }
    for part in samples.chunks(batch) {
        pixels.clear();
        part.iter().for_each(|sample| pixels.extend_from_slice(&sample.pixels));
        let start = Instant::now();
        let answers = classify(model, &pixels, part.len())?;
        time += start.elapsed();
        for (sample, answer) in part.iter().zip(answers) {
            confusion[sample.class][answer.class] += 1;
            correct += usize::from(sample.class == answer.class);
            predicted.push(answer.class);
        }
        if !go_on(predicted.len()) {
            break;
        }
    }
    Ok(Evaluation { model: info.name, images: predicted.len(), correct, confusion, predicted, time, batch })
}
