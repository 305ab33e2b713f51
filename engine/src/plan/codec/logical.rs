//! The logical codec: tables of connectors, everything else by Ballista's.

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

use crate::Error;
use crate::connectors::connector::{TableDecoder, TableEncoder};
use crate::connectors::registry::Connectors;
use crate::functions::process;
use crate::limits::check_plan;
use crate::wire::{frame, unframe};

/// Stands in a frame for a connector where the table is one without rows, which the engine itself makes.
const EMPTY_TABLE: &str = "empty";

#[derive(Debug)]
pub(super) struct LogicalCodec {
    connectors: Arc<Connectors>,
    ballista: BallistaLogicalExtensionCodec,
}

impl LogicalCodec {
    pub(super) fn new(connectors: Arc<Connectors>) -> Self {
        Self { connectors, ballista: BallistaLogicalExtensionCodec::default() }
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
        // A table may carry a plan of its own, which is decoded by itself.
        check_plan(buf, self.connectors.limits())?;
        let Some((connector, content)) = unframe(buf)? else {
            return self.ballista.try_decode_table_provider(buf, table_ref, schema, ctx);
        };
        if connector == EMPTY_TABLE {
            return Ok(Arc::new(EmptyTable::new(schema)));
        }
        self.connectors.named(&connector)?.decode_table(&content, schema, &TableDecoder::new(self, ctx))
    }

    fn try_encode_table_provider(
        &self,
        table_ref: &TableReference,
        node: Arc<dyn TableProvider>,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        if node.is::<EmptyTable>() {
            frame(EMPTY_TABLE, Vec::new(), buf);
            return Ok(());
        }
        for connector in self.connectors.iter() {
            if let Some(content) = connector.encode_table(node.as_ref(), &TableEncoder::new(self))? {
                frame(connector.name(), content, buf);
                return Ok(());
            }
        }
        self.ballista.try_encode_table_provider(table_ref, node, buf)
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
