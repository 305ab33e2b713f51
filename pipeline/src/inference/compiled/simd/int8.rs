//! int8 on AVX-512 VNNI: `vpdpbusd` adds four products u8 × i8 to each of sixteen i32, without saturation.

use super::raw::Raw;
use super::tile::{Kernel, item};
use std::arch::x86_64::*;

/// u8 × i8, AVX-512.
pub(super) struct Int8;

impl Kernel for Int8 {
    type Sums = __m512i;
    type Floats = __m512;
    type Line = __m512i;
    const UNIT: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: AVX-512 F is there, as the trait demands of the caller.
        unsafe { _mm512_setzero_si512() }
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
    unsafe fn dot(sums: __m512i, word: __m512i, line: __m512i) -> __m512i {
        // SAFETY: AVX-512 VNNI.
        unsafe { _mm512_dpbusd_epi32(sums, word, line) }
    }
    #[inline(always)]
    unsafe fn floats(sums: __m512i) -> __m512 {
        // SAFETY: AVX-512 F.
        unsafe { _mm512_cvtepi32_ps(sums) }
    }
    #[inline(always)]
    unsafe fn read(from: *const u32) -> __m512 {
        // SAFETY: AVX-512 F; 16 bytes are readable.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn write(to: *mut u32, values: __m512) {
        // SAFETY: AVX-512 F; 16 bytes are writable. Rounds half to even, as MXCSR is in Rust.
        unsafe {
            let zero = _mm512_setzero_ps();
            let values = _mm512_min_ps(_mm512_max_ps(values, zero), _mm512_set1_ps(255.0));
            _mm_storeu_si128(to.cast(), _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(values)));
        }
    }
}

/// [`item`] in int8 on AVX-512.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn int8_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<Int8, 4>(t, panel, start, end) }
}
