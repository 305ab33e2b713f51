//! What the partitions of a topic hold.

use std::collections::BTreeMap;

/// The offsets that a partition holds: from `low`, inclusive, to `high`, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// The offsets that each partition of a topic holds.
pub(crate) type Logs = BTreeMap<i32, Log>;

/// The first offset of a time, by partition. A partition that has none such is not in it.
pub(crate) type Times = BTreeMap<i32, i64>;
