//! The kernels: convolutions on the instruction set at hand, and the only `unsafe` code of this crate.
//!
//! Every precision looks the same here. An activation is a *word* of 32 bits that holds one f32, two bf16 or four
//! u8 of adjacent channels; a weight is a *line* of 16 such words for 16 output channels. One step of a kernel
//! multiplies a broadcast word with a line and adds the products to 16 accumulators: `vfmadd`, `vdpbf16ps`,
//! `vpdpbusd`, or what stands for them on AVX2 and NEON. So one loop ([`tile`]) serves all, and a 3×3 convolution is three runs
//! of `3 * channels` words per output position, read in place from a channels-last tensor with a zero border: no
//! patches are copied. AMX multiplies sixteen words of sixteen positions with sixteen lines at once, in a loop of its
//! own ([`tiles`]).
//!
//! Safety: the functions that the rest of the crate sees are safe. They check once, before the loops, that every
//! access lies within the slices ([`job::Job::check`]), and which thread writes what is disjoint by construction.
//! [`portable`] does the same in plain Rust, for other processors and for Miri.

#![allow(unsafe_code, reason = "the one place for vector instructions")]

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod amx;
#[cfg(all(test, target_arch = "x86_64", not(miri)))]
mod amx_model;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx2;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod bf16;
mod conv;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod f32;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod int8;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod int8_avx2;
mod job;
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod neon;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod peak;
mod portable;
#[cfg_attr(
    not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))),
    expect(dead_code, reason = "read by the vector kernels")
)]
mod raw;
mod team;
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod tile;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod tiles;
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod transform;
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod vector;
mod winograd;
mod words;

#[cfg(test)]
mod tests;

pub(super) use conv::conv;
pub(super) use job::{Epilogue, Job, Positions, Residual};
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub use peak::peak;
pub(in crate::inference) use portable::bf16_bits;
pub(super) use portable::{bf16_value, byte, nearest};
pub(super) use team::{Driver, with_team};
pub(super) use winograd::{Winograd, WinogradScratch, winograd};
pub(super) use words::Words;

use crate::inference::precision::Precision;

/// Nobody has counted for this processor.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[must_use]
pub fn peak(_: Isa, _: Precision, _: usize) -> Option<f64> {
    None
}

/// Output channels in a panel of packed weights; channels are padded to a multiple.
pub(super) const PANEL: usize = 64;

/// Lanes of a line: output channels that one instruction serves.
pub(super) const LANES: usize = 16;

/// The instructions that a precision is computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// NEON on aarch64: f32, and int8 where there is `sdot`.
    Neon,
    /// NEON with i8mm, which has `usdot`: int8.
    NeonI8mm,
    /// AVX2 and FMA: f32 and int8.
    Avx2,
    /// AVX-VNNI, the instruction of AVX-512 VNNI on 256 bits: int8.
    AvxVnni,
    /// AVX-512 F, BW, VL, and BF16 or VNNI where the precision needs it.
    Avx512,
    /// AMX, and AVX-512 for what happens to the sums: bf16 and int8, on Linux.
    Amx,
}

impl Isa {
    /// All of them, the plainest first.
    pub const ALL: [Self; 7] =
        [Self::Portable, Self::Neon, Self::NeonI8mm, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Amx];

    /// The best that this processor has for `precision`.
    #[must_use]
    pub fn detect(precision: Precision) -> Self {
        Self::ALL.into_iter().rfind(|isa| isa.supports(precision)).unwrap_or(Self::Portable)
    }

    /// How settings, logs and benchmarks write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::NeonI8mm => "neon-i8mm",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// Whether there are kernels for Winograd's transforms.
    pub(super) fn has_winograd(self) -> bool {
        matches!(self, Self::Neon | Self::Avx2 | Self::Avx512)
    }

    /// Whether this processor has these instructions, and there is a kernel for `precision`.
    #[must_use]
    pub fn supports(self, precision: Precision) -> bool {
        match (self, precision) {
            (Self::Portable, _) => true,
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            (Self::Neon, Precision::F32) => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            (Self::Neon, Precision::Int8) => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            (Self::NeonI8mm, Precision::Int8) => std::arch::is_aarch64_feature_detected!("i8mm"),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            (Self::Avx2, Precision::F32 | Precision::Int8) => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
            }
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            (Self::AvxVnni, Precision::Int8) => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni")
            }
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            (Self::Avx512, _) => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && match precision {
                        Precision::F32 => true,
                        Precision::Bf16 => is_x86_feature_detected!("avx512bf16"),
                        Precision::Int8 => is_x86_feature_detected!("avx512vnni"),
                    }
            }
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            (Self::Amx, Precision::Bf16 | Precision::Int8) => {
                Self::Avx512.supports(precision) && amx::available()
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
