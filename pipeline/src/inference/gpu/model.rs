//! The model: weights and buffers on the GPU, and the launches of a batch.

use super::fault::Fault;
use super::kernels::Kernels;
use super::numbers::Numbers;
use super::plan::{Input, Plan, Work, largest_batch, padded};
use super::product::{Product, Products, Shape};
use crate::inference::device::Device;
use crate::inference::error::{Error, Result};
use crate::inference::model::{Model, ModelInfo};
use crate::inference::network::Network;
use crate::inference::plain::normalised;
use crate::inference::precision::Precision;
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, PinnedHostSlice};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes that the patches of a batch may have: 256 images of 32×32 in f32. Larger batches go through the layers in parts.
const PATCHES: usize = 640 << 20;

/// A network on a GPU.
#[derive(Debug)]
pub struct GpuResNet {
    info: ModelInfo,
    numbers: Numbers,
    plan: Plan,
    /// Images that go through the layers together at most.
    largest: usize,
    stream: Arc<CudaStream>,
    kernels: Kernels,
    products: Products,
    table: CudaSlice<f32>,
    convs: Vec<Weights>,
    /// `[classes, channels]` and `[classes]`.
    classifier: (CudaSlice<f32>, CudaSlice<f32>),
    buffers: Buffers,
    /// The products of a batch of this many images: one for each convolution.
    prepared: HashMap<usize, Vec<Product>>,
}

/// Rows of weights, and the bias.
#[derive(Debug)]
struct Weights {
    rows: CudaSlice<u8>,
    bias: CudaSlice<u8>,
}

impl Weights {
    fn upload(stream: &Arc<CudaStream>, numbers: Numbers, rows: &[f32], bias: &[f32]) -> Result<Self, Fault> {
        let upload = |values: &[f32]| {
            stream.clone_htod(&numbers.encode(values)).map_err(Fault::driver("copying weights"))
        };
        Ok(Self { rows: upload(rows)?, bias: upload(bias)? })
    }
}

/// Room for a batch.
#[derive(Debug)]
struct Buffers {
    images: usize,
    /// In memory that is locked, which the GPU reads and writes by itself.
    sent: PinnedHostSlice<u8>,
    received: PinnedHostSlice<f32>,
    pixels: CudaSlice<u8>,
    patches: CudaSlice<u8>,
    slots: [CudaSlice<u8>; 3],
    /// `[images, channels]` and `[images, classes]`.
    means: CudaSlice<f32>,
    logits: CudaSlice<f32>,
}

impl Buffers {
    fn new(
        stream: &Arc<CudaStream>,
        plan: &Plan,
        info: &ModelInfo,
        numbers: Numbers,
        images: usize,
    ) -> Result<Self, Fault> {
        let failed = Fault::driver("allocating memory for a batch");
        let bytes = |bytes: usize| stream.alloc_zeros::<u8>(images * bytes).map_err(&failed);
        let values = |values: usize| bytes(values.max(1) * numbers.bytes());
        let floats = |values: usize| stream.alloc_zeros::<f32>(images * values).map_err(&failed);
        let (pixels, classes) = (info.image_len(), info.classes.len());
        // SAFETY: what is read of them was written before: pixels by `run`, logits by the GPU.
        let (sent, received) = unsafe {
            let context = stream.context();
            let sent = context.alloc_pinned_with_flags::<u8>(images * pixels, 0).map_err(&failed)?;
            let answers = images * classes.max(plan.last.outputs);
            (sent, context.alloc_pinned_with_flags::<f32>(answers, 0).map_err(&failed)?)
        };
        let [a, b, c] = plan.slots;
        Ok(Self {
            images,
            sent,
            received,
            pixels: bytes(pixels)?,
            patches: values(plan.patches)?,
            slots: [values(a)?, values(b)?, values(c)?],
            means: floats(plan.last.outputs)?,
            logits: floats(classes)?,
        })
    }
}

