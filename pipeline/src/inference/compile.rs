//! From a network to a model that runs: the one place that knows which implementation computes in which precision.

use super::compiled::{Compiled, Isa, Options};
use super::error::Result;
use super::model::Model;
use super::network::{Block, Conv, Network};
use super::plain::PlainResNet;
use super::precision::Precision;

/// The fastest implementation of `network` in `precision` on this processor.
///
/// # Errors
/// [`Error::Precision`](super::Error::Precision) where it cannot be computed in that, such as int8 without the ranges of the activations.
pub fn compile(network: &Network, precision: Precision) -> Result<Box<dyn Model>> {
    let options = Options::new(precision);
    // On a processor that no kernel is written for, candle's own operations are faster than the plain loops.
    if precision == Precision::F32 && options.isa == Isa::Portable {
        return Ok(Box::new(PlainResNet::called(network, precision.name())?));
    }
    Ok(Box::new(Compiled::new(network, options)?))
}

impl Network {
    /// About how many bytes a model of this network takes while it works on `batch` images: its weights, and three f32
    /// activations of the first layer, which are the largest (what a block reads, writes, and adds at its end).
    #[must_use]
    pub fn working_bytes(&self, precision: Precision, batch: usize) -> usize {
        let conv = |conv: &Conv| conv.weight.len() * precision.bytes() + conv.bias.len() * size_of::<f32>();
        let block =
            |block: &Block| conv(&block.conv1) + conv(&block.conv2) + block.shortcut.as_ref().map_or(0, conv);
        let blocks: usize = self.blocks.iter().map(block).sum();
        let fc = (self.fc.weight.len() + self.fc.bias.len()) * size_of::<f32>();
        let edge = |edge: usize| {
            (edge + 2 * self.stem.padding()).saturating_sub(self.stem.kernel) / self.stem.stride.max(1) + 1
        };
        let activation =
            edge(self.info.height) * edge(self.info.width) * self.stem.outputs * size_of::<f32>();
        conv(&self.stem) + blocks + fc + 3 * batch * activation
    }

    /// Multiplications of the convolutions and the classifier for one image, counted as the definition has them.
    #[must_use]
    pub fn multiplications(&self) -> u64 {
        let conv = |conv: &Conv, (height, width): (usize, usize)| {
            let size = (height.div_ceil(conv.stride), width.div_ceil(conv.stride));
            let each = conv.inputs * conv.outputs * conv.kernel * conv.kernel;
            ((size.0 * size.1 * each) as u64, size)
        };
        let (mut sum, mut size) = conv(&self.stem, (self.info.height, self.info.width));
        if self.pool {
            size = (size.0.div_ceil(2), size.1.div_ceil(2));
        }
        for block in &self.blocks {
            let (first, after) = conv(&block.conv1, size);
            let (second, _) = conv(&block.conv2, after);
            sum += first + second + block.shortcut.as_ref().map_or(0, |shortcut| conv(shortcut, size).0);
            size = after;
        }
        sum + self.fc.weight.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::{Error, Weights};

    fn network() -> Network {
        Network::read(Weights::shipped().expect("weights")).expect("a network")
    }

    #[test]
    fn every_precision_is_computed_in_and_named() {
        let network = network();
        for precision in Precision::ALL {
            let model = compile(&network, precision).expect("a model");
            assert_eq!(model.info().name, format!("resnet18-cifar10/{precision}"));
        }
    }

    #[test]
    fn int8_needs_the_ranges_of_the_activations() {
        let network = Network { calibration: None, ..network() };
        let error = compile(&network, Precision::Int8).map(|_| ()).expect_err("no ranges");
        assert!(
            matches!(error, Error::Precision { .. }) && error.to_string().contains("calibration"),
            "{error}"
        );
        assert!(compile(&network, Precision::Bf16).is_ok());
    }

    #[test]
    fn an_image_costs_half_a_billion_multiplications() {
        assert_eq!(network().multiplications(), 555_422_720);
    }

    #[test]
    fn what_a_model_takes_are_its_weights_and_its_activations() {
        let network = network();
        let weights = network.working_bytes(Precision::F32, 0);
        // 11.2 million parameters.
        assert!((44_000_000..46_000_000).contains(&weights), "{weights}");
        assert!(network.working_bytes(Precision::Int8, 0) < weights / 3);
        assert_eq!(network.working_bytes(Precision::F32, 2) - weights, 2 * 3 * 32 * 32 * 64 * 4);
    }
}
