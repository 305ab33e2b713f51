//! The logical codec: our table providers, everything else by Ballista's.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use ballista_core::serde::BallistaLogicalExtensionCodec;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, Extension, HigherOrderUDF, LogicalPlan, ScalarUDF, WindowUDF};
use datafusion_proto::logical_plan::LogicalExtensionCodec;

use super::message::{check_version, frame, unframe, unknown_kind};
use super::{WIRE_VERSION, cache, wire};
use crate::Error;
use crate::cache::{CacheJob, CachedTable};
use crate::config::{ScanConfig, WriteConfig};
use crate::connections::Connections;
use crate::functions::process;
use crate::kafka::{KafkaTable, TableOptions};
use crate::mongodb::MongoTable;

#[derive(Debug)]
pub(super) struct LogicalCodec {
    connections: Arc<Connections>,
    ballista: BallistaLogicalExtensionCodec,
}

impl LogicalCodec {
    pub(super) fn new(connections: Arc<Connections>) -> Self {
        Self { connections, ballista: BallistaLogicalExtensionCodec::default() }
    }
}

/// Only the scheduler decodes logical plans, and it asks the codec for a name that is not in its registry.
fn unknown(name: &str) -> DataFusionError {
    Error::UnknownFunction { name: name.to_owned(), process: process("the scheduler") }.into()
}

impl LogicalExtensionCodec for LogicalCodec {
    fn try_decode(&self, buf: &[u8], inputs: &[LogicalPlan], ctx: &TaskContext) -> Result<Extension> {
        self.ballista.try_decode(buf, inputs, ctx)
    }

    fn try_encode(&self, node: &Extension, buf: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode(node, buf)
    }

    fn try_decode_table_provider(
        &self,
        buf: &[u8],
        table_ref: &TableReference,
        schema: SchemaRef,
        ctx: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        let Some(table) = unframe::<wire::Table>(buf)? else {
            return self.ballista.try_decode_table_provider(buf, table_ref, schema, ctx);
        };
        check_version(table.version)?;
        match table.kind {
            Some(wire::table::Kind::Mongodb(table)) => {
                let scan = ScanConfig::try_from(table.options.unwrap_or_default())?;
                let write = table.write.map_or_else(|| Ok(WriteConfig::default()), WriteConfig::try_from)?;
                let table = MongoTable::new(
                    Arc::clone(&self.connections),
                    &table.connection,
                    &table.database,
                    &table.collection,
                    schema,
                    scan,
                )?;
                Ok(Arc::new(table.with_write(write)))
            }
            Some(wire::table::Kind::Kafka(table)) => {
                let options = TableOptions::try_from(table)?;
                Ok(Arc::new(KafkaTable::new(Arc::clone(&self.connections), options)))
            }
            Some(wire::table::Kind::Cached(table)) => {
                Ok(Arc::new(cache::table_of(table, schema, &self.connections)?))
            }
            Some(wire::table::Kind::CacheJob(job)) => {
                Ok(Arc::new(cache::job_of(job, &self.connections, ctx, self)?))
            }
            Some(wire::table::Kind::Empty(wire::EmptyTable {})) => Ok(Arc::new(EmptyTable::new(schema))),
            None => Err(unknown_kind().into()),
        }
    }

    fn try_encode_table_provider(
        &self,
        table_ref: &TableReference,
        node: Arc<dyn TableProvider>,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        let ours = if let Some(table) = node.downcast_ref::<CachedTable>() {
            Some(wire::table::Kind::Cached(cache::table_to_wire(table)))
        } else if let Some(job) = node.downcast_ref::<CacheJob>() {
            Some(wire::table::Kind::CacheJob(cache::job_to_wire(job, self)?))
        } else if node.is::<EmptyTable>() {
            Some(wire::table::Kind::Empty(wire::EmptyTable {}))
        } else {
            let kafka = node.downcast_ref::<KafkaTable>();
            kafka.map(|table| wire::table::Kind::Kafka((&table.options).into()))
        };
        if let Some(kind) = ours {
            frame(&wire::Table { version: WIRE_VERSION, kind: Some(kind) }, buf);
            return Ok(());
        }
        let Some(table) = node.downcast_ref::<MongoTable>() else {
            return self.ballista.try_encode_table_provider(table_ref, node, buf);
        };
        let kind = wire::table::Kind::Mongodb(wire::MongoTable {
            connection: table.connection.clone(),
            database: table.database.clone(),
            collection: table.collection.clone(),
            options: Some((&table.scan).into()),
            write: Some((&table.write).into()),
        });
        frame(&wire::Table { version: WIRE_VERSION, kind: Some(kind) }, buf);
        Ok(())
    }

    fn try_decode_file_format(&self, buf: &[u8], ctx: &TaskContext) -> Result<Arc<dyn FileFormatFactory>> {
        self.ballista.try_decode_file_format(buf, ctx)
    }

