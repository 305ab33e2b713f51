//! A model for callers on threads of their own who have many images at once: columns of a table, files of a folder.
//!
//! ```text
//! images ──▶ 256 at a time: answered already? ──▶ decoded on all cores ──▶ the model, `batch` at a time ──▶ one answer an image:
//!                                                                           its class, its logits or its embedding
//! ```
//!
//! Callers share one model and take turns with it batch by batch, so that one decodes while the other's images are
//! classified. What is decoded at a time is bounded, however many images a call has.
//!
//! The last answers are remembered, by a hash of the image's bytes: a query engine asks twice where a statement both
//! filters by an answer and shows it. Classes are remembered by their number, logits and embeddings by their bytes.

mod remembered;

use self::remembered::{Hashes, Remember, Remembered};
use super::decode::{Decoder, Limits, Rejection};
use super::error::{Error, Result};
use super::model::{Classification, Model, ModelInfo, classify, embeddings, logits, no_embedding};
use rayon::prelude::*;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Images that are decoded at a time, at most.
const DECODED: usize = 256;
/// Bytes of their pixels, at most; one image always fits.
const DECODED_BYTES: usize = 64 << 20;

/// How many images of so many bytes are decoded at a time.
fn decoded_at_a_time(image_len: usize) -> usize {
    (DECODED_BYTES / image_len.max(1)).clamp(1, DECODED)
}

/// Classes that are remembered: those for sixteen batches of DataFusion's rows, 13 MB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 17).unwrap();
/// Bytes of the logits that are remembered, and of the embeddings: a batch of DataFusion's rows with 512 numbers each has 17 MB.
const REMEMBERED_BYTES: usize = 20 << 20;

/// A model behind a lock.
pub struct Classifier {
    info: ModelInfo,
    /// The length of the model's embeddings.
    features: Option<usize>,
    decoder: Decoder,
    batch: usize,
    model: Mutex<Box<dyn Model>>,
    /// The bytes that the model held after its last batch.
    bytes: AtomicUsize,
    hashes: Hashes,
    classes: Remembered<Classification>,
    logits: Remembered<Arc<[f32]>>,
    embeddings: Remembered<Arc<[f32]>>,
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Classifier").field("model", &self.info.name).finish_non_exhaustive()
    }
}

impl Classifier {
    /// Takes a model, which gets `batch` images at once at most (0 counts as 1). `limits` are those of an encoded
    /// image; each of the threads that decode, one a core, may take the memory that they allow.
    ///
    /// # Errors
    /// [`Error::Setting`] for a model of a size that no image can have.
    pub fn new(model: Box<dyn Model>, batch: usize, limits: Limits) -> Result<Self> {
        let (info, features) = (model.info().clone(), model.features());
        let decoder = Decoder::to(&info, limits)?;
        let bytes = AtomicUsize::new(model.bytes());
        Ok(Self {
            info,
            features,
            decoder,
            batch: batch.max(1),
            model: Mutex::new(model),
            bytes,
            hashes: Hashes::default(),
            classes: Remembered::counted(REMEMBERED),
            logits: Remembered::bounded(REMEMBERED_BYTES),
            embeddings: Remembered::bounded(REMEMBERED_BYTES),
        })
    }

    /// Bytes that the model held after its last batch, see [`Model::bytes`], and those of the remembered answers. Does
    /// not wait for the model.
    pub fn bytes(&self) -> usize {
        let remembered = self.classes.bytes() + self.logits.bytes() + self.embeddings.bytes();
        self.bytes.load(Ordering::Relaxed) + remembered
    }

    /// The model's description.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Classifies `images`, whose encoding their bytes show, and returns an answer or a rejection for each, in their order.
    /// Blocks, and computes on all cores.
    ///
    /// # Errors
    /// The model's own; then no image has an answer.
    pub fn classify(&self, images: &[&[u8]]) -> Result<Vec<Result<Classification, Rejection>>> {
        self.answers(images, &self.classes, classify)
    }

    /// As [`Classifier::classify`], with an image's logits, one a class. [`probabilities`](super::model::probabilities) and
    /// [`top_k`](super::model::top_k) make of them what they are asked for.
    ///
    /// # Errors
    /// The model's own; then no image has an answer.
    pub fn logits(&self, images: &[&[u8]]) -> Result<Vec<Result<Arc<[f32]>, Rejection>>> {
        self.answers(images, &self.logits, |model, pixels, count| {
            Ok(rows(&logits(model, pixels, count)?, count))
        })
    }

