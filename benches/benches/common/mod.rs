//! What the micro-benchmarks share: the binary's allocator, and criterion set so that all of them take two minutes.
//!
//! Every input is the same in every run; every result is checked once before its time is taken.

use std::time::Duration;

use criterion::Criterion;

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs `measure` with the arguments of `cargo bench … -- ARGUMENTS` over these defaults.
///
/// In place of criterion's macros: `measure` may fail, and nothing public comes out of it.
pub(crate) fn run(measure: fn(&mut Criterion) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .nresamples(10_000)
        .configure_from_args();
    measure(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
