//! The safe face of the kernels: a convolution is checked once and split over a team.

use super::job::Job;
use super::raw::{ROWS, Raw, TILES};
use super::{Driver, Isa, portable};
use crate::inference::precision::Precision;

/// A kernel: computes the given range of output positions of a panel.
///
/// # Safety
/// As `tile::item`.
pub(super) type Item = unsafe fn(&Raw, usize, usize, usize);

/// The kernel for `precision`, unless `isa` is [`Isa::Portable`].
///
/// # Panics
/// When the processor lacks `isa`: that the result can be run is what callers rely on.
pub(super) fn kernel(isa: Isa, precision: Precision) -> Option<Item> {
    assert!(isa.supports(precision), "{isa:?} cannot compute {precision} on this processor");
    match (isa, precision) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx2, Precision::F32) => Some(super::avx2::f32_item),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx2, Precision::Int8) => Some(super::int8_avx2::avx2_item),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::AvxVnni, Precision::Int8) => Some(super::int8_avx2::vnni_item),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx512, Precision::F32) => Some(super::f32::f32_item),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx512, Precision::Bf16) => Some(super::bf16::bf16_item),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx512, Precision::Int8) => Some(super::int8::int8_item),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Amx, Precision::Bf16) => Some(super::amx::bf16_item),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Amx, Precision::Int8) => Some(super::amx::int8_item),
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        (Isa::Neon, Precision::F32) => Some(super::neon::f32_item),
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        (Isa::Neon, Precision::Int8) => Some(super::neon::sdot_item),
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        (Isa::NeonI8mm, Precision::Int8) => Some(super::neon::usdot_item),
        _ => None,
    }
}

/// Computes `job` into `output`, `[images][output plane][words]`; positions of the border are left alone.
///
/// # Panics
/// When a slice is too short for the job, or the processor lacks the instructions.
pub(in crate::inference::compiled) fn conv(driver: &mut Driver<'_>, job: &Job<'_>, output: &mut [u32]) {
    match kernel(job.isa, job.precision) {
        // SAFETY: `kernel` has shown that the processor has the instructions.
        Some(kernel) => unsafe { share(driver, job, kernel, output) },
        None => {
            job.check(output);
            portable::conv(job, output);
        }
    }
}

/// Computes `job` with `kernel`; panics as [`conv`] does.
///
/// # Safety
/// The processor has the kernel's instructions.
pub(super) unsafe fn share(driver: &mut Driver<'_>, job: &Job<'_>, kernel: Item, output: &mut [u32]) {
    job.check(output);
    let positions = job.positions;
    let (rows, pitch, run) = job.runs();
    let raw = job.epilogue.raw(
        job.precision,
        job.panels,
        output,
        Raw {
            input: job.input.as_ptr(),
            input_words: job.input_words,
            input_plane: positions.input.positions(),
            rows,
            pitch,
            run,
            weights: job.weights.as_ptr(),
            inputs_at: positions.inputs.as_ptr(),
            outputs_at: positions.outputs.as_ptr(),
            positions: positions.outputs.len(),
            output_plane: positions.output.positions(),
            ..Raw::EMPTY
        },
    );
    // Panels times pieces of the positions: enough items for a team to share evenly.
    let total = job.images * raw.positions;
    let wanted = if driver.threads() == 1 { 1 } else { (4 * driver.threads()).div_ceil(job.panels) };
    let piece = total.div_ceil(wanted).next_multiple_of(if job.isa == Isa::Amx { TILES } else { ROWS });
    let pieces = total.div_ceil(piece.max(1));
    let raw = &raw;
    driver.run(job.panels * pieces, &|index| {
        let (panel, start) = (index / pieces, index % pieces * piece);
        // SAFETY: `check` has shown that input, weights, bias, scale, residual and output cover all images, all
        // positions and all panels, `Positions` that every run lies in its image, and the caller that the
        // processor has the instructions. Items write different panels or different positions, `output` is borrowed
        // mutably, and the other slices are shared borrows, so that nothing else is written or read meanwhile.
        unsafe { kernel(raw, panel, start, (start + piece).min(total)) }
    });
}
