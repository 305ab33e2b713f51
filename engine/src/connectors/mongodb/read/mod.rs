//! How collections are read: what one task reads, the node that reads it, and the decoder from BSON to Arrow.

pub(crate) mod decode;
pub(crate) mod find;
pub(crate) mod partition;
pub(crate) mod reader;
pub(crate) mod scan;
pub(crate) mod spec;
