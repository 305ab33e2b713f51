//! How topics are read: what one task reads, the node that reads it, and the decoder from messages to Arrow.

pub(crate) mod decode;
#[cfg(test)]
mod live;
pub(crate) mod reader;
pub(crate) mod scan;
pub(crate) mod spec;
