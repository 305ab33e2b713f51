//! The error of this crate.

/// What can go wrong in the pipeline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model, its weights, or the inference server.
    #[error(transparent)]
    Inference(#[from] crate::inference::Error),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
