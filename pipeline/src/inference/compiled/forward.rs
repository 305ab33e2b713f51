//! A compiled network and its forward pass.

use super::calibration::{Calibration, Observer};
use super::head::{self, Normalise};
use super::plan::{Layer, Plan, Step, Target};
use super::simd::{
    Driver, Epilogue, Isa, Job, Residual, Winograd, WinogradScratch, Words, conv, winograd, with_team,
};
use crate::inference::error::{Error, Result};
use crate::inference::model::{Model, ModelInfo};
use crate::inference::network::{Linear, Network};
use crate::inference::precision::Precision;
use std::sync::Mutex;

/// How a network is compiled.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to compute in.
    pub precision: Precision,
    /// With which instructions: by default the best this processor has.
    pub isa: Isa,
    /// Edge of Winograd's input tiles for the 3×3 convolutions with stride 1: 6, 4, or 0 for none. Not in int8.
    pub edge: usize,
    /// Images of 32×32 that go through the layers together; of larger ones so many fewer.
    pub piece: usize,
}

impl Options {
    /// The fastest for `precision` on this processor.
    #[must_use]
    pub fn new(precision: Precision) -> Self {
        let (edge, piece) = match precision {
            Precision::F32 | Precision::Bf16 => (6, 16),
            Precision::Int8 => (0, 8),
        };
        Self { precision, isa: Isa::detect(precision), edge, piece }
    }
}

/// A network, compiled. It may be called from any thread and uses the current rayon pool.
#[derive(Debug)]
pub struct Compiled {
    info: ModelInfo,
    options: Options,
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
        self.info.whole_images(pixels)?;
        Ok(self.logits(pixels))
    }

    fn bytes(&self) -> usize {
        let fc = (self.fc.weight.len() + self.fc.bias.len()) * size_of::<f32>();
        self.plan.bytes() + fc + self.workspaces.iter().map(Workspace::bytes).sum::<usize>()
    }
}

/// The buffers of one thread, or of a team.
#[derive(Debug, Default)]
struct Workspace {
    buffers: Vec<Words>,
    scratch: WinogradScratch,
}

impl Workspace {
    /// Bytes of memory.
    fn bytes(&self) -> usize {
        self.scratch.bytes() + self.buffers.iter().map(Words::bytes).sum::<usize>()
    }
}

/// What sees every tensor during calibration: name, plane and words.
type Watch<'a> = &'a mut dyn FnMut(&str, &super::plan::Buffer, &[u32]);

impl Compiled {
    /// Compiles `network`.
    ///
    /// # Errors
    /// [`Error::Precision`] when the processor lacks the instructions asked for, or int8 the range of a tensor.
    pub fn new(network: &Network, options: Options) -> Result<Self> {
        let Options { precision, isa, edge, .. } = options;
        let model = &network.info.name;
        let refused = |problem: String| Error::Precision { model: model.clone(), precision, problem };
        if !isa.supports(precision) {
            return Err(refused(format!("cannot be computed in with {isa:?} on this processor")));
        }
        let calibration = network.calibration.as_ref();
        let plan = Plan::new(network, Target { precision, isa, edge, calibration }).map_err(refused)?;
        let normalise = Normalise::new(&network.info, precision);
        let info = network.info_at(precision.name());
        Ok(Self { info, options, plan, normalise, fc: network.fc.clone(), workspaces: Vec::new() })
    }

