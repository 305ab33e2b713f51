//! f32 on AVX-512: one fused multiply-add a line.

use super::raw::{Block, Raw};
use super::tile::{Kernel, item};
use super::transform::{back, forth};
use std::arch::x86_64::*;

/// f32, AVX-512.
pub(super) struct F32;

impl Kernel for F32 {
    type Sums = __m512;
    type Floats = __m512;
    type Line = __m512;
    const UNIT: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: AVX-512 F is there, as the trait demands of the caller.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn line(weights: *const u32) -> __m512 {
        // SAFETY: AVX-512 F; 64 aligned bytes are readable.
        unsafe { _mm512_load_ps(weights.cast()) }
    }
    #[inline(always)]
    unsafe fn broadcast(word: *const u32) -> __m512 {
        // SAFETY: AVX-512 F; the word is readable.
        unsafe { _mm512_set1_ps(*word.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512, word: __m512, line: __m512) -> __m512 {
        // SAFETY: AVX-512 F.
        unsafe { _mm512_fmadd_ps(word, line, sums) }
    }
    #[inline(always)]
    unsafe fn floats(sums: __m512) -> __m512 {
        sums
    }
    #[inline(always)]
    unsafe fn read(from: *const u32) -> __m512 {
        // SAFETY: AVX-512 F; 64 bytes are readable.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }
    #[inline(always)]
    unsafe fn write(to: *mut u32, values: __m512) {
        // SAFETY: AVX-512 F; 64 bytes are writable.
        unsafe { _mm512_storeu_ps(to.cast(), values) }
    }
}

/// [`item`] in f32 on AVX-512.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn f32_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<F32, 4>(t, panel, start, end) }
}

/// [`forth`] for tiles of edge 4.
///
/// # Safety
/// As [`forth`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn forth_4(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { forth::<F32, 4>(block, start, end) }
}

/// [`back`] for tiles of edge 4.
///
/// # Safety
/// As [`back`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn back_4(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { back::<F32, 4>(block, start, end) }
}

/// [`forth`] for tiles of edge 6.
///
/// # Safety
/// As [`forth`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn forth_6(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { forth::<F32, 6>(block, start, end) }
}

/// [`back`] for tiles of edge 6.
///
/// # Safety
/// As [`back`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn back_6(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { back::<F32, 6>(block, start, end) }
}
