//! bf16 on AVX-512 BF16: `vdpbf16ps` adds two products to each of sixteen f32.

use super::raw::{Block, Raw};
use super::tile::{Kernel, item};
use super::transform::{back, forth};
use std::arch::x86_64::*;

/// bf16, AVX-512.
pub(super) struct Bf16;

impl Kernel for Bf16 {
    type Sums = __m512;
    type Floats = __m512;
    type Line = __m512i;
    const UNIT: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: AVX-512 F is there, as the trait demands of the caller.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn line(weights: *const u32) -> __m512i {
        // SAFETY: AVX-512 F; 64 aligned bytes are readable.
        unsafe { _mm512_load_si512(weights.cast()) }
    }
    #[inline(always)]
    unsafe fn broadcast(word: *const u32) -> __m512i {
        // SAFETY: AVX-512 F; the word is readable.
        unsafe { _mm512_set1_epi32(*word.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512, word: __m512i, line: __m512i) -> __m512 {
        // SAFETY: AVX-512 BF16; both types are 64 bytes in which every bit pattern is valid.
        unsafe {
            _mm512_dpbf16_ps(
                sums,
                std::mem::transmute::<__m512i, __m512bh>(word),
                std::mem::transmute::<__m512i, __m512bh>(line),
            )
        }
    }
    #[inline(always)]
    unsafe fn floats(sums: __m512) -> __m512 {
        sums
    }
    #[inline(always)]
    unsafe fn read(from: *const u32) -> __m512 {
        // SAFETY: AVX-512 F; 32 bytes are readable. A bf16 is the upper half of an f32.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }
    }
    #[inline(always)]
    unsafe fn write(to: *mut u32, values: __m512) {
        // SAFETY: AVX-512 BF16; 32 bytes are writable; both types are 32 bytes of any bit pattern.
        unsafe {
            let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values));
            _mm256_storeu_si256(to.cast(), halves);
        }
    }
}

/// [`item`] in bf16 on AVX-512.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn bf16_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<Bf16, 4>(t, panel, start, end) }
}

/// [`forth`] for tiles of edge 4.
///
/// # Safety
/// As [`forth`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn forth_4(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { forth::<Bf16, 4>(block, start, end) }
}

/// [`back`] for tiles of edge 4.
///
/// # Safety
/// As [`back`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn back_4(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { back::<Bf16, 4>(block, start, end) }
}

/// [`forth`] for tiles of edge 6.
///
/// # Safety
/// As [`forth`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn forth_6(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { forth::<Bf16, 6>(block, start, end) }
}

/// [`back`] for tiles of edge 6.
///
/// # Safety
/// As [`back`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn back_6(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { back::<Bf16, 6>(block, start, end) }
}
