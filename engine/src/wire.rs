//! Limits that every gRPC connection of a cluster has, on the side of clients, scheduler and executors.

/// The size of the largest gRPC message, in bytes. Tonic's default of 4 MiB and Ballista's of 16 MiB are too small for
/// a batch of images.
pub(crate) const MAX_MESSAGE: usize = 128 * 1024 * 1024;

/// Returns [`MAX_MESSAGE`] in the type that Ballista's configuration has for it.
pub(crate) fn max_message() -> u32 {
    u32::try_from(MAX_MESSAGE).unwrap_or(u32::MAX)
}