    /// As [`Classifier::classify`], with an image's embedding: what the network found in it before its classifier, see
    /// [`Model::embed`].
    ///
    /// # Errors
    /// The model's own, and [`Error::Output`] from one that gives no embedding, whatever the images are; then none has an answer.
    pub fn embed(&self, images: &[&[u8]]) -> Result<Vec<Result<Arc<[f32]>, Rejection>>> {
        if self.features.is_none() {
            return Err(no_embedding(&self.info));
        }
        self.answers(images, &self.embeddings, |model, pixels, count| {
            Ok(rows(&embeddings(model, pixels, count)?, count))
        })
    }

    /// What `ask` says of each image, or that was said already.
    fn answers<T: Remember + Send + Sync>(
        &self,
        images: &[&[u8]],
        remembered: &Remembered<T>,
        ask: impl Fn(&mut dyn Model, &[u8], usize) -> Result<Vec<T>>,
    ) -> Result<Vec<Result<T, Rejection>>> {
        let mut answers = Vec::with_capacity(images.len());
        for part in images.chunks(decoded_at_a_time(self.info.image_len())) {
            // What is longer is refused whatever follows, and no answer to it is remembered.
            let most = self.decoder.limits.max_bytes.saturating_add(1);
            let key = |image: &&[u8]| self.hashes.key(&image[..image.len().min(most)]);
            let keys: Vec<u128> = part.par_iter().map(key).collect();
            let known = remembered.find(&keys);
            let unknown = part.par_iter().zip(&known).filter(|(_, known)| known.is_none());
            let decoded: Vec<_> = unknown.map(|(image, _)| self.decoder.decode_any(image)).collect();
            let readable: Vec<&[u8]> = decoded.iter().flatten().map(Vec::as_slice).collect();
            let mut said = Vec::with_capacity(readable.len());
            for batch in readable.chunks(self.batch) {
                said.extend(self.infer(batch, &ask)?);
            }
            let (mut decoded, mut said) = (decoded.into_iter(), said.into_iter());
            // One for each: of what was decoded, and, which the functions of `model` count, of what was said.
            let mut next = || match decoded.next()? {
                Err(rejection) => Some(Err(rejection)),
                Ok(_) => said.next().map(Ok),
            };
            let first = answers.len();
            answers
                .extend(known.into_iter().filter_map(|known| known.map_or_else(&mut next, |k| Some(Ok(k)))));
            debug_assert_eq!(answers.len() - first, part.len(), "one answer an image");
            let new = keys.into_iter().zip(&answers[first..]);
            remembered.put(new.filter_map(|(key, answer)| Some((key, answer.as_ref().ok()?.clone()))));
        }
        Ok(answers)
    }

    fn infer<T>(
        &self,
        images: &[&[u8]],
        ask: impl Fn(&mut dyn Model, &[u8], usize) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let pixels = images.concat();
        // No thread of rayon's waits here: the model needs them, and whoever has it would wait for ever.
        let Ok(mut model) = self.model.lock() else {
            let message = "in an earlier call: this process has to be started anew".to_owned();
            return Err(Error::Panicked { model: self.info.name.clone(), message });
        };
        let said = ask(model.as_mut(), &pixels, images.len());
        self.bytes.store(model.bytes(), Ordering::Relaxed);
        said
    }
}

