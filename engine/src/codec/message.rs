//! The frame around our messages, and the conversions between them and the types they stand for.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bson::{Document, Timestamp};
use datafusion_proto::protobuf;
use prost::Message;

use super::{WIRE_VERSION, wire};
use crate::config::{ReadMode, ScanConfig};
use crate::mongodb::{Reading, ScanSpec};
use crate::{Error, Result};

/// The tag of a protobuf field is never `F`: that would be wire type 6, which does not exist.
const MAGIC: &[u8; 4] = b"FSTL";

/// Appends a message in its frame.
pub(super) fn frame(message: &impl Message, buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&message.encode_to_vec());
}

/// The message in a frame; `None` where the bytes are not ours.
pub(super) fn unframe<M: Message + Default>(bytes: &[u8]) -> Result<Option<M>> {
    let Some(message) = bytes.strip_prefix(MAGIC) else { return Ok(None) };
    M::decode(message).map(Some).map_err(damaged)
}

/// Refuses a plan of another version.
pub(super) fn check_version(found: u32) -> Result<()> {
    if found == WIRE_VERSION { Ok(()) } else { Err(Error::PlanVersion { found, supported: WIRE_VERSION }) }
}

/// The input of a node that has one.
pub(super) fn one_input(
    what: &str,
    inputs: &[Arc<dyn datafusion::physical_plan::ExecutionPlan>],
) -> Result<Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
    match inputs {
        [input] => Ok(Arc::clone(input)),
        _ => Err(Error::PlanDecode { message: format!("{what} has one input, not {}", inputs.len()) }),
    }
}

/// A message without a kind was made by a newer process.
pub(super) fn unknown_kind() -> Error {
    Error::PlanDecode { message: "it holds a kind of node that this process does not know".to_owned() }
}

pub(super) fn damaged(error: impl std::fmt::Display) -> Error {
    Error::PlanDecode { message: error.to_string() }
}

pub(super) fn to_usize(value: u64) -> Result<usize> {
    usize::try_from(value).map_err(damaged)
}

/// A schema, with the metadata of its fields.
fn encode_schema(schema: &SchemaRef) -> Result<Vec<u8>> {
    let schema = protobuf::Schema::try_from(schema.as_ref()).map_err(damaged)?;
    Ok(schema.encode_to_vec())
}

fn decode_schema(bytes: &[u8]) -> Result<SchemaRef> {
    let schema = protobuf::Schema::decode(bytes).map_err(damaged)?;
    Ok(Arc::new(arrow::datatypes::Schema::try_from(&schema).map_err(damaged)?))
}

impl From<ReadMode> for wire::ReadMode {
    fn from(mode: ReadMode) -> Self {
        match mode {
            ReadMode::FailFast => Self::Failfast,
            ReadMode::Permissive => Self::Permissive,
            ReadMode::DropMalformed => Self::Dropmalformed,
        }
    }
}

/// A mode is never left out: it decides what a result is.
fn read_mode(mode: i32) -> Result<ReadMode> {
    match wire::ReadMode::try_from(mode) {
        Ok(wire::ReadMode::Failfast) => Ok(ReadMode::FailFast),
        Ok(wire::ReadMode::Permissive) => Ok(ReadMode::Permissive),
        Ok(wire::ReadMode::Dropmalformed) => Ok(ReadMode::DropMalformed),
        Ok(wire::ReadMode::Unspecified) | Err(_) => Err(damaged(format!("there is no read mode {mode}"))),
    }
}

impl From<&ScanConfig> for wire::ScanOptions {
    fn from(config: &ScanConfig) -> Self {
        Self {
            batch_rows: config.batch_rows as u64,
            max_partitions: config.max_partitions.map(|partitions| partitions as u64),
            min_documents_per_partition: config.min_documents_per_partition,
            filter_pushdown: config.filter_pushdown,
            mode: wire::ReadMode::from(config.mode).into(),
            corrupt_record_column: config.corrupt_record_column.clone(),
            aggregate_pushdown: config.aggregate_pushdown,
            partitioner: super::partitioner::encode(config.partitioner),
        }
    }
}

impl TryFrom<wire::ScanOptions> for ScanConfig {
    type Error = Error;

    fn try_from(options: wire::ScanOptions) -> Result<Self> {
        Ok(Self {
            batch_rows: to_usize(options.batch_rows)?,
            max_partitions: options.max_partitions.map(to_usize).transpose()?,
            min_documents_per_partition: options.min_documents_per_partition,
            filter_pushdown: options.filter_pushdown,
            mode: read_mode(options.mode)?,
            corrupt_record_column: options.corrupt_record_column,
            aggregate_pushdown: options.aggregate_pushdown,
            partitioner: super::partitioner::decode(options.partitioner)?,
        })
    }
}

impl TryFrom<&ScanSpec> for wire::MongoScan {
    type Error = Error;

    fn try_from(spec: &ScanSpec) -> Result<Self> {
        let documents = spec.reading.documents.as_ref().map(encode_schema).transpose()?;
        let filter = spec.filter.as_ref().map(Document::to_vec).transpose().map_err(damaged)?;
        Ok(Self {
            connection: spec.connection.clone(),
            database: spec.database.clone(),
            collection: spec.collection.clone(),
            schema: encode_schema(&spec.schema)?,
            filter: filter.unwrap_or_default(),
            cluster_time: spec
                .cluster_time
                .map(|Timestamp { time, increment }| wire::ClusterTime { time, increment }),
            limit: spec.limit,
            batch_rows: spec.batch_rows as u64,
            clustered: spec.clustered,
            whole_documents: spec.whole_documents,
            reading: Some(wire::Reading {
                mode: wire::ReadMode::from(spec.reading.mode).into(),
                documents,
                corrupt_record: spec.reading.corrupt_record.clone(),
            }),
            aggregate_pushdown: spec.aggregate_pushdown,
            partitioner: spec.partitioner.clone(),
        })
    }
}

impl TryFrom<wire::MongoScan> for ScanSpec {
    type Error = Error;

    fn try_from(scan: wire::MongoScan) -> Result<Self> {
        let reading = scan.reading.unwrap_or_default();
        let documents = reading.documents.as_deref().map(decode_schema).transpose()?;
        let filter = match scan.filter.as_slice() {
            [] => None,
            bytes => Some(Document::from_reader(bytes).map_err(damaged)?),
        };
        Ok(Self {
            connection: scan.connection,
            database: scan.database,
            collection: scan.collection,
            schema: decode_schema(&scan.schema)?,
            filter,
            cluster_time: scan
                .cluster_time
                .map(|wire::ClusterTime { time, increment }| Timestamp { time, increment }),
            limit: scan.limit,
            batch_rows: to_usize(scan.batch_rows)?,
            clustered: scan.clustered,
            whole_documents: scan.whole_documents,
            reading: Reading {
                mode: read_mode(reading.mode)?,
                documents,
                corrupt_record: reading.corrupt_record,
            },
            aggregate_pushdown: scan.aggregate_pushdown,
            partitioner: scan.partitioner,
        })
    }
}
