//! The arguments for cached tables, and the engine's configuration made of them.

use std::path::PathBuf;

use clap::Args;
use firesteel_engine::CacheConfig;

use super::size::size;

/// Where cached tables are kept, and how much of them in memory.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cached tables")]
pub(crate) struct CacheArgs {
    /// Where cached tables are kept; all executors of a cluster have to share it [default: one of this user in the
    /// system's folder for temporary files]
    #[arg(long, value_name = "FOLDER", env = "FIRESTEEL_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// How much of cached tables this process keeps in memory, such as 512MiB; 0 = nothing
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_CACHE_MEMORY", default_value = "1GiB",
          value_parser = size)]
    pub(crate) cache_memory: usize,
    /// How large the cached tables of one session may be on disk, such as 20GiB [default: no limit]
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_CACHE_SIZE", value_parser = size)]
    pub(crate) cache_size: Option<usize>,
}

impl CacheArgs {
    /// Where an engine keeps cached tables.
    pub(crate) fn config(&self) -> CacheConfig {
        let defaults = CacheConfig::default();
        CacheConfig {
            folder: self.cache_dir.clone().unwrap_or(defaults.folder),
            memory_bytes: self.cache_memory,
            session_bytes: self.cache_size.filter(|bytes| *bytes > 0).map(|bytes| bytes as u64),
        }
    }
}