    fn try_encode_file_format(&self, buf: &mut Vec<u8>, node: Arc<dyn FileFormatFactory>) -> Result<()> {
        self.ballista.try_encode_file_format(buf, node)
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.ballista.try_decode_udf(name, buf).map_err(|_| unknown(name))
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udf(node, buf)
    }

    fn try_decode_higher_order_function(&self, name: &str, buf: &[u8]) -> Result<Arc<HigherOrderUDF>> {
        self.ballista.try_decode_higher_order_function(name, buf)
    }

    fn try_encode_higher_order_function(&self, node: &HigherOrderUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_higher_order_function(node, buf)
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        self.ballista.try_decode_udaf(name, buf).map_err(|_| unknown(name))
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udaf(node, buf)
    }

    fn try_decode_udwf(&self, name: &str, buf: &[u8]) -> Result<Arc<WindowUDF>> {
        self.ballista.try_decode_udwf(name, buf)
    }

    fn try_encode_udwf(&self, node: &WindowUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udwf(node, buf)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::TaskContext;
    use proptest::prelude::*;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::mongodb::predictions_schema;
    use crate::{Config, ReadMode};

    fn codec() -> (Runtime, LogicalCodec) {
        let runtime = Runtime::new().unwrap();
        let config = Config::new("mongodb://me:hunter2@localhost", "firesteel");
        let connections = Connections::new(&config, runtime.handle().clone());
        (runtime, LogicalCodec::new(Arc::new(connections)))
    }

    fn decode(codec: &LogicalCodec, bytes: &[u8]) -> Result<Arc<dyn TableProvider>> {
        let name = TableReference::bare("predictions");
        codec.try_decode_table_provider(bytes, &name, predictions_schema(), &TaskContext::default())
    }

    proptest! {
        #[test]
        fn a_table_comes_back_as_it_was(
            names in prop::array::uniform3("[a-zA-Z0-9_é-]{1,12}"),
            rows in 1..100_000_usize,
            partitions in prop::option::of(0..1000_usize),
            documents in any::<u64>(),
            pushdown in any::<[bool; 2]>(),
            mode in prop::sample::select(vec![ReadMode::FailFast, ReadMode::Permissive, ReadMode::DropMalformed]),
            corrupt in "[a-z_]{1,12}",
            write in crate::codec::write::tests::any_write_config(),
            partitioner in crate::codec::partitioner::tests::any_partitioner(),
        ) {
            let (_runtime, codec) = codec();
            let [connection, database, collection] = names;
            let scan = ScanConfig {
                batch_rows: rows,
                max_partitions: partitions,
                min_documents_per_partition: documents,
                filter_pushdown: pushdown[0],
                aggregate_pushdown: pushdown[1],
                mode,
                corrupt_record_column: corrupt,
                partitioner,
            };
            let connections = Arc::clone(&codec.connections);
            let table = MongoTable::new(
                connections, &connection, &database, &collection, predictions_schema(), scan.clone(),
            ).unwrap().with_write(write.clone());
            let schema = table.schema();
            let mut bytes = Vec::new();
            let name = TableReference::bare("predictions");
            codec.try_encode_table_provider(&name, Arc::new(table), &mut bytes).unwrap();
            prop_assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
            let decoded = codec
                .try_decode_table_provider(&bytes, &name, Arc::clone(&schema), &TaskContext::default())
                .unwrap();
            let decoded = decoded.downcast_ref::<MongoTable>().unwrap();
            prop_assert_eq!(&decoded.connection, &connection);
            prop_assert_eq!(&decoded.database, &database);
            prop_assert_eq!(&decoded.collection, &collection);
            prop_assert_eq!(&decoded.scan, &scan);
            prop_assert_eq!(&decoded.write, &write);
            prop_assert_eq!(&decoded.schema, &schema);
        }
    }

    #[test]
    fn a_plan_of_another_version_is_refused() {
        let (_runtime, codec) = codec();
        let mut bytes = Vec::new();
        frame(&wire::Table { version: WIRE_VERSION + 1, kind: None }, &mut bytes);
        let error = Error::from(decode(&codec, &bytes).unwrap_err());
        assert!(
            matches!(error, Error::PlanVersion { found, supported: WIRE_VERSION } if found == WIRE_VERSION + 1),
            "{error}"
        );

        let mut bytes = Vec::new();
        frame(&wire::Table { version: WIRE_VERSION, kind: None }, &mut bytes);
        assert!(matches!(Error::from(decode(&codec, &bytes).unwrap_err()), Error::PlanDecode { .. }));
        assert!(matches!(Error::from(decode(&codec, b"FSTL\xff").unwrap_err()), Error::PlanDecode { .. }));
    }
}
