//! NEON on aarch64: f32, and int8 where the processor has `sdot` or `usdot`. A line is four registers.
//!
//! `usdot` adds four products u8 × i8 to an i32. `sdot` has i8 on both sides: 128 is taken from each activation, by turning its
//! highest bit over, and what that takes from a sum is computed beside it and given back, exactly. The compiler's own
//! functions for both are not stable, so they are a line of assembly each.

use super::raw::{Block, Raw};
use super::tile::{Kernel, item};
use super::transform::{back, forth};
use super::vector::Vector;
use std::arch::aarch64::*;
use std::arch::asm;

/// Sixteen f32.
type Floats = [float32x4_t; 4];

/// Applies an operation to each of four registers, without a closure: that would not have the target's features.
macro_rules! each {
    ($i:ident => $value:expr) => {
        [
            {
                const $i: usize = 0;
                $value
            },
            {
                const $i: usize = 1;
                $value
            },
            {
                const $i: usize = 2;
                $value
            },
            {
                const $i: usize = 3;
                $value
            },
        ]
    };
}

// In every method the instruction set is there, and pointers are valid, because the caller says so.
impl Vector for Floats {
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: NEON is there and 64 bytes are readable.
        unsafe { each!(I => vld1q_f32(from.add(4 * I))) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, values: Self) {
        // SAFETY: NEON is there and 64 bytes are writable.
        unsafe {
            for (i, values) in values.into_iter().enumerate() {
                vst1q_f32(to.add(4 * i), values);
            }
        }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: NEON is there.
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    unsafe fn add(a: Self, b: Self) -> Self {
        // SAFETY: NEON is there.
        unsafe { each!(I => vaddq_f32(a[I], b[I])) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self, b: Self) -> Self {
        // SAFETY: NEON is there.
        unsafe { each!(I => vsubq_f32(a[I], b[I])) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self, b: Self) -> Self {
        // SAFETY: NEON is there.
        unsafe { each!(I => vmulq_f32(a[I], b[I])) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self {
        // SAFETY: NEON is there.
        unsafe { each!(I => vfmaq_f32(c[I], a[I], b[I])) }
    }
    #[inline(always)]
    unsafe fn relu(a: Self) -> Self {
        // SAFETY: NEON is there. `fmaxnm` gives the number where the other is NaN, and +0 for two zeros.
        unsafe { each!(I => vmaxnmq_f32(a[I], vdupq_n_f32(0.0))) }
    }
}

/// f32, NEON.
pub(super) struct F32;

impl Kernel for F32 {
    type Sums = Floats;
    type Floats = Floats;
    type Line = Floats;
    const UNIT: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> Floats {
        // SAFETY: NEON is there, as the trait demands of the caller.
        unsafe { Vector::splat(0.0) }
    }
    #[inline(always)]
    unsafe fn line(weights: *const u32) -> Floats {
        // SAFETY: NEON; 64 bytes are readable.
        unsafe { Vector::load(weights.cast()) }
    }
    #[inline(always)]
    unsafe fn broadcast(word: *const u32) -> Floats {
        // SAFETY: NEON; the word is readable.
        unsafe { Vector::splat(*word.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(sums: Floats, word: Floats, line: Floats) -> Floats {
        // SAFETY: NEON.
        unsafe { Vector::mul_add(word, line, sums) }
    }
    #[inline(always)]
    unsafe fn floats(sums: Floats) -> Floats {
        sums
    }
    #[inline(always)]
    unsafe fn read(from: *const u32) -> Floats {
        // SAFETY: NEON; 64 bytes are readable.
        unsafe { Vector::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn write(to: *mut u32, values: Floats) {
        // SAFETY: NEON; 64 bytes are writable.
        unsafe { Vector::store(to.cast(), values) }
    }
}

/// u8 × i8 by `usdot`, or else by `sdot`.
pub(super) struct Int8<const USDOT: bool>;

impl<const USDOT: bool> Kernel for Int8<USDOT> {
    type Sums = [int32x4_t; 4];
    type Floats = Floats;
    type Line = [uint8x16_t; 4];
    const UNIT: usize = 4;
    // Sums, the excess and the weights: 24 of 32 registers.
    const POSITIONS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> [int32x4_t; 4] {
        // SAFETY: NEON is there, as the trait demands of the caller.
        unsafe { [vdupq_n_s32(0); 4] }
    }
    #[inline(always)]
    unsafe fn line(weights: *const u32) -> [uint8x16_t; 4] {
        // SAFETY: NEON; 64 bytes are readable.
        unsafe { each!(I => vld1q_u8(weights.add(4 * I).cast())) }
    }
    #[inline(always)]
    unsafe fn broadcast(word: *const u32) -> [uint8x16_t; 4] {
        // SAFETY: NEON; the word is readable.
        unsafe { [vreinterpretq_u8_u32(vdupq_n_u32(if USDOT { *word } else { *word ^ 0x8080_8080 })); 4] }
    }
    #[inline(always)]
    unsafe fn excess() -> Option<[uint8x16_t; 4]> {
        // SAFETY: NEON. -128 in every byte: what was added to each activation.
        unsafe { if USDOT { None } else { Some([vdupq_n_u8(0x80); 4]) } }
    }
    #[inline(always)]
    unsafe fn subtract(a: [int32x4_t; 4], b: [int32x4_t; 4]) -> [int32x4_t; 4] {
        // SAFETY: NEON.
        unsafe { each!(I => vsubq_s32(a[I], b[I])) }
    }
    #[inline(always)]
    unsafe fn dot(sums: [int32x4_t; 4], word: [uint8x16_t; 4], line: [uint8x16_t; 4]) -> [int32x4_t; 4] {
        let mut sums = sums;
        for (sum, (word, line)) in sums.iter_mut().zip(word.into_iter().zip(line)) {
            // SAFETY: dotprod or i8mm, as the trait demands of the caller: registers only.
            unsafe {
                if USDOT {
                    asm!(
                        ".arch_extension i8mm",
                        "usdot {sum:v}.4s, {word:v}.16b, {line:v}.16b",
                        sum = inout(vreg) *sum, word = in(vreg) word, line = in(vreg) line,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                } else {
                    asm!(
                        ".arch_extension dotprod",
                        "sdot {sum:v}.4s, {word:v}.16b, {line:v}.16b",
                        sum = inout(vreg) *sum, word = in(vreg) word, line = in(vreg) line,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn floats(sums: [int32x4_t; 4]) -> Floats {
        // SAFETY: NEON.
        unsafe { each!(I => vcvtq_f32_s32(sums[I])) }
    }
    #[inline(always)]
    unsafe fn read(from: *const u32) -> Floats {
        // SAFETY: NEON; 16 bytes are readable.
        unsafe {
            let bytes = vld1q_u8(from.cast());
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
            [
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
                vcvtq_f32_u32(vmovl_high_u16(low)),
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
                vcvtq_f32_u32(vmovl_high_u16(high)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn write(to: *mut u32, values: Floats) {
        // SAFETY: NEON; 16 bytes are writable. Rounds half to even; NaN becomes 0.
        unsafe {
            let v: [uint32x4_t; 4] = each!(I => {
                let value = vminq_f32(vmaxnmq_f32(values[I], vdupq_n_f32(0.0)), vdupq_n_f32(255.0));
                vcvtnq_u32_f32(value)
            });
            let low = vcombine_u16(vmovn_u32(v[0]), vmovn_u32(v[1]));
            let high = vcombine_u16(vmovn_u32(v[2]), vmovn_u32(v[3]));
            vst1q_u8(to.cast(), vcombine_u8(vmovn_u16(low), vmovn_u16(high)));
        }
    }
}

/// [`item`] in f32 on NEON.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn f32_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<F32, 1>(t, panel, start, end) }
}

/// [`item`] in int8 with `sdot`.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn sdot_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<Int8<false>, 1>(t, panel, start, end) }
}

/// [`item`] in int8 with `usdot`.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "neon,i8mm")]
pub(super) unsafe fn usdot_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<Int8<true>, 1>(t, panel, start, end) }
}

/// [`forth`] for tiles of edge 4.
///
/// # Safety
/// As [`forth`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn forth_4(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { forth::<F32, 4>(block, start, end) }
}

/// [`back`] for tiles of edge 4.
///
/// # Safety
/// As [`back`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn back_4(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { back::<F32, 4>(block, start, end) }
}

/// [`forth`] for tiles of edge 6.
///
/// # Safety
/// As [`forth`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn forth_6(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { forth::<F32, 6>(block, start, end) }
}

/// [`back`] for tiles of edge 6.
///
/// # Safety
/// As [`back`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn back_6(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { back::<F32, 6>(block, start, end) }
}
