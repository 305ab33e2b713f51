//! How cached tables are read: columns from memory or files, the node that scans them, and the aggregate that works on the keys
//! of dictionaries.

pub(crate) mod aggregate;
pub(crate) mod column;
pub(crate) mod groups;
pub(crate) mod pipeline;
pub(crate) mod scan;
pub(crate) mod spec;
