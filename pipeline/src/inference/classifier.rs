//! A model for callers on threads of their own who have many images at once: columns of a table, files of a folder.
//!
//! ```text
//! images ──▶ 256 at a time: decoded on all cores ──▶ the model, `batch` at a time ──▶ one answer an image
//! ```
//!
//! Callers share one model and take turns with it batch by batch, so that one decodes while the other's images are
//! classified. What is decoded at a time is bounded, however many images a call has.

use super::decode::{Decoder, Rejection};
use super::error::{Error, Result};
use super::model::{Classification, Model, ModelInfo, classify};
use rayon::prelude::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Images that are decoded at a time.
const DECODED: usize = 256;

/// A model behind a lock.
pub struct Classifier {
    info: ModelInfo,
    decoder: Decoder,
    batch: usize,
    model: Mutex<Box<dyn Model>>,
    /// Of the model, after its last batch.
    bytes: AtomicUsize,
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Classifier").field("model", &self.info.name).finish_non_exhaustive()
    }
}

impl Classifier {
    /// Takes a model, which gets `batch` images at once at most (0 counts as 1). An encoded image may have
    /// `max_image_bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Setting`] for a model of a size that no image can have.
    pub fn new(model: Box<dyn Model>, batch: usize, max_image_bytes: usize) -> Result<Self> {
        let info = model.info().clone();
        let decoder = Decoder::to(&info, max_image_bytes)?;
        let bytes = AtomicUsize::new(model.bytes());
        Ok(Self { info, decoder, batch: batch.max(1), model: Mutex::new(model), bytes })
    }

    /// Bytes that the model held after its last batch, see [`Model::bytes`]. Never waits.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The model's description.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What is in each of `images`, whose encoding is told from their bytes, or why that can never be said. In their
    /// order. Blocks, and computes on all cores.
    ///
    /// # Errors
    /// The model's own; nothing is said about any of the images then.
    pub fn classify(&self, images: &[&[u8]]) -> Result<Vec<Result<Classification, Rejection>>> {
        let mut answers = Vec::with_capacity(images.len());
        for part in images.chunks(DECODED) {
            let decoded: Vec<_> = part.par_iter().map(|image| self.decoder.decode_any(image)).collect();
            let readable: Vec<&[u8]> = decoded.iter().flatten().map(Vec::as_slice).collect();
            let mut said = Vec::with_capacity(readable.len());
            for batch in readable.chunks(self.batch) {
                said.extend(self.infer(batch)?);
            }
            let mut said = said.into_iter();
            for image in decoded {
                match image {
                    Err(rejection) => answers.push(Err(rejection)),
                    // There is one for each: `model::classify` counts them.
                    Ok(_) => answers.extend(said.next().map(Ok)),
                }
            }
        }
        Ok(answers)
    }

    fn infer(&self, images: &[&[u8]]) -> Result<Vec<Classification>> {
        let pixels = images.concat();
        // No thread of rayon's waits here: the model needs them, and whoever has it would wait for ever.
        let Ok(mut model) = self.model.lock() else {
            let message = "in an earlier call: this process has to be started anew".to_owned();
            return Err(Error::Panicked { model: self.info.name.clone(), message });
        };
        let said = classify(model.as_mut(), &pixels, images.len());
        self.bytes.store(model.bytes(), Ordering::Relaxed);
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Names the class that an image's first byte says; writes down how many it gets.
    struct Fake {
        info: ModelInfo,
        batches: Arc<Mutex<Vec<usize>>>,
    }

    impl Model for Fake {
        fn info(&self) -> &ModelInfo {
            &self.info
        }

        fn forward(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
            let images = pixels.chunks_exact(self.info.image_len());
            self.batches.lock().expect("nobody panics").push(images.len());
            assert!(images.clone().all(|image| image[0] != 250), "an image that the model cannot bear");
            let logits =
                |image: &[u8]| (0..3).map(|class| f32::from(u8::from(image[0] % 3 == class)) * 9.0).collect();
            Ok(images.flat_map(|image| -> Vec<f32> { logits(image) }).collect())
        }

        /// As many as its largest batch had images.
        fn bytes(&self) -> usize {
            self.batches.lock().expect("nobody panics").iter().max().copied().unwrap_or(0)
        }
    }

    fn classifier(batch: usize) -> (Classifier, Arc<Mutex<Vec<usize>>>) {
        let info = ModelInfo {
            name: "fake/u8".to_owned(),
            classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
            height: 1,
            width: 2,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let batches = Arc::default();
        let fake = Fake { info, batches: Arc::clone(&batches) };
        (Classifier::new(Box::new(fake), batch, 1 << 10).expect("a classifier"), batches)
    }

    #[test]
    fn every_image_gets_its_answer_in_bounded_batches() {
        let (classifier, batches) = classifier(100);
        let images: Vec<Vec<u8>> =
            (0..600_usize).map(|i| vec![(i % 200) as u8; if i % 7 == 3 { 5 } else { 6 }]).collect();
        let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
        let answers = classifier.classify(&images).expect("answers");
        assert_eq!(answers.len(), 600);
        for (i, answer) in answers.iter().enumerate() {
            match answer {
                Err(rejection) => {
                    assert_eq!(i % 7, 3);
                    assert_eq!(rejection, &Rejection::Unrecognised { found: 5, expected: 6 });
                }
                Ok(said) => {
                    assert_ne!(i % 7, 3);
                    assert_eq!(said.class, i % 200 % 3, "image {i}");
                    assert!(said.confidence > 0.9);
                }
            }
        }
        let batches = batches.lock().expect("nobody panics").clone();
        let readable = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(batches.iter().sum::<usize>(), readable);
        assert!(batches.iter().all(|&images| (1..=100).contains(&images)), "{batches:?}");
        assert_eq!(Some(classifier.bytes()), batches.into_iter().max(), "what the model holds now");
    }

    #[test]
    fn no_image_is_no_work() {
        let (classifier, batches) = classifier(0);
        assert!(classifier.classify(&[]).expect("nothing").is_empty());
        assert_eq!(classifier.classify(&[b""]).expect("a rejection"), [Err(Rejection::Empty)]);
        assert!(batches.lock().expect("nobody panics").is_empty());
        assert!(classifier.classify(&[&[1; 6], &[2; 6]]).expect("two").iter().all(Result::is_ok));
        assert_eq!(*batches.lock().expect("nobody panics"), [1, 1], "a batch of 0 is one of 1");
    }

    #[test]
    fn callers_on_several_threads_share_the_model() {
        let (classifier, _) = classifier(2);
        std::thread::scope(|scope| {
            for byte in 0..4_u8 {
                let classifier = &classifier;
                scope.spawn(move || {
                    let image = [byte; 6];
                    let answers = classifier.classify(&[image.as_slice(); 50]).expect("answers");
                    let right = |answer: &Result<Classification, Rejection>| {
                        answer.as_ref().is_ok_and(|said| said.class == usize::from(byte % 3))
                    };
                    assert!(answers.iter().all(right));
                });
            }
        });
    }

    #[test]
    fn a_model_that_panicked_is_not_asked_again() {
        let (classifier, _) = classifier(8);
        let classifier = Arc::new(classifier);
        let other = Arc::clone(&classifier);
        assert!(std::thread::spawn(move || drop(other.classify(&[&[250; 6]]))).join().is_err());
        let error = classifier.classify(&[&[1; 6]]).expect_err("its state is unknown");
        assert!(matches!(&error, Error::Panicked { model, .. } if model == "fake/u8"), "{error}");
    }
}
