//! A model whose every step the test decides: it says when it has a batch and then waits to be told what to do.

use firesteel_pipeline::inference::{Error, Model, ModelInfo, Resize, Result};
use firesteel_testkit::cifar;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Bytes of one image: 2 × 2 pixels.
pub(crate) const IMAGE: usize = 12;

/// What the model does with the batch that it has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Answer,
    Fail,
    Panic,
    /// One logit too few.
    Short,
    /// A logit that is no number.
    NotANumber,
}

/// The model's end.
pub(crate) struct Fake {
    info: ModelInfo,
    started: mpsc::UnboundedSender<usize>,
    steps: std::sync::mpsc::Receiver<Step>,
}

/// The test's end. Dropping it makes the model answer everything.
pub(crate) struct Script {
    started: mpsc::UnboundedReceiver<usize>,
    steps: std::sync::mpsc::Sender<Step>,
}

pub(crate) fn fake() -> (Box<dyn Model>, Script) {
    named("fake/u8")
}

/// A model of this whole name.
pub(crate) fn named(name: &str) -> (Box<dyn Model>, Script) {
    let (started, has_started) = mpsc::unbounded_channel();
    let (step, steps) = std::sync::mpsc::channel();
    let info = ModelInfo {
        name: name.to_owned(),
        architecture: "fake".to_owned(),
        classes: cifar::classes().to_vec(),
        aliases: BTreeMap::from([(cifar::label("plane"), cifar::label("airplane"))]),
        version: None,
        height: 2,
        width: 2,
        mean: [0.0; 3],
        std: [1.0; 3],
        resize: Resize::DEFAULT,
    };
    (Box::new(Fake { info, started, steps }), Script { started: has_started, steps: step })
}

/// A model that answers at once.
pub(crate) fn prompt() -> Box<dyn Model> {
    fake().0
}

/// Raw pixels that the model names `class`.
pub(crate) fn image(class: usize) -> Vec<u8> {
    vec![u8::try_from(class).unwrap(); IMAGE]
}

impl Script {
    /// Waits until the model has a batch: how many images.
    pub(crate) async fn started(&mut self) -> usize {
        self.started.recv().await.expect("the model lives")
    }

    pub(crate) fn go(&self, step: Step) {
        self.steps.send(step).expect("the model lives");
    }

    /// Waits for a batch and answers it.
    pub(crate) async fn answer(&mut self) -> usize {
        let count = self.started().await;
        self.go(Step::Answer);
        count
    }
}

impl Model for Fake {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
        assert_eq!(pixels.len() % IMAGE, 0);
        let _ = self.started.send(pixels.len() / IMAGE);
        let mut logits = vec![0.0; pixels.len() / IMAGE * 10];
        for (row, image) in logits.chunks_mut(10).zip(pixels.chunks(IMAGE)) {
            row[usize::from(image[0]) % 10] = 5.0;
        }
        match self.steps.recv().unwrap_or(Step::Answer) {
            Step::Answer => {}
            Step::Fail => {
                let problem = "was told to fail".to_owned();
                return Err(Error::Output { model: self.info.name.clone(), problem });
            }
            Step::Panic => panic!("was told to panic"),
            Step::Short => drop(logits.pop()),
            Step::NotANumber => logits[3] = f32::NAN,
        }
        Ok(logits)
    }

    fn bytes(&self) -> usize {
        0
    }
}
