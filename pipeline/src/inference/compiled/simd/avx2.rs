//! f32 on AVX2 and FMA: a line is two registers, so that a panel is worked on line by line.

use super::raw::{Block, Raw};
use super::tile::{Kernel, item};
use super::transform::{back, forth};
use super::vector::Vector;
use std::arch::x86_64::*;

/// f32, AVX2.
pub(super) struct F32;

impl Kernel for F32 {
    type Sums = [__m256; 2];
    type Floats = [__m256; 2];
    type Line = [__m256; 2];
    const UNIT: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> [__m256; 2] {
        // SAFETY: AVX is there, as the trait demands of the caller.
        unsafe { [_mm256_setzero_ps(); 2] }
    }
    #[inline(always)]
    unsafe fn line(weights: *const u32) -> [__m256; 2] {
        // SAFETY: AVX; 64 aligned bytes are readable.
        unsafe { [_mm256_load_ps(weights.cast()), _mm256_load_ps(weights.add(8).cast())] }
    }
    #[inline(always)]
    unsafe fn broadcast(word: *const u32) -> [__m256; 2] {
        // SAFETY: AVX; the word is readable.
        unsafe { [_mm256_set1_ps(*word.cast()); 2] }
    }
    #[inline(always)]
    unsafe fn dot(sums: [__m256; 2], word: [__m256; 2], line: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: FMA.
        unsafe { Vector::mul_add(word, line, sums) }
    }
    #[inline(always)]
    unsafe fn floats(sums: [__m256; 2]) -> [__m256; 2] {
        sums
    }
    #[inline(always)]
    unsafe fn read(from: *const u32) -> [__m256; 2] {
        // SAFETY: AVX; 64 bytes are readable.
        unsafe { Vector::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn write(to: *mut u32, values: [__m256; 2]) {
        // SAFETY: AVX; 64 bytes are writable.
        unsafe { Vector::store(to.cast(), values) }
    }
}

/// [`item`] in f32 on AVX2.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "avx,avx2,fma")]
pub(super) unsafe fn f32_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<F32, 1>(t, panel, start, end) }
}

/// [`forth`] for tiles of edge 4.
///
/// # Safety
/// As [`forth`].
#[target_feature(enable = "avx,avx2,fma")]
pub(super) unsafe fn forth_4(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { forth::<F32, 4>(block, start, end) }
}

/// [`back`] for tiles of edge 4.
///
/// # Safety
/// As [`back`].
#[target_feature(enable = "avx,avx2,fma")]
pub(super) unsafe fn back_4(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { back::<F32, 4>(block, start, end) }
}

/// [`forth`] for tiles of edge 6.
///
/// # Safety
/// As [`forth`].
#[target_feature(enable = "avx,avx2,fma")]
pub(super) unsafe fn forth_6(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { forth::<F32, 6>(block, start, end) }
}

/// [`back`] for tiles of edge 6.
///
/// # Safety
/// As [`back`].
#[target_feature(enable = "avx,avx2,fma")]
pub(super) unsafe fn back_6(block: &Block, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { back::<F32, 6>(block, start, end) }
}