impl GpuResNet {
    /// Compiles `network` for GPU `index`, in f32 or bf16.
    ///
    /// # Errors
    /// [`Error::Device`] when the GPU or a library cannot be used, [`Error::Precision`] for int8 and for a network that has
    /// channels of other numbers than these kernels take, [`Error::Gpu`] when the GPU fails.
    pub fn new(network: &Network, precision: Precision, index: usize) -> Result<Self> {
        let model = &network.info.name;
        let refused = |problem: String| Error::Precision { model: model.clone(), precision, problem };
        let Some(numbers) = Numbers::of(precision) else {
            return Err(refused(format!("is none of those that are computed in on {}", Device::Cuda(index))));
        };
        let (plan, matrices) = Plan::new(network).map_err(refused)?;
        let context = open(index).map_err(|fault| Error::Device {
            device: Device::Cuda(index),
            problem: format!("cannot be used: {fault}"),
        })?;
        let info = network.info_at(precision.name());
        let build = || -> Result<Self, Fault> {
            let failed = Fault::driver("loading the model");
            let stream = context.new_stream().map_err(&failed)?;
            let kernels = Kernels::load(&context, numbers)?;
            let convs =
                matrices.iter().map(|matrix| Weights::upload(&stream, numbers, &matrix.rows, &matrix.bias));
            let this = Self {
                buffers: Buffers::new(&stream, &plan, &info, numbers, 1)?,
                largest: largest_batch(plan.patches * numbers.bytes(), PATCHES),
                table: stream.clone_htod(&normalised(&info).concat()).map_err(&failed)?,
                convs: convs.collect::<Result<_, Fault>>()?,
                classifier: (
                    stream.clone_htod(&network.fc.weight).map_err(&failed)?,
                    stream.clone_htod(&network.fc.bias).map_err(&failed)?,
                ),
                products: Products::new(&stream)?,
                info: info.clone(),
                numbers,
                plan,
                kernels,
                prepared: HashMap::new(),
                stream,
            };
            this.stream.synchronize().map_err(failed)?;
            Ok(this)
        };
        build().map_err(|fault| failed(&info, fault))
    }

    /// Makes all that a batch of `images` needs, where it is not there yet.
    fn prepare(&mut self, images: usize) -> Result<(), Fault> {
        if self.buffers.images < images {
            self.buffers = Buffers::new(&self.stream, &self.plan, &self.info, self.numbers, images)?;
        }
        if self.prepared.contains_key(&images) {
            return Ok(());
        }
        let mut products = Vec::with_capacity(self.convs.len());
        for step in &self.plan.steps {
            let Work::Conv { weights, add, relu } = step.work else { continue };
            let positions = images * step.out.0 * step.out.1;
            let (outputs, depth) = (step.outputs, step.depth());
            let shape = Shape { numbers: self.numbers, positions, outputs, depth, add, relu };
            products.push(self.products.prepare(shape, &self.convs[weights].bias)?);
        }
        self.prepared.insert(images, products);
        Ok(())
    }

