//! The names of the threads that models compute on.

/// Names the threads of rayon's pool, on which models compute: `kernel-0` and so on. Else they bear the name of whatever thread was
/// the first to need them, and nobody can tell what the model costs from what is around it. Where they run already they
/// keep their names.
pub(super) fn name_kernel_threads() {
    let named = rayon::ThreadPoolBuilder::new().thread_name(|index| format!("kernel-{index}")).build_global();
    if let Err(error) = named {
        tracing::debug!(%error, "the threads of the model keep their names");
    }
}
