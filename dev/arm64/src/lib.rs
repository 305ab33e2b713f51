//! The kernels of the pipeline and their tests, in a crate that needs nothing but rayon: what `dev/arm64-check` builds for 64-bit
//! ARM and runs under emulation. The files are the pipeline's own; where they ask for more of it than is here, this does not build.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the rest of the pipeline, which uses them, is not here"
)]

pub mod inference;