    /// Adds what `head` asks for of at most `largest` images.
    fn run(&mut self, pixels: &[u8], head: Head, answers: &mut Vec<f32>) -> Result<(), Fault> {
        let count = pixels.len() / self.info.image_len();
        let images = padded(count);
        // The thread may be another one than last time.
        self.stream.context().bind_to_thread().map_err(Fault::driver("using the GPU"))?;
        self.prepare(images)?;
        let Self { buffers, stream, kernels, products, .. } = self;
        let prepared = &self.prepared[&images];
        let copying = Fault::driver("copying a batch");
        let sent = &mut buffers.sent.as_mut_slice().map_err(&copying)?[..pixels.len()];
        sent.copy_from_slice(pixels);
        stream.memcpy_htod(&*sent, &mut buffers.pixels).map_err(&copying)?;
        for step in &self.plan.steps {
            let at = (step, images);
            let (from, to) = match step.from {
                Input::Pixels => {
                    kernels.pixels(stream, at, (&buffers.pixels, &self.table), &mut buffers.patches)?;
                    (None, &mut buffers.slots[step.to])
                }
                Input::Slot(slot) => {
                    let Ok([from, to]) = buffers.slots.get_disjoint_mut([slot, step.to]) else {
                        return Err(Fault::Plan);
                    };
                    (Some(&*from), to)
                }
            };
            match (step.work, from) {
                (Work::Conv { weights, .. }, from) => {
                    let rows = match from {
                        Some(from) if step.is_direct() => from,
                        Some(from) => {
                            kernels.patches(stream, at, from, &mut buffers.patches)?;
                            &buffers.patches
                        }
                        None => &buffers.patches,
                    };
                    products.start(&prepared[weights], &self.convs[weights].rows, rows, to)?;
                }
                (Work::Largest, Some(from)) => kernels.largest(stream, at, from, to)?,
                (Work::Largest, None) => return Err(Fault::Plan),
            }
        }
        let last = &self.plan.last;
        kernels.mean(stream, (last, images), &buffers.slots[last.to], &mut buffers.means)?;
        let (found, width) = match head {
            Head::Features => (&buffers.means, last.outputs),
            Head::Logits => {
                let (rows, bias) = &self.classifier;
                let means = (&buffers.means, rows, bias);
                kernels.logits(stream, (last, images), means, &mut buffers.logits)?;
                (&buffers.logits, self.info.classes.len())
            }
        };
        let length = count * width;
        let received = &mut buffers.received.as_mut_slice().map_err(&copying)?[..length];
        stream.memcpy_dtoh(&found.slice(..length), received).map_err(&copying)?;
        stream.synchronize().map_err(Fault::driver("computing a batch"))?;
        answers.extend_from_slice(received);
        Ok(())
    }

    /// What `head` asks for of all images, batch by batch.
    fn compute(&mut self, pixels: &[u8], head: Head) -> Result<Vec<f32>> {
        let image = self.info.whole_images(pixels)?;
        let width = if head == Head::Logits { self.info.classes.len() } else { self.plan.last.outputs };
        let mut answers = Vec::with_capacity(pixels.len() / image * width);
        for part in pixels.chunks(self.largest * image) {
            self.run(part, head, &mut answers).map_err(|fault| failed(&self.info, fault))?;
        }
        Ok(answers)
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// The means: a number a channel of the last step.
    Features,
    /// A number a class.
    Logits,
}

impl Model for GpuResNet {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
        self.compute(pixels, Head::Logits)
    }

    fn features(&self) -> Option<usize> {
        Some(self.plan.last.outputs)
    }

    fn embed(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
        self.compute(pixels, Head::Features)
    }

    /// The locked memory: the rest is the GPU's.
    fn bytes(&self) -> usize {
        self.buffers.sent.num_bytes() + self.buffers.received.num_bytes()
    }
}

/// The GPU of this index, after a look for the libraries: calling one that is not there would panic.
fn open(index: usize) -> Result<Arc<CudaContext>, Fault> {
    // SAFETY: opens the libraries that the system has under NVIDIA's names, and runs what they do when opened.
    let there = unsafe {
        [
            ("NVIDIA's driver, libcuda.so.1,", cudarc::driver::sys::is_culib_present()),
            ("CUDA's library libcublasLt.so", cudarc::cublaslt::sys::is_culib_present()),
            ("CUDA's library libnvrtc.so", cudarc::nvrtc::sys::is_culib_present()),
        ]
    };
    if let Some((library, _)) = there.into_iter().find(|(_, there)| !there) {
        return Err(Fault::Missing(library));
    }
    let failed = Fault::driver("opening it");
    let context = CudaContext::new(index).map_err(&failed)?;
    // A thread that waits for the GPU leaves its core to those that decode.
    context.set_blocking_synchronize().map_err(&failed)?;
    // SAFETY: all that a model allocates is used on its own stream alone, which does one thing after the other.
    unsafe { context.disable_event_tracking() };
    Ok(context)
}

fn failed(info: &ModelInfo, fault: Fault) -> Error {
    Error::Gpu { model: info.name.clone(), source: Box::new(fault) }
}
