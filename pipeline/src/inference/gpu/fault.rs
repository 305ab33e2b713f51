//! What can go wrong with CUDA and its libraries.

use cudarc::cublaslt::result::CublasError;
use cudarc::driver::DriverError;

/// A call that failed, and what it was for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0} is not to be found where the system looks for libraries (LD_LIBRARY_PATH)")]
    Missing(&'static str),
    #[error("{doing}: {source}")]
    Driver { doing: &'static str, source: DriverError },
    #[error("{doing}: {source}")]
    Blas { doing: &'static str, source: CublasError },
    #[error("compiling the kernels: {0}")]
    Compile(String),
    #[error("a tensor of {0} is too large")]
    Size(usize),
    #[error("a tensor has {length} where {needed} are needed")]
    Room { length: usize, needed: usize },
    #[error("a step of the plan has no input that it can read")]
    Plan,
}

impl Fault {
    /// Wraps a failure of the driver.
    pub(super) fn driver(doing: &'static str) -> impl Fn(DriverError) -> Self {
        move |source| Self::Driver { doing, source }
    }

    /// Checks that each tensor is long enough: its length, and what a launch reads or writes of it.
    pub(super) fn check_room(tensors: &[(usize, usize)]) -> Result<(), Self> {
        match tensors.iter().find(|(length, needed)| length < needed) {
            Some((length, needed)) => Err(Self::Room { length: *length, needed: *needed }),
            None => Ok(()),
        }
    }

    /// Wraps a failure of cuBLASLt.
    pub(super) fn blas(doing: &'static str) -> impl Fn(CublasError) -> Self {
        move |source| Self::Blas { doing, source }
    }
}
