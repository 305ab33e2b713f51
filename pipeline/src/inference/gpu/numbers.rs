//! The numbers that are computed in on a GPU.

use crate::inference::compiled::bf16_bits;
use crate::inference::precision::Precision;

/// A number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    F32,
    Bf16,
}

impl Numbers {
    /// Those of a precision, where a GPU computes in it.
    pub(super) fn of(precision: Precision) -> Option<Self> {
        match precision {
            Precision::F32 => Some(Self::F32),
            Precision::Bf16 => Some(Self::Bf16),
            Precision::Int8 => None,
        }
    }

    /// How the names of kernels end.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => Precision::F32.name(),
            Self::Bf16 => Precision::Bf16.name(),
        }
    }

    /// Bytes of one.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => Precision::F32.bytes(),
            Self::Bf16 => Precision::Bf16.bytes(),
        }
    }

    /// Values as the GPU reads them.
    pub(super) fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|value| bf16_bits(*value).to_ne_bytes()).collect(),
        }
    }
}
