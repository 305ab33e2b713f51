//! A compiled network and its forward pass.

use super::calibration::{Calibration, Observer};
use super::choice::Choice;
use super::head::{self, Head, Normalise};
use super::plan::{Buffer, Layer, Plan, Step};
use super::simd::{
    Driver, Epilogue, Isa, Job, Residual, Winograd, WinogradScratch, Words, conv, winograd, with_team,
};
use super::slots::fill_border;
use crate::inference::error::{Error, Result};
use crate::inference::model::{Model, ModelInfo};
use crate::inference::network::{Linear, Network};
use crate::inference::precision::Precision;
use std::sync::Mutex;
use std::time::Duration;

/// So many large images go through the layers together all the same, so that the weights come from memory once for all
/// of them, unless their activations take more than [`LARGEST`] bytes.
const FEW: usize = 4;
const LARGEST: usize = 64 << 20;

/// How a network is compiled.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to compute in.
    pub precision: Precision,
    /// With which instructions, if they are not to be chosen by what each layer costs with those that this processor has.
    /// bf16 and int8 are kept in f32 where they have none.
    pub isa: Option<Isa>,
    /// Edge of Winograd's input tiles for the 3×3 convolutions with stride 1: 6, 4, or 0 for none. What is kept in int8
    /// has none anyway.
    pub edge: usize,
    /// Images of 32×32 that go through the layers together; of larger ones so many fewer, but a few if memory allows.
    pub piece: usize,
}

impl Options {
    /// The fastest for `precision` on this processor.
    #[must_use]
    pub fn new(precision: Precision) -> Self {
        let (edge, piece) = match precision {
            Precision::F32 | Precision::Bf16 => (6, 16),
            // Winograd is for the f32 that it may be kept in.
            Precision::Int8 => (6, 8),
        };
        Self { precision, isa: None, edge, piece }
    }
}

/// A network, compiled. It may be called from any thread and uses the current rayon pool.
#[derive(Debug)]
pub struct Compiled {
    info: ModelInfo,
    options: Options,
    choice: Choice,
    plan: Plan,
    normalise: Normalise,
    fc: Linear,
    workspaces: Vec<Workspace>,
}

impl Model for Compiled {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
        self.compute(pixels, |this| Head::Logits(&this.fc))
    }

    fn features(&self) -> Option<usize> {
        Some(self.plan.channels)
    }

    fn embed(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
        self.compute(pixels, |this| Head::Features { channels: this.plan.channels })
    }

    fn kernels(&self) -> String {
        self.choice.to_string()
    }

    fn bytes(&self) -> usize {
        let fc = (self.fc.weight.len() + self.fc.bias.len()) * size_of::<f32>();
        self.plan.bytes() + fc + self.workspaces.iter().map(Workspace::bytes).sum::<usize>()
    }
}

/// The buffers of one thread, or of a team.
#[derive(Debug, Default)]
struct Workspace {
    /// The slots of the plan.
    slots: Vec<Words>,
    scratch: WinogradScratch,
}

impl Workspace {
    /// Bytes of memory.
    fn bytes(&self) -> usize {
        self.scratch.bytes() + self.slots.iter().map(Words::bytes).sum::<usize>()
    }
}

/// What sees every tensor during calibration: name, plane and words.
type Watch<'a> = &'a mut dyn FnMut(&str, &Buffer, &[u32]);

impl Compiled {
    /// Compiles `network`.
    ///
    /// # Errors
    /// [`Error::Precision`] when the processor lacks the instructions asked for, or int8 the range of a tensor.
    pub fn new(network: &Network, options: Options) -> Result<Self> {
        let precision = options.precision;
        let model = &network.info.name;
        let refused = |problem: String| Error::Precision { model: model.clone(), precision, problem };
        let choice = Choice::new(network, &options).map_err(refused)?;
        tracing::info!(model, %precision, kernels = %choice, "kernels chosen");
        let plan = Plan::new(network, &choice, &options).map_err(refused)?;
        let normalise = Normalise::new(&network.info, choice.storage);
        let info = network.info_at(precision.name());
        Ok(Self { info, options, choice, plan, normalise, fc: network.fc.clone(), workspaces: Vec::new() })
    }

    /// The measured costs that the instructions were chosen by: a line for each kind of layer, empty where they were given.
    #[must_use]
    pub fn costs(&self) -> Vec<String> {
        self.choice.table()
    }

