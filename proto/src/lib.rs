//! Firesteel's wire: the protobuf messages, the inference service, and the checked conversions between
//! them and the domain types that the rest of the project works with.
//!
//! Bytes become an [`ImageRecord`] or a [`PredictionRecord`] through `decode`, which checks every field once;
//! after that a value of these types is right by construction. Nothing downstream re-checks a label or an id.
//! Which labels there are is no part of the contract: a [`Label`] is a checked text, and the classes are those of a model.

mod document;
mod error;
mod id;
mod image;
pub mod inference;
mod label;
mod prediction;
pub mod spark;
mod time;

pub use document::FieldType;
pub use error::{Error, Result};
pub use id::{ImageId, ProducerId, Sequence};
pub use image::{Encoding, ImageRecord};
pub use label::Label;
pub use prediction::PredictionRecord;
pub use time::Timestamp;

/// What prost and tonic generate. Only this crate and the inference service's handlers look inside.
#[expect(missing_docs, reason = "generated code; the .proto files carry the documentation")]
#[allow(clippy::all, clippy::clone_on_ref_ptr, unreachable_pub, reason = "generated code")]
pub(crate) mod wire {
    tonic::include_proto!("firesteel.v1");
}

/// The encoded `FileDescriptorSet` of every message and service here, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/firesteel_descriptor.bin"));
