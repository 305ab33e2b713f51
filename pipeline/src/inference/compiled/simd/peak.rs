//! What the processor could do at most: the instruction of a kernel over registers alone, again and again.

use crate::inference::precision::Precision;
use std::time::Instant;

/// Independent sums: enough to hide the latency of an instruction.
const SUMS: usize = 12;
/// Rounds of a measurement, some 10 ms.
const ROUNDS: u32 = 1 << 20;
/// The best of so many counts: another program may take a core away.
const TRIES: usize = 7;

/// Operations a second (a multiplication and an addition are two) that `threads` threads reach together with the AVX-512
/// instruction of `precision`; `None` on a processor without it.
#[must_use]
pub fn peak(precision: Precision, threads: usize) -> Option<f64> {
    if !super::Isa::Avx512.supports(precision) {
        return None;
    }
    let seconds = (0..TRIES).map(|_| together(precision, threads)).fold(f64::INFINITY, f64::min);
    // 16 sums of 32 bits an instruction, each of one, two or four products.
    let products = SUMS * super::LANES * precision.unit();
    Some(2.0 * f64::from(ROUNDS) * products as f64 * threads as f64 / seconds)
}

fn together(precision: Precision, threads: usize) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            // SAFETY: `peak` has asked the processor whether it has the instructions of this precision.
            scope.spawn(move || match precision {
                Precision::F32 => std::hint::black_box(unsafe { products_f32() }),
                Precision::Bf16 => std::hint::black_box(unsafe { products_bf16() }),
                Precision::Int8 => std::hint::black_box(unsafe { products_int8() }),
            });
        }
    });
    began.elapsed().as_secs_f64()
}

#[target_feature(enable = "avx512f")]
fn products_f32() -> f32 {
    use std::arch::x86_64::{_mm512_add_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (a, b) = (std::hint::black_box(_mm512_set1_ps(0.999_999)), _mm512_set1_ps(0.5));
    let mut sums = [_mm512_set1_ps(0.0); SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, a, b);
        }
    }
    _mm512_reduce_add_ps(sums.into_iter().fold(_mm512_set1_ps(0.0), |all, sum| _mm512_add_ps(all, sum)))
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn products_bf16() -> f32 {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_reduce_add_ps, _mm512_set1_epi32,
        _mm512_set1_ps,
    };
    let ones = std::hint::black_box(_mm512_set1_epi32(0x3f80_3f80));
    // SAFETY: both are 512 bits, and any bits are numbers of bfloat16.
    let ones = unsafe { std::mem::transmute::<__m512i, __m512bh>(ones) };
    let mut sums = [_mm512_set1_ps(0.0); SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, ones, ones);
        }
    }
    _mm512_reduce_add_ps(sums.into_iter().fold(_mm512_set1_ps(0.0), |all, sum| _mm512_add_ps(all, sum)))
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn products_int8() -> f32 {
    use std::arch::x86_64::{
        _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi32,
    };
    let ones = std::hint::black_box(_mm512_set1_epi32(0x0101_0101));
    let mut sums = [_mm512_set1_epi32(0); SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, ones, ones);
        }
    }
    let sum = sums.into_iter().fold(_mm512_set1_epi32(0), |all, sum| _mm512_add_epi32(all, sum));
    _mm512_reduce_add_epi32(sum) as f32
}