    /// What the convolutions of `network` would cost for an image on one thread, in a batch, if it were compiled with these
    /// options. It is measured as for [`Compiled::new`], and nothing is packed. `None` where there are no vector instructions
    /// to measure.
    ///
    /// # Errors
    /// As [`Compiled::new`].
    pub fn cost(network: &Network, options: &Options) -> Result<Option<Duration>> {
        let (model, precision) = (&network.info.name, options.precision);
        let refused = |problem: String| Error::Precision { model: model.clone(), precision, problem };
        Ok(Choice::measured(network, options).map_err(refused)?.time())
    }

    /// What the convolutions cost for an image on one thread, in a batch, as it was measured.
    #[must_use]
    pub fn time(&self) -> Option<Duration> {
        self.choice.time()
    }

    /// Images that go through the layers together at most; one is never cut, however large.
    fn together(&self) -> usize {
        let piece = self.options.piece;
        let alike = piece * 32 * 32 / (self.info.image_len() / 3).max(1);
        alike.max(FEW.min(LARGEST / self.activations().max(1))).clamp(1, piece.max(1))
    }

    /// Bytes of the activations of one image. A thread keeps those of as many images as go through the layers together.
    #[must_use]
    pub fn activations(&self) -> usize {
        self.plan.activations()
    }

    /// What `head` asks for of `n` images: `pixels` is u8 `[n, height, width, 3]`, the result f32 `[n, width]`.
    fn compute(&mut self, pixels: &[u8], head: impl Fn(&Self) -> Head<'_>) -> Result<Vec<f32>> {
        let image = self.info.whole_images(pixels)?;
        let width = head(self).width();
        let count = pixels.len() / image;
        let mut answers = vec![0.0; count * width];
        let threads = rayon::current_num_threads();
        if self.workspaces.len() < threads {
            self.workspaces.resize_with(threads, Workspace::default);
        }
        let mut workspaces = std::mem::take(&mut self.workspaces);
        let this = &*self;
        let head = head(this);
        let largest = this.together();
        if count < 4 * threads || threads == 1 {
            with_team(threads, |driver| {
                let pieces = pixels.chunks(largest * image).zip(answers.chunks_mut(largest * width));
                for (pixels, answers) in pieces {
                    this.run(driver, &mut workspaces[0], pixels, (head, answers), None);
                }
            });
        } else {
            // Even pieces, so that all threads end together; whoever is free takes the next.
            let rounds = count.div_ceil(threads * largest);
            let piece = count.div_ceil(threads * rounds);
            let pieces = pixels.chunks(piece * image).zip(answers.chunks_mut(piece * width));
            let queue = Mutex::new(pieces);
            rayon::scope(|scope| {
                for workspace in workspaces.iter_mut().take(threads) {
                    let queue = &queue;
                    scope.spawn(move |_| {
                        let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
                        while let Some((pixels, answers)) = next() {
                            this.run(&mut Driver::alone(), workspace, pixels, (head, answers), None);
                        }
                    });
                }
            });
        }
        self.workspaces = workspaces;
        Ok(answers)
    }

    /// Measures the ranges of the activations of `network` on images like those to come: u8
    /// `[n, height, width, 3]`. Some hundreds do.
    ///
    /// # Errors
    /// As [`Compiled::new`].
    pub fn calibrate(network: &Network, pixels: &[u8]) -> Result<Calibration> {
        Self::calibrate_watched(network, pixels, |_| true)
    }

    /// As [`Compiled::calibrate`], and tells after each piece how many images are done. Where it is answered `false` it ends
    /// there: the ranges are then those on these images alone.
    ///
    /// # Errors
    /// As [`Compiled::new`].
    pub fn calibrate_watched(
        network: &Network,
        pixels: &[u8],
        mut go_on: impl FnMut(usize) -> bool + Send,
    ) -> Result<Calibration> {
        let this = Self::new(network, Options { edge: 0, ..Options::new(Precision::F32) })?;
        let (image, head, together) = (this.info.image_len(), Head::Logits(&this.fc), this.together());
        let mut observer = Observer::default();
        let mut watch = |name: &str, buffer: &Buffer, words: &[u32]| {
            // What is around an image may be left from another tensor.
            let images = words.chunks_exact(buffer.layout().size());
            let rows = images.flat_map(|image| buffer.rows(image));
            observer.observe(name, rows.flatten().map(|word| f32::from_bits(*word)));
        };
        let mut workspace = Workspace::default();
        with_team(rayon::current_num_threads(), |driver| {
            for (piece, pixels) in pixels.chunks(together * image).enumerate() {
                let images = pixels.len() / image;
                let mut logits = vec![0.0; images * head.width()];
                this.run(driver, &mut workspace, pixels, (head, &mut logits), Some(&mut watch));
                if !go_on(piece * together + images) {
                    break;
                }
            }
        });
        Ok(observer.finish())
    }

