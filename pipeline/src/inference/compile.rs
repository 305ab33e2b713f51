//! From a network to a model that runs: the one place that knows which implementation computes in which precision.

use super::error::{Error, Result};
use super::model::Model;
use super::network::{Block, Conv, Network};
use super::precision::Precision;
use super::resnet::ResNet;

/// The fastest implementation of `network` in `precision`.
///
/// # Errors
/// [`Error::Precision`] where this build has none, and what an implementation says of the network.
pub fn compile(network: &Network, precision: Precision) -> Result<Box<dyn Model>> {
    match precision {
        Precision::F32 => Ok(Box::new(ResNet::new(network)?)),
        Precision::Bf16 | Precision::Int8 => {
            Err(Error::Precision { model: network.info.name.clone(), precision, problem: "is not built yet" })
        }
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Weights;

    fn network() -> Network {
        Network::read(Weights::shipped().expect("weights")).expect("a network")
    }

    #[test]
    fn a_precision_is_computed_in_or_refused_by_its_name() {
        let network = network();
        for precision in Precision::ALL {
            match compile(&network, precision) {
                Ok(model) => {
                    assert_eq!(model.info().name, format!("resnet18-cifar10/{precision}"));
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(matches!(error, Error::Precision { .. }), "{text}");
                    assert!(text.contains(precision.name()) && text.contains("precision"), "{text}");
                }
            }
        }
        assert!(compile(&network, Precision::DEFAULT).is_ok(), "the default is there");
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
