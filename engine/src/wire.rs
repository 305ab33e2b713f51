//! What all processes of a cluster agree on: the frame around the parts of a plan that are Firesteel's own, and the limit of
//! a message.
//!
//! A framed part of a plan is four magic bytes and a small protobuf message: the wire version, the name of the connector
//! that the part belongs to, and that connector's own bytes. No protobuf message starts with the magic bytes, so a part of
//! ours and one of Ballista's never get mixed up, and a stock Ballista client can still send plans without our tables.
//!
//! A process refuses a plan of another version: a plan that is half understood gives wrong numbers. The frame's fields have
//! numbers that versions 1 and 2 did not use, so a process of those versions reads the version and refuses as well.

use std::fmt::Display;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_proto::protobuf;
use prost::Message;

use crate::{Error, Result};

/// The size of the largest gRPC message, in bytes. Tonic's default of 4 MiB and Ballista's of 16 MiB are too small for
/// a batch of images.
pub(crate) const MAX_MESSAGE: usize = 128 * 1024 * 1024;

/// Returns [`MAX_MESSAGE`] in the type that Ballista's configuration has for it.
pub(crate) fn max_message() -> u32 {
    u32::try_from(MAX_MESSAGE).unwrap_or(u32::MAX)
}

/// The version of everything inside frames. It is raised whenever the message of any connector changes its meaning.
pub(crate) const WIRE_VERSION: u32 = 4;

/// The tag of a protobuf field is never `F`: that would be wire type 6, which does not exist.
pub(crate) const MAGIC: &[u8; 4] = b"FSTL";

/// The message behind the magic bytes.
#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "30")]
    connector: String,
    #[prost(bytes = "vec", tag = "31")]
    content: Vec<u8>,
}

/// Appends `content`, which belongs to `connector`, to a plan's bytes.
pub(crate) fn frame(connector: &str, content: Vec<u8>, buffer: &mut Vec<u8>) {
    frame_of(WIRE_VERSION, connector, content, buffer);
}

fn frame_of(version: u32, connector: &str, content: Vec<u8>, buffer: &mut Vec<u8>) {
    let frame = Frame { version, connector: connector.to_owned(), content };
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&frame.encode_to_vec());
}

/// The connector and the content of a frame; `None` where the bytes are not a frame.
pub(crate) fn unframe(bytes: &[u8]) -> Result<Option<(String, Vec<u8>)>> {
    let Some(frame) = bytes.strip_prefix(MAGIC) else { return Ok(None) };
    let Frame { version, connector, content } = Frame::decode(frame).map_err(damaged)?;
    if version != WIRE_VERSION {
        return Err(Error::PlanVersion { found: version, supported: WIRE_VERSION });
    }
    Ok(Some((connector, content)))
}

/// An error for bytes that cannot be read.
pub(crate) fn damaged(error: impl Display) -> Error {
    Error::PlanDecode { message: error.to_string() }
}

/// An error for a message without a kind, which a newer process made.
pub(crate) fn unknown_kind() -> Error {
    damaged("it holds a kind of node that this process does not know")
}

/// A number of the wire as a size.
pub(crate) fn to_usize(value: u64) -> Result<usize> {
    usize::try_from(value).map_err(damaged)
}

/// A schema as bytes, with the metadata of its fields.
pub(crate) fn encode_schema(schema: &SchemaRef) -> Result<Vec<u8>> {
    let schema = protobuf::Schema::try_from(schema.as_ref()).map_err(damaged)?;
    Ok(schema.encode_to_vec())
}

/// The schema in bytes of [`encode_schema`].
pub(crate) fn decode_schema(bytes: &[u8]) -> Result<SchemaRef> {
    let schema = protobuf::Schema::decode(bytes).map_err(damaged)?;
    Ok(Arc::new(arrow::datatypes::Schema::try_from(&schema).map_err(damaged)?))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// The hash of all messages of the connectors, with the wire version that has them.
    ///
    /// Fields that a process does not know are dropped without a word, so a message that changes needs a new
    /// [`WIRE_VERSION`]. When this fails: raise the version, and write what the test has found beside it. The messages of a new
    /// connector keep the version: a process that does not have it refuses its name.
    const MESSAGES: (u32, &str) = (4, "a7c900a2b405c264a2a0f49b0754625c8bfd0127f5448d666156db419a47c38d");

    #[test]
    fn messages_that_change_have_a_new_version() {
        let messages = include_bytes!(concat!(env!("OUT_DIR"), "/messages.binpb"));
        let hash: String = Sha256::digest(messages).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((WIRE_VERSION, hash.as_str()), MESSAGES);
    }

    #[test]
    fn a_frame_keeps_connector_and_content() {
        for (connector, content) in [("mongodb", vec![1, 2, 3]), ("", vec![]), ("é", vec![0; 1000])] {
            let mut bytes = Vec::new();
            frame(connector, content.clone(), &mut bytes);
            assert_eq!(unframe(&bytes).unwrap(), Some((connector.to_owned(), content)));
        }
    }

    #[test]
    fn what_is_no_frame_of_this_version_is_told_apart() {
        assert_eq!(unframe(b"\x0a\x03abc").unwrap(), None);
        assert!(matches!(unframe(b"FSTL\xff"), Err(Error::PlanDecode { .. })));
        for version in [1, 2, 3, WIRE_VERSION + 1] {
            let mut bytes = Vec::new();
            frame_of(version, "mongodb", Vec::new(), &mut bytes);
            let found = unframe(&bytes);
            assert!(
                matches!(found, Err(Error::PlanVersion { found, supported: WIRE_VERSION }) if found == version)
            );
        }
        // What version 2 sent: the version, and a message of a source in field 2.
        let old = [MAGIC.as_slice(), b"\x08\x02\x12\x00"].concat();
        assert!(matches!(unframe(&old), Err(Error::PlanVersion { found: 2, .. })));
    }
}