    /// One piece of a batch through all layers; the head fills the numbers beside it.
    fn run(
        &self,
        driver: &mut Driver<'_>,
        workspace: &mut Workspace,
        pixels: &[u8],
        (head, answers): (Head<'_>, &mut [f32]),
        mut watch: Option<Watch<'_>>,
    ) {
        let images = answers.len() / head.width().max(1);
        let plan = &self.plan;
        let precision = self.choice.storage;
        workspace.slots.resize_with(plan.slots.len(), Words::default);
        for (words, size) in workspace.slots.iter_mut().zip(&plan.slots) {
            words.grow(images * size, 0);
        }
        let bordered = |buffer: &Buffer, words: &mut [u32]| {
            if buffer.place.fill {
                fill_border(buffer.layout(), images, words);
            }
        };
        let input = &plan.buffers[0];
        let words = workspace.slots[input.place.slot].as_mut_slice();
        bordered(input, words);
        self.normalise.fill(pixels, input, words);
        for step in &plan.steps {
            let target = &plan.buffers[step.target()];
            let mut output = std::mem::take(&mut workspace.slots[target.place.slot]);
            bordered(target, output.as_mut_slice());
            match step {
                Step::Conv(layer) => self.conv(driver, workspace, layer, images, output.as_mut_slice()),
                Step::Pool { source, .. } => {
                    let source = &plan.buffers[*source];
                    let from = workspace.slots[source.place.slot].as_slice();
                    head::pool(precision, images, (source, from), (target, output.as_mut_slice()));
                }
            }
            if let (Some(watch), Step::Conv(layer)) = (watch.as_mut(), step) {
                let words = images * target.plane.positions() * target.words;
                watch(&layer.name, target, &output.as_slice()[..words]);
            }
            workspace.slots[target.place.slot] = output;
        }
        let result = &plan.buffers[plan.result];
        let from = workspace.slots[result.place.slot].as_slice();
        head::answer((precision, result, from), head, answers);
    }

    /// One convolution.
    fn conv(
        &self,
        driver: &mut Driver<'_>,
        workspace: &mut Workspace,
        layer: &Layer,
        images: usize,
        output: &mut [u32],
    ) {
        let (precision, isa) = (self.choice.storage, layer.isa);
        let (source, target) = (&self.plan.buffers[layer.source], &self.plan.buffers[layer.target]);
        let input = workspace.slots[source.place.slot].as_slice();
        let residual = match layer.residual {
            None => Residual::None,
            Some(addend) => {
                let slot = self.plan.buffers[addend.buffer].place.slot;
                let words = workspace.slots[slot].as_slice();
                if addend.wide { Residual::Wide(words) } else { Residual::Own(words, addend.scale) }
            }
        };
        let epilogue = Epilogue {
            scale: &layer.scale,
            bias: &layer.packed.bias,
            residual,
            relu: layer.relu,
            wide: layer.wide,
        };
        match &layer.winograd {
            Some(filters) => {
                let job = Winograd {
                    isa,
                    precision,
                    edge: filters.edge,
                    input,
                    input_plane: source.plane,
                    inputs: source.words * precision.unit(),
                    output_plane: target.plane,
                    images,
                    weights: filters.words.as_slice(),
                    panels: layer.packed.panels,
                    block: filters.block,
                    epilogue,
                };
                winograd(driver, &job, &mut workspace.scratch, output);
            }
            None => {
                let job = Job {
                    isa,
                    precision,
                    input,
                    input_words: source.words,
                    positions: &layer.positions,
                    images,
                    weights: layer.packed.words.as_slice(),
                    panels: layer.packed.panels,
                    epilogue,
                };
                conv(driver, &job, output);
            }
        }
    }
}
