//! How tables and nodes over collections travel in a plan.
//!
//! A pushed aggregate is sent as the partial aggregate that it stands for; both ends derive the same pipeline from it.

pub(crate) mod checked;
pub(crate) mod partitioner;
pub(crate) mod scan;
#[cfg(test)]
mod tests;
pub(crate) mod write;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use prost::Message;

use self::wire::node::Kind;
use super::connection::Connections;
use super::plan::aggregate::exec::MongoGroupExec;
use super::plan::table::MongoTable;
use super::read::scan::MongoScanExec;
use super::read::spec::ScanSpec;
use super::write::exec::{MongoWriteExec, WriteSpec};
use crate::config::{ScanConfig, WriteConfig};
use crate::connectors::connector::{NodeDecoder, NodeEncoder};
use crate::connectors::descriptors::one_input;
use crate::wire::{damaged, unknown_kind};

/// What prost generates. Only this module looks inside.
#[allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    reason = "generated code; mongodb.proto has the documentation"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/firesteel.mongodb.v1.rs"));
}

/// A table as bytes; `None` where it is another's.
pub(super) fn encode_table(table: &dyn TableProvider) -> Option<Vec<u8>> {
    let table = table.downcast_ref::<MongoTable>()?;
    let message = wire::Table {
        connection: table.connection.clone(),
        database: table.database.clone(),
        collection: table.collection.clone(),
        options: Some((&table.scan).into()),
        write: Some((&table.write).into()),
    };
    Some(message.encode_to_vec())
}

/// The table in bytes of [`encode_table`].
pub(super) fn decode_table(
    connections: &Connections,
    bytes: &[u8],
    schema: SchemaRef,
) -> Result<Arc<dyn TableProvider>> {
    let table = wire::Table::decode(bytes).map_err(damaged)?;
    let scan = ScanConfig::try_from(table.options.unwrap_or_default())?;
    let write = table.write.map_or_else(|| Ok(WriteConfig::default()), WriteConfig::try_from)?;
    let (connection, database) = (&table.connection, &table.database);
    let table = MongoTable::new(connections.clone(), connection, database, &table.collection, schema, scan)?;
    Ok(Arc::new(table.with_write(write)))
}

/// A node as bytes; `None` where it is another's.
pub(super) fn encode_node(node: &dyn ExecutionPlan, encoder: &NodeEncoder<'_>) -> Result<Option<Vec<u8>>> {
    let kind = if let Some(scan) = node.downcast_ref::<MongoScanExec>() {
        Kind::Scan(scan.spec().try_into()?)
    } else if let Some(write) = node.downcast_ref::<MongoWriteExec>() {
        Kind::Write(write.spec().try_into()?)
    } else if let Some(group) = node.downcast_ref::<MongoGroupExec>() {
        Kind::Group(wire::Group { reading: encoder.plan(group.reading())? })
    } else {
        return Ok(None);
    };
    Ok(Some(wire::Node { kind: Some(kind) }.encode_to_vec()))
}

/// The node in bytes of [`encode_node`].
pub(super) fn decode_node(
    connections: &Connections,
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    decoder: &NodeDecoder<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let node = wire::Node::decode(bytes).map_err(damaged)?;
    match node.kind.ok_or_else(unknown_kind)? {
        Kind::Scan(scan) => {
            let descriptors = one_input("a MongoDB scan", inputs)?;
            let spec = ScanSpec::try_from(scan)?;
            let connection = connections.named(&spec.connection)?;
            connection.check_place(&spec.database, &spec.collection)?;
            Ok(Arc::new(MongoScanExec::decoded(spec, connection, descriptors)))
        }
        Kind::Group(group) => {
            let descriptors = one_input("an aggregate of MongoDB", inputs)?;
            Ok(Arc::new(MongoGroupExec::decoded(&decoder.plan(&group.reading)?, descriptors)?))
        }
        Kind::Write(write) => {
            let rows = one_input("a MongoDB write", inputs)?;
            let spec = WriteSpec::try_from(write)?;
            let connection = connections.named(&spec.connection)?;
            connection.check_place(&spec.database, &spec.collection)?;
            Ok(Arc::new(MongoWriteExec::of(spec, connection, rows)))
        }
    }
}
