//! The kernels: convolutions on the instruction set at hand, and the only `unsafe` code of this crate.
//!
//! Every precision looks the same here. An activation is a *word* of 32 bits that holds one f32, two bf16 or four
//! u8 of adjacent channels; a weight is a *line* of 16 such words for 16 output channels. One step of a kernel
//! multiplies a broadcast word with a line and adds the products to 16 accumulators: `vfmadd`, `vdpbf16ps` or
//! `vpdpbusd`. So one loop ([`tile`]) serves all, and a 3×3 convolution is three runs of `3 * channels` words per
//! output position, read in place from a channels-last tensor with a zero border: no patches are copied.
//!
//! Safety: the functions that the rest of the crate sees are safe. They check once, before the loops, that every
//! access lies within the slices ([`job::Job::check`]), and which thread writes what is disjoint by construction.
//! [`portable`] does the same in plain Rust, for other processors and for Miri.

#![allow(unsafe_code, reason = "the one place for vector instructions")]

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx2;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod bf16;
mod conv;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod f32;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod int8;
mod job;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod peak;
mod portable;
#[cfg_attr(
    not(all(target_arch = "x86_64", not(miri))),
    expect(dead_code, reason = "read by the vector kernels")
)]
mod raw;
mod team;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod tile;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod transform;
#[cfg(all(target_arch = "x86_64", not(miri)))]
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
pub fn peak(_: Precision, _: usize) -> Option<f64> {
    None
}

/// Output channels in a panel of packed weights; channels are padded to a multiple.
pub(super) const PANEL: usize = 64;

/// Lanes of a line: output channels that one instruction serves.
pub(super) const LANES: usize = 16;

/// The instructions that a precision is computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// AVX2 and FMA: f32.
    Avx2,
    /// AVX-512 F, BW, VL, and BF16 or VNNI where the precision needs it.
    Avx512,
}

impl Isa {
    /// The best that this processor has for `precision`.
    #[must_use]
    pub fn detect(precision: Precision) -> Self {
        [Self::Avx512, Self::Avx2].into_iter().find(|isa| isa.supports(precision)).unwrap_or(Self::Portable)
    }

    /// Whether this processor has these instructions, and there is a kernel for `precision`.
    #[must_use]
    pub fn supports(self, precision: Precision) -> bool {
        match (self, precision) {
            (Self::Portable, _) => true,
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            (Self::Avx2, Precision::F32) => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
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
            _ => false,
        }
    }
}
