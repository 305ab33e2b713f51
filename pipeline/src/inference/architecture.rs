//! Which ResNet a file of weights holds, told from the names and shapes of its tensors.
//!
//! The names are those of torchvision, which timm shares: `conv1`, `bn1`, `layer1.0.conv1`, …, `layer4.2.bn3`,
//! `layer2.0.downsample.0`, `fc`. A block with a `conv3` is a bottleneck; the blocks of a layer are counted; widths are
//! the shapes'. So every depth and every width comes for free, and what computes something else is refused by what its
//! names or shapes give away.
//!
//! Some things leave no trace in the tensors and are taken as torchvision has them: ReLU, ε = 1e-5, the stride of a
//! bottleneck on its 3×3 convolution (torchvision calls that v1.5; older weights have it on the first 1×1), and no
//! dilation or blurred pooling.

use super::error::{Error, Result};
use super::weights::Weights;

/// Names that are part of no network here, and what they are the sign of.
const FOREIGN: [(&str, &str); 7] = [
    (".se.", "squeeze-and-excitation in its blocks"),
    (".se_module.", "squeeze-and-excitation in its blocks"),
    (".attn.", "attention in its blocks"),
    (".downsample.2.", "a pooled shortcut, as in ResNet-D"),
    (".conv2.conv.", "selective kernels or split attention in its blocks"),
    (".conv2.fc1.", "split attention in its blocks"),
    (".conv4.", "blocks of more than three convolutions"),
];

/// The kind of residual block that a network is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Two 3×3 convolutions, the first with the block's stride.
    Basic,
    /// A 1×1 convolution to fewer channels, a 3×3 one with the block's stride, a 1×1 one to four times as many.
    Bottleneck,
}

impl Kind {
    /// Kernel and stride of each convolution in a block of `stride`.
    pub(super) fn convolutions(self, stride: usize) -> &'static [(usize, usize)] {
        match (self, stride) {
            (Self::Basic, 1) => &[(3, 1), (3, 1)],
            (Self::Basic, _) => &[(3, 2), (3, 1)],
            (Self::Bottleneck, 1) => &[(1, 1), (3, 1), (1, 1)],
            (Self::Bottleneck, _) => &[(1, 1), (3, 2), (1, 1)],
        }
    }
}

/// What there is to tell before the tensors are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Architecture {
    /// Edge of the first convolution's kernel: 7, at stride 2 with a max-pool after it, or 3.
    pub(super) stem: usize,
    pub(super) kind: Kind,
    /// Blocks of the four layers.
    pub(super) blocks: [usize; 4],
    /// How many times as wide as usual the bottlenecks are.
    pub(super) widening: usize,
}

impl Architecture {
    /// Tells the network of `weights`, of which nothing has been taken yet.
    ///
    /// # Errors
    /// [`Error::Architecture`] for what is no ResNet, or one with parts that are not computed here.
    pub(super) fn tell(weights: &Weights) -> Result<Self> {
        let unknown = |problem: String| Error::Architecture { origin: weights.origin().to_owned(), problem };
        for (name, shape) in weights.shapes() {
            let told = FOREIGN.iter().find(|(mark, _)| name.contains(mark)).map(|(_, what)| *what);
            let stem = name.starts_with("conv1.") && !matches!(name, "conv1.weight" | "conv1.bias");
            let pooled = name.ends_with(".downsample.1.weight") && shape.len() == 4;
            let told = match told {
                None if stem => Some("a stem of several convolutions, as in ResNet-C and -D"),
                None if pooled => Some("a pooled shortcut, as in ResNet-D"),
                told => told,
            };
            if let Some(what) = told {
                return Err(unknown(format!(
                    "tensor {name:?} is the sign of {what}, which is not supported"
                )));
            }
        }
        let mut blocks = [0; 4];
        let mut kind = Kind::Basic;
        for (name, _) in weights.shapes() {
            let Some((layer, rest)) = name.strip_prefix("layer").and_then(|rest| rest.split_once('.')) else {
                continue;
            };
            let index = rest.split('.').next().and_then(|block| block.parse::<u16>().ok());
            let layer = layer.parse().ok().and_then(|layer: usize| blocks.get_mut(layer.checked_sub(1)?));
            if let (Some(count), Some(index)) = (layer, index) {
                *count = (*count).max(usize::from(index) + 1);
                if rest.ends_with(".conv3.weight") {
                    kind = Kind::Bottleneck;
                }
            }
        }
        if let Some(layer) = blocks.iter().position(|count| *count == 0) {
            let layer = layer + 1;
            let problem = format!(
                "has no tensors of a layer{layer}, and only ResNets are supported, with the names of torchvision and timm"
            );
            return Err(unknown(problem));
        }
        let stem = if matches!(weights.shape("conv1.weight"), Some([_, _, 7, 7])) { 7 } else { 3 };
        let outputs = |name: &str| weights.shape(name).and_then(|shape| shape.first().copied());
        let widening = match (outputs("layer1.0.conv2.weight"), outputs("layer1.0.conv3.weight")) {
            (Some(hidden), Some(outputs)) => (4 * hidden).checked_div(outputs).unwrap_or(1),
            _ => 1,
        };
        Ok(Self { stem, kind, blocks, widening })
    }

    /// Its name as torchvision has it: `resnet18`, `resnet50`, `wide_resnet50_2`. The number is that of the layers with
    /// weights; classes, the stem and the channels of a layer are not part of the name.
    pub(super) fn name(&self) -> String {
        let each = self.kind.convolutions(1).len();
        let depth = 2 + each * self.blocks.iter().sum::<usize>();
        match self.widening {
            0 | 1 => format!("resnet{depth}"),
            times => format!("wide_resnet{depth}_{times}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kind: Kind, blocks: [usize; 4], widening: usize) -> String {
        Architecture { stem: 7, kind, blocks, widening }.name()
    }

    #[test]
    fn depths_are_counted_as_the_papers_count() {
        assert_eq!(named(Kind::Basic, [2, 2, 2, 2], 1), "resnet18");
        assert_eq!(named(Kind::Basic, [3, 4, 6, 3], 1), "resnet34");
        assert_eq!(named(Kind::Bottleneck, [3, 4, 6, 3], 1), "resnet50");
        assert_eq!(named(Kind::Bottleneck, [3, 4, 23, 3], 1), "resnet101");
        assert_eq!(named(Kind::Bottleneck, [3, 8, 36, 3], 1), "resnet152");
        assert_eq!(named(Kind::Bottleneck, [3, 4, 6, 3], 2), "wide_resnet50_2");
    }

    #[test]
    fn one_convolution_of_a_block_has_its_stride() {
        for kind in [Kind::Basic, Kind::Bottleneck] {
            for stride in [1, 2] {
                let strides: Vec<usize> = kind.convolutions(stride).iter().map(|c| c.1).collect();
                assert_eq!(strides.iter().product::<usize>(), stride);
            }
        }
    }
}
