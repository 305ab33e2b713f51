//! How a collection is read, and the scan of one, as messages.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use bson::{Document, Timestamp};

use super::{checked, partitioner, wire};
use crate::config::{ReadMode, ScanConfig};
use crate::connectors::mongodb::config::MOST_BATCH_ROWS;
use crate::connectors::mongodb::read::decode::exact::Written;
use crate::connectors::mongodb::read::spec::ScanSpec;
use crate::connectors::mongodb::schema;
use crate::connectors::mongodb::schema::mode::DecodeOptions;
use crate::wire::{damaged, decode_schema, encode_schema, to_usize};
use crate::{Error, Result};

impl From<ReadMode> for wire::ReadMode {
    fn from(mode: ReadMode) -> Self {
        match mode {
            ReadMode::FailFast => Self::Failfast,
            ReadMode::Permissive => Self::Permissive,
            ReadMode::DropMalformed => Self::Dropmalformed,
        }
    }
}

/// Rows of a batch, for which memory is taken before they are there.
pub(super) fn batch_rows(rows: u64) -> Result<usize> {
    let rows = to_usize(rows)?;
    if rows > MOST_BATCH_ROWS {
        return Err(damaged(format!("its batches have {rows} rows, more than {MOST_BATCH_ROWS}")));
    }
    Ok(rows)
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
            partitioner: partitioner::encode(config.partitioner),
        }
    }
}

impl TryFrom<wire::ScanOptions> for ScanConfig {
    type Error = Error;

    fn try_from(options: wire::ScanOptions) -> Result<Self> {
        Ok(Self {
            batch_rows: batch_rows(options.batch_rows)?,
            max_partitions: options.max_partitions.map(to_usize).transpose()?,
            min_documents_per_partition: options.min_documents_per_partition,
            filter_pushdown: options.filter_pushdown,
            mode: read_mode(options.mode)?,
            corrupt_record_column: options.corrupt_record_column,
            aggregate_pushdown: options.aggregate_pushdown,
            partitioner: partitioner::decode(options.partitioner)?,
        })
    }
}

/// The columns that a statement writes back, out of a message.
fn written_back(columns: &Schema, nulls_decided: bool) -> Vec<Written> {
    let column = |field: &Arc<Field>| Written { field: field.as_ref().clone(), nulls_decided };
    columns.fields().iter().map(column).collect()
}

impl TryFrom<&ScanSpec> for wire::Scan {
    type Error = Error;

    fn try_from(spec: &ScanSpec) -> Result<Self> {
        let documents = spec.decode.documents.as_ref().map(encode_schema).transpose()?;
        let written: Vec<_> = spec.decode.written.iter().map(|column| column.field.clone()).collect();
        let written =
            (!written.is_empty()).then(|| encode_schema(&Arc::new(Schema::new(written)))).transpose()?;
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
            decode: Some(wire::DecodeOptions {
                mode: wire::ReadMode::from(spec.decode.mode).into(),
                documents,
                corrupt_record: spec.decode.corrupt_record.clone(),
                written,
                nulls_decided: spec.decode.written.iter().any(|column| column.nulls_decided),
            }),
            aggregate_pushdown: spec.aggregate_pushdown,
            partitioner: spec.partitioner.clone(),
        })
    }
}

impl TryFrom<wire::Scan> for ScanSpec {
    type Error = Error;

    fn try_from(scan: wire::Scan) -> Result<Self> {
        let decode = scan.decode.unwrap_or_default();
        let documents = decode.documents.as_deref().map(decode_schema).transpose()?;
        let written = decode.written.as_deref().map(decode_schema).transpose()?;
        let filter = match scan.filter.as_slice() {
            [] => None,
            bytes => Some(checked::filter(bytes)?),
        };
        let schema = decode_schema(&scan.schema)?;
        schema::validate(&scan.collection, &schema)?;
        Ok(Self {
            connection: scan.connection,
            database: scan.database,
            collection: scan.collection,
            schema,
            filter,
            cluster_time: scan
                .cluster_time
                .map(|wire::ClusterTime { time, increment }| Timestamp { time, increment }),
            limit: scan.limit,
            batch_rows: batch_rows(scan.batch_rows)?,
            clustered: scan.clustered,
            whole_documents: scan.whole_documents,
            decode: DecodeOptions {
                mode: read_mode(decode.mode)?,
                documents,
                corrupt_record: decode.corrupt_record,
                written: written
                    .into_iter()
                    .flat_map(|columns| written_back(&columns, decode.nulls_decided))
                    .collect(),
            },
            aggregate_pushdown: scan.aggregate_pushdown,
            partitioner: scan.partitioner,
        })
    }
}
