//! Sixteen f32: one AVX-512 register, two of AVX2, or four of NEON (whose are in `neon`).

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Sixteen f32 in vector registers.
///
/// # Safety of all methods
/// The processor has the instruction set, and pointers are valid for 64 bytes.
pub(super) trait Vector: Copy {
    /// Sixteen f32, aligned to 4 bytes.
    unsafe fn load(from: *const f32) -> Self;
    /// Sixteen f32, aligned to 4 bytes.
    unsafe fn store(to: *mut f32, values: Self);
    /// The same f32 sixteen times.
    unsafe fn splat(value: f32) -> Self;
    /// `a + b`.
    unsafe fn add(a: Self, b: Self) -> Self;
    /// `a - b`.
    unsafe fn sub(a: Self, b: Self) -> Self;
    /// `a * b`.
    unsafe fn mul(a: Self, b: Self) -> Self;
    /// `a * b + c`, rounded once.
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self;
    /// `a > 0 ? a : 0`: NaN and -0 become +0.
    unsafe fn relu(a: Self) -> Self;
}

// In every method the instruction set is there, and pointers are valid, because the caller says so.
#[cfg(target_arch = "x86_64")]
impl Vector for __m512 {
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: AVX-512 F is there and 64 bytes are readable.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, values: Self) {
        // SAFETY: AVX-512 F is there and 64 bytes are writable.
        unsafe { _mm512_storeu_ps(to, values) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: AVX-512 F is there.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn add(a: Self, b: Self) -> Self {
        // SAFETY: AVX-512 F is there.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self, b: Self) -> Self {
        // SAFETY: AVX-512 F is there.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self, b: Self) -> Self {
        // SAFETY: AVX-512 F is there.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self {
        // SAFETY: AVX-512 F is there.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn relu(a: Self) -> Self {
        // SAFETY: AVX-512 F is there. `vmaxps` gives its second operand for NaN and for two zeros.
        unsafe { _mm512_max_ps(a, _mm512_setzero_ps()) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Vector for [__m256; 2] {
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: AVX is there and 64 bytes are readable.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, values: Self) {
        // SAFETY: AVX is there and 64 bytes are writable.
        unsafe {
            _mm256_storeu_ps(to, values[0]);
            _mm256_storeu_ps(to.add(8), values[1]);
        }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: AVX is there.
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn add(a: Self, b: Self) -> Self {
        // SAFETY: AVX is there.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn sub(a: Self, b: Self) -> Self {
        // SAFETY: AVX is there.
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn mul(a: Self, b: Self) -> Self {
        // SAFETY: AVX is there.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self {
        // SAFETY: FMA is there.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    unsafe fn relu(a: Self) -> Self {
        // SAFETY: AVX is there. `vmaxps` gives its second operand for NaN and for two zeros.
        unsafe {
            let zero = _mm256_setzero_ps();
            [_mm256_max_ps(a[0], zero), _mm256_max_ps(a[1], zero)]
        }
    }
}
