//! int8 on 256 bits: `vpmaddwd` where the processor has AVX2 alone, `vpdpbusd` where it has AVX-VNNI.
//!
//! The obvious instruction of AVX2, `vpmaddubsw`, adds two products u8 × i8 in an i16 and saturates: 255 · 127 · 2
//! is 64,770. So bytes are widened to i16 first, those of even places and those of odd ones apart, and `vpmaddwd` adds two
//! products of i16 in an i32, which holds them with room: no sum is ever cut, and the result is the portable one.

use super::raw::Raw;
use super::tile::{Kernel, item};
use std::arch::x86_64::*;

/// Sixteen u8 as f32.
#[inline(always)]
unsafe fn read(from: *const u32) -> [__m256; 2] {
    // SAFETY: AVX2, as the traits demand of the caller; 16 bytes are readable.
    unsafe {
        let bytes = _mm_loadu_si128(from.cast());
        let (low, high) =
            (_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes)));
        [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
    }
}

/// Eight integers from 0 to 255, halves rounded to even, as MXCSR is in Rust; NaN is 0.
#[inline(always)]
unsafe fn nearest(values: __m256) -> __m256i {
    // SAFETY: AVX, as the traits demand of the caller. `vmaxps` gives its second operand for NaN.
    unsafe {
        let values = _mm256_max_ps(values, _mm256_setzero_ps());
        _mm256_cvtps_epi32(_mm256_min_ps(values, _mm256_set1_ps(255.0)))
    }
}

/// Rounds and stores sixteen u8.
#[inline(always)]
unsafe fn write(to: *mut u32, values: [__m256; 2]) {
    // SAFETY: AVX2, as the traits demand of the caller; 16 bytes are writable.
    unsafe {
        // Packing works within halves of a register: 0 to 3, 8 to 11, 4 to 7, 12 to 15.
        let words = _mm256_packus_epi32(nearest(values[0]), nearest(values[1]));
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
        let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_storeu_si128(to.cast(), _mm_packus_epi16(low, high));
    }
}

/// u8 × i8, AVX2.
pub(super) struct Int8;

impl Kernel for Int8 {
    type Sums = [__m256i; 2];
    type Floats = [__m256; 2];
    /// Bytes of even places as i16, then those of odd ones; of the first eight words and of the last.
    type Line = [[__m256i; 2]; 2];
    const UNIT: usize = 4;
    // Eight sums, four registers of weights and two of activations; six positions would not fit into sixteen.
    const POSITIONS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> [__m256i; 2] {
        // SAFETY: AVX is there, as the trait demands of the caller.
        unsafe { [_mm256_setzero_si256(); 2] }
    }
    #[inline(always)]
    unsafe fn line(weights: *const u32) -> [[__m256i; 2]; 2] {
        // SAFETY: AVX2; 64 aligned bytes are readable.
        unsafe {
            let first = _mm256_load_si256(weights.cast());
            let last = _mm256_load_si256(weights.add(8).cast());
            [
                [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(first)), _mm256_srai_epi16::<8>(first)],
                [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(last)), _mm256_srai_epi16::<8>(last)],
            ]
        }
    }
    #[inline(always)]
    unsafe fn broadcast(word: *const u32) -> [[__m256i; 2]; 2] {
        // SAFETY: AVX2; the word is readable.
        unsafe {
            let bytes = _mm256_set1_epi32(*word.cast());
            [[_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(bytes)]; 2]
        }
    }
    #[inline(always)]
    unsafe fn dot(sums: [__m256i; 2], word: [[__m256i; 2]; 2], line: [[__m256i; 2]; 2]) -> [__m256i; 2] {
        // SAFETY: AVX2.
        unsafe {
            let mut sums = sums;
            for i in 0..2 {
                let even = _mm256_madd_epi16(word[i][0], line[i][0]);
                let odd = _mm256_madd_epi16(word[i][1], line[i][1]);
                sums[i] = _mm256_add_epi32(_mm256_add_epi32(sums[i], even), odd);
            }
            sums
        }
    }
    #[inline(always)]
    unsafe fn floats(sums: [__m256i; 2]) -> [__m256; 2] {
        // SAFETY: AVX.
        unsafe { [_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])] }
    }
    #[inline(always)]
    unsafe fn read(from: *const u32) -> [__m256; 2] {
        // SAFETY: the caller's.
        unsafe { read(from) }
    }
    #[inline(always)]
    unsafe fn write(to: *mut u32, values: [__m256; 2]) {
        // SAFETY: the caller's.
        unsafe { write(to, values) }
    }
}

/// u8 × i8, AVX-VNNI.
pub(super) struct Vnni;

impl Kernel for Vnni {
    type Sums = [__m256i; 2];
    type Floats = [__m256; 2];
    type Line = [__m256i; 2];
    const UNIT: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> [__m256i; 2] {
        // SAFETY: AVX is there, as the trait demands of the caller.
        unsafe { [_mm256_setzero_si256(); 2] }
    }
    #[inline(always)]
    unsafe fn line(weights: *const u32) -> [__m256i; 2] {
        // SAFETY: AVX; 64 aligned bytes are readable.
        unsafe { [_mm256_load_si256(weights.cast()), _mm256_load_si256(weights.add(8).cast())] }
    }
    #[inline(always)]
    unsafe fn broadcast(word: *const u32) -> [__m256i; 2] {
        // SAFETY: AVX; the word is readable.
        unsafe { [_mm256_set1_epi32(*word.cast()); 2] }
    }
    #[inline(always)]
    unsafe fn dot(sums: [__m256i; 2], word: [__m256i; 2], line: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: AVX-VNNI.
        unsafe {
            [
                _mm256_dpbusd_avx_epi32(sums[0], word[0], line[0]),
                _mm256_dpbusd_avx_epi32(sums[1], word[1], line[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn floats(sums: [__m256i; 2]) -> [__m256; 2] {
        // SAFETY: AVX.
        unsafe { [_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])] }
    }
    #[inline(always)]
    unsafe fn read(from: *const u32) -> [__m256; 2] {
        // SAFETY: the caller's.
        unsafe { read(from) }
    }
    #[inline(always)]
    unsafe fn write(to: *mut u32, values: [__m256; 2]) {
        // SAFETY: the caller's.
        unsafe { write(to, values) }
    }
}

/// [`item`] in int8 on AVX2.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "avx,avx2")]
pub(super) unsafe fn avx2_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<Int8, 1>(t, panel, start, end) }
}

/// [`item`] in int8 on AVX-VNNI.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "avx,avx2,avxvnni")]
pub(super) unsafe fn vnni_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<Vnni, 1>(t, panel, start, end) }
}