/// The rows of a matrix of `count` rows.
fn rows(values: &[f32], count: usize) -> Vec<Arc<[f32]>> {
    values.chunks_exact((values.len() / count.max(1)).max(1)).map(Arc::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Resize;
    use crate::inference::model::top_k;
    use firesteel_proto::Label;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const LIMITS: Limits = Limits { max_bytes: 1 << 10, ..Limits::DEFAULT };

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

        fn features(&self) -> Option<usize> {
            self.info.version.is_none().then_some(2)
        }

        /// The first byte, and one.
        fn embed(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
            let images = pixels.chunks_exact(self.info.image_len());
            self.batches.lock().expect("nobody panics").push(images.len());
            Ok(images.flat_map(|image| [f32::from(image[0]), 1.0]).collect())
        }

        /// As many as its largest batch had images.
        fn bytes(&self) -> usize {
            self.batches.lock().expect("nobody panics").iter().max().copied().unwrap_or(0)
        }
    }

    fn classifier(batch: usize) -> (Classifier, Arc<Mutex<Vec<usize>>>) {
        versioned(batch, None)
    }

    /// One with a version has no embeddings.
    fn versioned(batch: usize, version: Option<String>) -> (Classifier, Arc<Mutex<Vec<usize>>>) {
        let info = ModelInfo {
            name: "fake/u8".to_owned(),
            architecture: "fake".to_owned(),
            classes: ["a", "b", "c"].map(|name| Label::parse("classes", name).expect("a label")).to_vec(),
            aliases: BTreeMap::new(),
            version,
            height: 1,
            width: 2,
            mean: [0.0; 3],
            std: [1.0; 3],
            resize: Resize::DEFAULT,
        };
        let batches = Arc::default();
        let fake = Fake { info, batches: Arc::clone(&batches) };
        (Classifier::new(Box::new(fake), batch, LIMITS).expect("a classifier"), batches)
    }

    #[test]
    fn what_is_decoded_at_a_time_is_bounded_by_bytes() {
        assert_eq!(decoded_at_a_time(32 * 32 * 3), 256);
        assert_eq!(decoded_at_a_time(1024 * 1024 * 3), 21);
        assert_eq!(decoded_at_a_time(usize::MAX), 1);
    }

    #[test]
    fn every_image_gets_its_answer_in_bounded_batches() {
        let (classifier, batches) = classifier(100);
        let images: Vec<Vec<u8>> = (0..600_usize)
            .map(|i| {
                let mut image = vec![(i / 200) as u8; if i % 7 == 3 { 5 } else { 6 }];
                image[0] = (i % 200) as u8;
                image
            })
            .collect();
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
        let model = classifier.bytes.load(Ordering::Relaxed);
        assert_eq!(Some(model), batches.into_iter().max(), "what the model holds now");
        let (remembered, entries) = (classifier.bytes() - model, readable * 64);
        assert!(
            remembered > entries && remembered < 13_000_000,
            "what is remembered counts, too: {remembered}"
        );
    }

    #[test]
    fn what_was_answered_is_not_computed_again() {
        let (classifier, batches) = classifier(100);
        let images: Vec<[u8; 6]> = (0..240).map(|i| [i; 6]).collect();
        let mut asked: Vec<&[u8]> = images.iter().map(<[u8; 6]>::as_slice).collect();
        let first = classifier.classify(&asked).expect("answers");
        asked.insert(100, &[0, 1, 2, 3, 4, 5]);
        asked.insert(7, b"no image");
        let second = classifier.classify(&asked).expect("answers");
        assert_eq!(batches.lock().expect("nobody panics").iter().sum::<usize>(), 241, "one is new");
        assert!(second[7].is_err() && second[101].as_ref().is_ok_and(|said| said.class == 0));
        assert_eq!((&second[..7], &second[8..101]), (&first[..7], &first[7..100]));
        assert_eq!(second[102..], first[100..]);
    }

    #[test]
    fn logits_and_embeddings_are_those_of_their_image_and_remembered_apart() {
        let (classifier, batches) = classifier(4);
        let images: Vec<[u8; 6]> = (0..10).map(|i| [i; 6]).collect();
        let mut asked: Vec<&[u8]> = images.iter().map(<[u8; 6]>::as_slice).collect();
        asked.insert(3, b"no image");
        for round in [1, 2] {
            let classes = classifier.classify(&asked).expect("classes");
            let logits = classifier.logits(&asked).expect("logits");
            let embeddings = classifier.embed(&asked).expect("embeddings");
            for (place, image) in asked.iter().enumerate() {
                let (Ok(class), Ok(logits), Ok(embedding)) =
                    (&classes[place], &logits[place], &embeddings[place])
                else {
                    assert_eq!(place, 3);
                    assert!(classes[3].is_err() && logits[3].is_err() && embeddings[3].is_err());
                    continue;
                };
                assert_eq!(top_k(logits, 1), [*class], "image {place}");
                assert_eq!(logits.len(), 3);
                assert_eq!(embedding[..], [f32::from(image[0]), 1.0]);
            }
            let said: usize = batches.lock().expect("nobody panics").iter().sum();
            assert_eq!(said, 30, "each image once for each question, in round {round}, too");
        }
    }

    #[test]
    fn a_model_without_embeddings_is_told_before_it_is_asked() {
        let (classifier, batches) = versioned(4, Some("2".to_owned()));
        let error = classifier.embed(&[]).expect_err("it gives none").to_string();
        assert_eq!(error, "fake/u8 gives no embedding");
        assert!(batches.lock().expect("nobody panics").is_empty());
        assert!(classifier.logits(&[&[1; 6]]).is_ok());
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
