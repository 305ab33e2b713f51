//! How good and how fast a model is on labelled images: the figures of a model card.

use super::error::{Error, Result};
use super::model::{Model, classify};
use std::time::{Duration, Instant};

/// A labelled image, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// u8 `[height, width, 3]`, as [`Decoder`](super::Decoder) gives it.
    pub pixels: Vec<u8>,
    /// The true class, an index into the model's classes.
    pub class: usize,
}

/// What a model made of a set of images.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Which model.
    pub model: String,
    /// Images.
    pub images: usize,
    /// Images that were named rightly.
    pub correct: usize,
    /// `confusion[true][predicted]`.
    pub confusion: Vec<Vec<u64>>,
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

    /// Images a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn images_per_second(&self) -> f64 {
        self.images as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Runs `model` over `samples`, `batch` at a time (0 counts as 1).
///
/// # Errors
/// The model's own, and [`Error::Output`] for a sample of a class or size that the model does not have.
pub fn evaluate(model: &mut dyn Model, samples: &[Sample], batch: usize) -> Result<Evaluation> {
    let info = model.info().clone();
    let batch = batch.max(1);
    let classes = info.classes.len();
    let mut confusion = vec![vec![0_u64; classes]; classes];
    let (mut correct, mut time, mut pixels) = (0, Duration::ZERO, Vec::new());
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
        }
    }
    Ok(Evaluation { model: info.name, images: samples.len(), correct, confusion, time, batch })
}
