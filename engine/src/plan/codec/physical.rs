//! The physical codec: nodes of connectors, everything else by Ballista's.

use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::proto_decode::PhysicalExprDecodeCtx;
use datafusion::physical_expr_common::physical_expr::proto_encode::PhysicalExprEncodeCtx;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use crate::connectors::connector::{NodeDecoder, NodeEncoder};
use crate::connectors::registry::Connectors;
use crate::functions::{missing_aggregate, missing_scalar, process};
use crate::wire::{frame, unframe};

/// Only executors decode physical plans.
const EXECUTOR: &str = "an executor";

#[derive(Debug)]
pub(super) struct PhysicalCodec {
    connectors: Arc<Connectors>,
    ballista: BallistaPhysicalExtensionCodec,
}

impl PhysicalCodec {
    pub(super) fn new(connectors: Arc<Connectors>) -> Self {
        Self { connectors, ballista: BallistaPhysicalExtensionCodec::default() }
    }
}

impl PhysicalExtensionCodec for PhysicalCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some((connector, content)) = unframe(buf)? else {
            return self.ballista.try_decode(buf, inputs, ctx, converter);
        };
        let decoder = NodeDecoder::new(self, converter, ctx);
        self.connectors.named(&connector)?.decode_node(&content, inputs, &decoder)
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        for connector in self.connectors.iter() {
            let encoder = NodeEncoder::new(self, converter);
            if let Some(content) = connector.encode_node(node.as_ref(), &encoder)? {
                frame(connector.name(), content, buf);
                return Ok(());
            }
        }
        self.ballista.try_encode(node, buf, converter)
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        // The name is not in the registry of this executor, or the codec would not be asked.
        let missing = |_| Arc::new(missing_scalar(name, process(EXECUTOR)));
        Ok(self.ballista.try_decode_udf(name, buf).unwrap_or_else(missing))
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

    fn try_decode_expr(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn PhysicalExpr>],
        ctx: &PhysicalExprDecodeCtx<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        self.ballista.try_decode_expr(buf, inputs, ctx)
    }

    fn try_encode_expr(
        &self,
        node: &Arc<dyn PhysicalExpr>,
        buf: &mut Vec<u8>,
        ctx: &PhysicalExprEncodeCtx<'_>,
    ) -> Result<()> {
        self.ballista.try_encode_expr(node, buf, ctx)
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        let missing = |_| Arc::new(missing_aggregate(name, process(EXECUTOR)));
        Ok(self.ballista.try_decode_udaf(name, buf).unwrap_or_else(missing))
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
