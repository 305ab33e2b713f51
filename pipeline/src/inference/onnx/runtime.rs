//! A graph that ONNX Runtime computes, by its library.
//!
//! The library is opened when the first such graph is, by its name: from the folder of this program, or wherever the system looks
//! for libraries. A build needs nothing of it, and who has none such model needs it neither.

use super::graph::{Ending, Interface};
use super::{Contents, Graph};
use crate::inference::error::{Error, Result};
use crate::inference::model::{Model, ModelInfo};
use crate::inference::plain::normalised;
use crate::inference::precision::Precision;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::value::TensorRef;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::sync::{Mutex, PoisonError};

/// The oldest version whose library is opened; `api-17` in the manifest of this workspace.
const OLDEST: &str = "1.17";

/// The most images that are computed at once, and of them the most bytes, where the graph leaves their number open.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 64 << 20;

/// A session of ONNX Runtime.
pub(super) struct OnnxModel {
    info: ModelInfo,
    session: Session,
    interface: Interface,
    /// What becomes of a byte, for each channel.
    table: Vec<[f32; 256]>,
    /// f32 `[batch, 3, height, width]`.
    input: Vec<f32>,
    bytes: usize,
}

impl OnnxModel {
    /// Makes a session of a graph.
    ///
    /// # Errors
    /// [`Error::OnnxRuntime`] where the library is not there or refuses the model.
    pub(super) fn new(graph: &Graph) -> Result<Self> {
        let model = || graph.origin.clone();
        let environment = environment().map_err(|problem| Error::OnnxRuntime { model: model(), problem })?;
        let session = || -> ort::Result<Session> {
            let builder = Session::builder(&environment)?;
            let builder = builder.with_intra_threads(rayon::current_num_threads())?;
            // Threads that wait for the next batch leave the processor to those that decode images.
            let mut builder = builder.with_intra_op_spinning(false)?;
            match &graph.model {
                Contents::Memory(bytes) => builder.commit_from_memory(bytes),
                Contents::File(path) => builder.commit_from_file(path),
            }
        };
        let session = session().map_err(|source| Error::OnnxRuntime {
            model: model(),
            problem: format!("cannot load it: {source}"),
        })?;
        let name = format!("{}/{}", graph.info.name, Precision::F32);
        let info = ModelInfo { name, ..graph.info.clone() };
        let (table, interface) = (normalised(&info), graph.interface.clone());
        Ok(Self { info, session, interface, table, input: Vec::new(), bytes: graph.bytes })
    }

    /// The logits of one batch: `pixels` are those of `images` images, of which the graph takes `batch`.
    fn batch(&mut self, pixels: &[u8], images: usize, batch: usize) -> Result<Vec<f32>> {
        let Self { info, session, interface, table, input, .. } = self;
        let plane = info.height * info.width;
        input.clear();
        for image in pixels.chunks_exact(3 * plane) {
            for (channel, table) in table.iter().enumerate() {
                input.extend(image.iter().skip(channel).step_by(3).map(|byte| table[usize::from(*byte)]));
            }
        }
        // A graph for a fixed number of images gets that many, and what it says of the last ones is left out.
        input.resize(batch * 3 * plane, 0.0);
        let failed = |source: ort::Error| Error::OnnxRuntime {
            model: info.name.clone(),
            problem: format!("failed: {source}"),
        };
        let shape = [batch, 3, info.height, info.width];
        let tensor = TensorRef::from_array_view((shape, input.as_slice())).map_err(failed)?;
        let outputs = session.run(ort::inputs![interface.input.as_str() => tensor]).map_err(failed)?;
        let problem = |problem: String| Error::Output { model: info.name.clone(), problem };
        let output = outputs
            .get(&interface.output)
            .ok_or_else(|| problem(format!("gave no output {:?}", interface.output)))?;
        let (_, values) = output.try_extract_tensor::<f32>().map_err(failed)?;
        let classes = info.classes.len();
        if values.len() != batch * classes {
            let found = values.len();
            return Err(problem(format!("gave {found} numbers for {batch} images of {classes} classes")));
        }
        let values = &values[..images * classes];
        Ok(match interface.ending {
            Ending::Logits => values.to_vec(),
            Ending::Probabilities => values.iter().copied().map(logit).collect(),
        })
    }
}

/// The logit of a probability: the softmax of these is what the graph said. A probability that was rounded to nothing is as good as
/// the least, and what is no number stays none.
fn logit(probability: f32) -> f32 {
    if probability < f32::MIN_POSITIVE { f32::MIN_POSITIVE.ln() } else { probability.ln() }
}

/// Images of so many numbers each that are computed at once.
fn together(numbers: usize) -> usize {
    (BATCH_BYTES / (numbers * size_of::<f32>()).max(1)).clamp(1, BATCH)
}

impl Model for OnnxModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
        let each = self.info.whole_images(pixels)?;
        let most = self.interface.batch.unwrap_or_else(|| together(each));
        let mut logits = Vec::with_capacity(pixels.len() / each * self.info.classes.len());
        for part in pixels.chunks(most * each) {
            let images = part.len() / each;
            logits.extend(self.batch(part, images, self.interface.batch.unwrap_or(images))?);
        }
        Ok(logits)
    }

    fn kernels(&self) -> String {
        "f32 by ONNX Runtime".to_owned()
    }

    /// The tensors of the file, and the images: what ONNX Runtime keeps for its own is not known.
    fn bytes(&self) -> usize {
        self.bytes + self.input.capacity() * size_of::<f32>()
    }
}

/// The one environment that ONNX Runtime allows a process; none before its library is needed.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Opens the library where that has not happened yet. The problem is the rest of a sentence about ONNX Runtime.
fn environment() -> Result<Environment, String> {
    let mut there = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = there.as_ref() {
        return Ok(environment.clone());
    }
    // The name that a package for developers has, and that of one for programs.
    let names = [format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}"), "libonnxruntime.so.1".to_owned()];
    let mut problem = String::new();
    for name in names {
        match ort::init_from(&name) {
            Ok(builder) => {
                let environment =
                    builder.with_telemetry(false).build().map_err(|e| format!("failed: {e}"))?;
                environment.set_log_level(LogLevel::Error);
                return Ok(there.insert(environment).clone());
            }
            Err(error) if problem.is_empty() => problem = error.to_string(),
            Err(_) => {}
        }
    }
    Err(format!(
        "{OLDEST} or later is needed for a network that is none of our kernels', and its library cannot be opened: {problem}. \
         Put it beside this program, or where LD_LIBRARY_PATH says"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_stays_none() {
        assert!(logit(f32::NAN).is_nan());
        assert_eq!([0.0, -1.0, 1.0].map(logit), [f32::MIN_POSITIVE.ln(), f32::MIN_POSITIVE.ln(), 0.0]);
        assert!((logit(0.5) + std::f32::consts::LN_2).abs() < 1e-6);
    }

    #[test]
    fn larger_images_are_fewer_at_once() {
        assert_eq!(together(3 * 32 * 32), 64);
        assert_eq!(together(3 * 1_024 * 1_024), 5);
        assert_eq!(together(usize::MAX / 8), 1);
    }
}
