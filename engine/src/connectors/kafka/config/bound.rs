//! Where the reading of a topic begins and ends, as a table's options say it.

use std::collections::BTreeMap;

/// Where reading begins or ends in every partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The first message that is there.
    Earliest,
    /// The end of the topic as it is when the query is planned.
    Latest,
    /// A place in each partition. All of the topic's partitions have to be named.
    Offsets(BTreeMap<i32, At>),
    /// The first message of this time, in milliseconds since 1970, or later; where there is none, the end.
    Timestamp(i64),
}

/// A place in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The first message that is there.
    Earliest,
    /// The end of the partition.
    Latest,
    /// This offset.
    Offset(i64),
}
