//! What the processor could do at most: the instruction of a kernel over registers alone, again and again.

use super::tile::Kernel;
use super::vector::Vector;
use super::{Isa, LANES, Words, amx, avx2, bf16, f32, int8, int8_avx2};
use crate::inference::precision::Precision;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long all threads count together. Shorter windows measure how threads start and what clock the core has just then.
const WINDOW: Duration = Duration::from_millis(200);
/// The best of so many windows: another program may take a core away.
const WINDOWS: usize = 3;
/// Rounds between two looks at the clock: a tenth of a millisecond.
const ROUNDS: u32 = 1 << 15;

/// A loop over registers: runs so many rounds.
struct Loop {
    run: unsafe fn(u32),
    /// Products of 32-bit words in a round.
    words: usize,
}

/// Operations a second (a multiplication and an addition are two) that `threads` threads reach together with the
/// instruction of `isa` for `precision`; `None` on a processor without it, and where several instructions do the work of one. It takes most of a second.
#[must_use]
pub fn peak(isa: Isa, precision: Precision, threads: usize) -> Option<f64> {
    if !isa.supports(precision) {
        return None;
    }
    let (run, words): (unsafe fn(u32), usize) = match (isa, precision) {
        // AVX2 has no one instruction for int8.
        (Isa::Portable | Isa::Neon | Isa::NeonI8mm, _) | (Isa::Avx2, Precision::Int8) => return None,
        (Isa::Avx2, _) => (avx2_f32, 6 * LANES),
        (Isa::AvxVnni, _) => (vnni_int8, 6 * LANES),
        (Isa::Avx512, Precision::F32) => (avx512_f32, 12 * LANES),
        (Isa::Avx512, Precision::Bf16) => (avx512_bf16, 12 * LANES),
        (Isa::Avx512, Precision::Int8) => (avx512_int8, 12 * LANES),
        (Isa::Amx, Precision::Bf16) => (amx::products::<true>, amx::PRODUCTS),
        (Isa::Amx, _) => (amx::products::<false>, amx::PRODUCTS),
    };
    let each = Loop { run, words };
    let rounds = (0..WINDOWS).map(|_| together(&each, threads)).fold(0.0, f64::max);
    Some(2.0 * rounds * (each.words * precision.unit()) as f64)
}

/// Rounds a second of all threads in one window, which opens when all are there and have run a while.
fn together(each: &Loop, threads: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let count = || {
        // SAFETY: `peak` has asked the processor whether it has the instructions of this loop.
        let step = || unsafe { (each.run)(ROUNDS) };
        (0..20).for_each(|_| step());
        barrier.wait();
        let (began, mut rounds) = (Instant::now(), 0.0);
        while began.elapsed() < WINDOW {
            step();
            rounds += f64::from(ROUNDS);
        }
        rounds / began.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let counts: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        counts.into_iter().filter_map(|count| count.join().ok()).sum()
    })
}

/// `N` independent sums, enough to hide the latency of an instruction, take a product each in every round.
#[inline(always)]
unsafe fn products<D: Kernel, const N: usize>(rounds: u32) {
    let ones = black_box(Words::new(LANES, 0x3f80_3f80));
    let at = ones.as_slice().as_ptr();
    let mut all = [0.0_f32; LANES];
    // SAFETY: the caller's for the instructions; `ones` is a line.
    unsafe {
        let (word, line) = (D::broadcast(at), D::line(at));
        let mut sums = [D::zero(); N];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = D::dot(*sum, word, line);
            }
        }
        let mut sum = D::Floats::splat(0.0);
        for one in sums {
            sum = D::Floats::add(sum, D::floats(one));
        }
        D::Floats::store(all.as_mut_ptr(), sum);
    }
    black_box(all);
}

/// [`products`] for one kernel.
///
/// # Safety
/// The processor has the instructions.
#[target_feature(enable = "avx,avx2,fma")]
unsafe fn avx2_f32(rounds: u32) {
    // SAFETY: the caller's.
    unsafe { products::<avx2::F32, 6>(rounds) }
}

/// As [`avx2_f32`].
#[target_feature(enable = "avx,avx2,avxvnni")]
unsafe fn vnni_int8(rounds: u32) {
    // SAFETY: the caller's.
    unsafe { products::<int8_avx2::Vnni, 6>(rounds) }
}

/// As [`avx2_f32`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn avx512_f32(rounds: u32) {
    // SAFETY: the caller's.
    unsafe { products::<f32::F32, 12>(rounds) }
}

/// As [`avx2_f32`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn avx512_bf16(rounds: u32) {
    // SAFETY: the caller's.
    unsafe { products::<bf16::Bf16, 12>(rounds) }
}

/// As [`avx2_f32`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn avx512_int8(rounds: u32) {
    // SAFETY: the caller's.
    unsafe { products::<int8::Int8, 12>(rounds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_told_for_what_the_processor_has() {
        for precision in Precision::ALL {
            assert_eq!(peak(Isa::Portable, precision, 1), None);
            let isa = Isa::detect(precision);
            let rate = peak(isa, precision, 1);
            let untold = isa == Isa::Portable || (isa, precision) == (Isa::Avx2, Precision::Int8);
            // A core that only does this takes a product of eight words each cycle, at a billion cycles at least.
            assert!(untold || rate.is_some_and(|rate| rate > 1e9), "{isa} {precision}: {rate:?}");
        }
        assert_eq!(peak(Isa::AvxVnni, Precision::F32, 1), None);
    }
}
