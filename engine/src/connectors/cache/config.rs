//! The limits of the cache. Where its files are, and how much of them memory may hold, is
//! [`CacheConfig`](crate::config::CacheConfig).

use std::time::Duration;

/// Rows of a row group: what is read, held and counted at a time.
pub(crate) const ROW_GROUP_ROWS: usize = 128 * 1024;

/// A column of text with more distinct values than this is held plain, and not as a dictionary.
pub(crate) const MOST_VALUES: usize = 1 << 14;

/// How many rows tell whether a column is worth a dictionary.
pub(crate) const PROBE_ROWS: usize = 4096;

/// Rows that an aggregate works on at once: small enough for the processor's caches.
pub(crate) const STRIDE: usize = 16 * 1024;

/// A session's folder that nobody has used for this long was left behind by a process that did not end well.
pub(crate) const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a session's folder is marked as used.
pub(crate) const MARK_EVERY: Duration = Duration::from_secs(10 * 60);

/// The name of a session's folder starts with this; nothing else in the cache folder is ever removed.
pub(crate) const SESSION_PREFIX: &str = "session-";