    /// The logits of `n` images: `pixels` is u8 `[n, height, width, 3]`, the result f32 `[n, classes]`.
    fn logits(&mut self, pixels: &[u8]) -> Vec<f32> {
        let image = self.info.image_len();
        let classes = self.fc.bias.len();
        let count = pixels.len() / image;
        let mut logits = vec![0.0; count * classes];
        let threads = rayon::current_num_threads();
        if self.workspaces.len() < threads {
            self.workspaces.resize_with(threads, Workspace::default);
        }
        let mut workspaces = std::mem::take(&mut self.workspaces);
        let this = &*self;
        let largest = (this.options.piece * 32 * 32 / (image / 3).max(1)).clamp(1, this.options.piece.max(1));
        if count < 4 * threads || threads == 1 {
            with_team(threads, |driver| {
                let pieces = pixels.chunks(largest * image).zip(logits.chunks_mut(largest * classes));
                for (pixels, logits) in pieces {
                    this.run(driver, &mut workspaces[0], pixels, logits, None);
                }
            });
        } else {
            // Even pieces, so that all threads end together; whoever is free takes the next.
            let rounds = count.div_ceil(threads * largest);
            let piece = count.div_ceil(threads * rounds);
            let pieces = pixels.chunks(piece * image).zip(logits.chunks_mut(piece * classes));
            let queue = Mutex::new(pieces);
            rayon::scope(|scope| {
                for workspace in workspaces.iter_mut().take(threads) {
                    let queue = &queue;
                    scope.spawn(move |_| {
                        let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
                        while let Some((pixels, logits)) = next() {
                            this.run(&mut Driver::alone(), workspace, pixels, logits, None);
                        }
                    });
                }
            });
        }
        self.workspaces = workspaces;
        logits
    }

    /// Measures the ranges of the activations of `network` on images like those to come: u8
    /// `[n, height, width, 3]`. Some hundreds do.
    ///
    /// # Errors
    /// As [`Compiled::new`].
    pub fn calibrate(network: &Network, pixels: &[u8]) -> Result<Calibration> {
        let this = Self::new(network, Options { edge: 0, ..Options::new(Precision::F32) })?;
        let image = this.info.image_len();
        let classes = this.fc.bias.len();
        let mut observer = Observer::default();
        let mut workspace = Workspace::default();
        for pixels in pixels.chunks(8 * image) {
            let mut logits = vec![0.0; pixels.len() / image * classes];
            let mut watch = |name: &str, buffer: &super::plan::Buffer, words: &[u32]| {
                observer.observe(name, words.iter().map(|word| f32::from_bits(*word)));
                debug_assert!(buffer.wide == 0);
            };
            this.run(&mut Driver::alone(), &mut workspace, pixels, &mut logits, Some(&mut watch));
        }
        Ok(observer.finish())
    }

    /// One piece of a batch through all layers.
    fn run(
        &self,
        driver: &mut Driver<'_>,
        workspace: &mut Workspace,
        pixels: &[u8],
        logits: &mut [f32],
        mut watch: Option<Watch<'_>>,
    ) {
        let images = logits.len() / self.fc.bias.len().max(1);
        let plan = &self.plan;
        workspace.buffers.resize_with(plan.buffers.len(), Words::default);
        for (words, buffer) in workspace.buffers.iter_mut().zip(&plan.buffers) {
            words.grow(images * buffer.plane.positions() * buffer.words.max(buffer.wide), buffer.fill);
        }
        self.normalise.fill(pixels, &plan.buffers[0], workspace.buffers[0].as_mut_slice());
        for step in &plan.steps {
            let target = match step {
                Step::Conv(layer) => layer.target,
                Step::Pool { target, .. } => *target,
            };
            let mut output = std::mem::take(&mut workspace.buffers[target]);
            match step {
                Step::Conv(layer) => self.conv(driver, workspace, layer, images, output.as_mut_slice()),
                Step::Pool { source, .. } => head::pool(
                    self.options.precision,
                    images,
                    (&plan.buffers[*source], workspace.buffers[*source].as_slice()),
                    (&plan.buffers[target], output.as_mut_slice()),
                ),
            }
            if let (Some(watch), Step::Conv(layer)) = (watch.as_mut(), step) {
                let buffer = &plan.buffers[target];
                let words = images * buffer.plane.positions() * buffer.words;
                watch(&layer.name, buffer, &output.as_slice()[..words]);
            }
            workspace.buffers[target] = output;
        }
        let result =
            (self.options.precision, &plan.buffers[plan.result], workspace.buffers[plan.result].as_slice());
        head::classify(result, plan.channels, &self.fc, logits);
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
        let Options { precision, isa, .. } = self.options;
        let (source, target) = (&self.plan.buffers[layer.source], &self.plan.buffers[layer.target]);
        let input = workspace.buffers[layer.source].as_slice();
        let residual = match layer.residual {
            None => Residual::None,
            Some(addend) => {
                let words = workspace.buffers[addend.buffer].as_slice();
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
