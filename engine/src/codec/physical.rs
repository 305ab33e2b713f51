//! The physical codec: our nodes, everything else by Ballista's.

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

use super::message::{check_version, frame, unframe, unknown_kind};
use super::{WIRE_VERSION, cache, group, wire};
use crate::Error;
use crate::connections::Connections;
use crate::functions::{missing_aggregate, missing_scalar, process};
use crate::kafka::{self, KafkaScanExec};
use crate::mongodb::{MongoGroupExec, MongoScanExec, MongoWriteExec, ScanSpec, WriteSpec};

/// Only executors decode physical plans.
const EXECUTOR: &str = "an executor";

#[derive(Debug)]
pub(super) struct PhysicalCodec {
    connections: Arc<Connections>,
    ballista: BallistaPhysicalExtensionCodec,
}

impl PhysicalCodec {
    pub(super) fn new(connections: Arc<Connections>) -> Self {
        Self { connections, ballista: BallistaPhysicalExtensionCodec::default() }
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
        let Some(node) = unframe::<wire::Node>(buf)? else {
            return self.ballista.try_decode(buf, inputs, ctx, converter);
        };
        check_version(node.version)?;
        match node.kind {
            Some(wire::node::Kind::MongodbScan(scan)) => {
                let [descriptors] = inputs else {
                    let message = format!("a MongoDB scan has one input, not {}", inputs.len());
                    return Err(Error::PlanDecode { message }.into());
                };
                let spec = ScanSpec::try_from(scan)?;
                let connection = self.connections.mongodb(&spec.connection)?;
                Ok(Arc::new(MongoScanExec::new(Arc::new(spec), connection, Arc::clone(descriptors))))
            }
            Some(wire::node::Kind::KafkaScan(scan)) => {
                let [descriptors] = inputs else {
                    let message = format!("a Kafka scan has one input, not {}", inputs.len());
                    return Err(Error::PlanDecode { message }.into());
                };
                let spec = kafka::ScanSpec::try_from(scan)?;
                let connection = self.connections.kafka(&spec.connection)?;
                Ok(Arc::new(KafkaScanExec::new(Arc::new(spec), connection, Arc::clone(descriptors))?))
            }
            Some(wire::node::Kind::CachedScan(scan)) => Ok(cache::scan_of(scan, inputs, &self.connections)?),
            Some(wire::node::Kind::CacheJob(job)) => Ok(cache::job_node_of(job, inputs, &self.connections)?),
            Some(wire::node::Kind::CachedAggregate(_)) => Ok(cache::aggregate_of(inputs)?),
            Some(wire::node::Kind::MongodbGroup(group)) => {
                group::decode(&group, self, inputs, ctx, converter)
            }
            Some(wire::node::Kind::MongodbWrite(write)) => {
                let [rows] = inputs else {
                    let message = format!("a MongoDB write has one input, not {}", inputs.len());
                    return Err(Error::PlanDecode { message }.into());
                };
                let spec = WriteSpec::try_from(write)?;
                let connection = self.connections.mongodb(&spec.connection)?;
                Ok(Arc::new(MongoWriteExec::new(Arc::new(spec), connection, Arc::clone(rows))))
            }
            None => Err(unknown_kind().into()),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let kind = if let Some(scan) = node.downcast_ref::<MongoScanExec>() {
            wire::node::Kind::MongodbScan(scan.spec().try_into()?)
        } else if let Some(write) = node.downcast_ref::<MongoWriteExec>() {
            wire::node::Kind::MongodbWrite(write.spec().try_into()?)
        } else if let Some(scan) = node.downcast_ref::<KafkaScanExec>() {
            wire::node::Kind::KafkaScan(scan.spec().into())
        } else if let Some(group) = node.downcast_ref::<MongoGroupExec>() {
            wire::node::Kind::MongodbGroup(group::encode(group, self, converter)?)
        } else if let Some(kind) = cache::node_to_wire(node.as_ref())? {
            kind
        } else {
            return self.ballista.try_encode(node, buf, converter);
        };
        frame(&wire::Node { version: WIRE_VERSION, kind: Some(kind) }, buf);
        Ok(())
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use bson::{Timestamp, doc};
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::physical_plan::{ExecutionPlanProperties, displayable};
    use datafusion_proto::physical_plan::AsExecutionPlan;
    use datafusion_proto::protobuf::PhysicalPlanNode;
    use proptest::prelude::*;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::Config;
    use crate::config::DEFAULT_CONNECTION;
    use crate::config::ReadMode;
    use crate::mongodb::{IdRange, Reading, Records, Walk, predictions_schema};

    fn spec() -> impl Strategy<Value = ScanSpec> {
        let filter = prop::option::of((".{0,8}", any::<i64>()));
        let time = prop::option::of((any::<u32>(), any::<u32>()));
        let columns = prop::sample::subsequence((0..10).collect::<Vec<usize>>(), 0..=10);
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        let rest = (prop::option::of(any::<u64>()), 1..100_000_usize, flags);
        (filter, time, columns, rest, reading()).prop_map(
            |(filter, time, columns, (limit, batch_rows, (clustered, whole, pushed)), reading)| ScanSpec {
                connection: DEFAULT_CONNECTION.to_owned(),
                database: "firesteel".to_owned(),
                collection: "predictions".to_owned(),
                schema: Arc::new(predictions_schema().project(&columns).unwrap()),
                filter: filter.map(|(text, number)| doc! { "label": text, "sequence": { "$gt": number } }),
                cluster_time: time.map(|(time, increment)| Timestamp { time, increment }),
                limit,
                batch_rows,
                clustered,
                whole_documents: whole,
                aggregate_pushdown: pushed,
                reading,
                partitioner: "auto".to_owned(),
            },
        )
    }

    /// Types of every kind, with the metadata that tells what documents hold.
    fn nested_schema() -> SchemaRef {
        let marked = |name: &str, value: &str| {
            let metadata = [("firesteel.bson".to_owned(), value.to_owned())].into();
            Field::new(name, DataType::Utf8, true).with_metadata(metadata)
        };
        let part = DataType::Struct(vec![marked("ref", "objectId"), marked("any", "any")].into());
        Arc::new(Schema::new(vec![
            marked("_id", "objectId"),
            Field::new("price", DataType::Decimal128(38, 2), true),
            Field::new("items", DataType::List(Arc::new(Field::new("item", part, true))), true),
        ]))
    }

    fn reading() -> impl Strategy<Value = Reading> {
        let modes =
            prop::sample::select(vec![ReadMode::FailFast, ReadMode::Permissive, ReadMode::DropMalformed]);
        let documents = prop::option::of(Just(nested_schema()));
        (modes, documents, prop::option::of("[a-z_]{1,8}"))
            .prop_map(|(mode, documents, corrupt_record)| Reading { mode, documents, corrupt_record })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_scan_comes_back_as_it_was(spec in spec(), ids in prop::collection::vec(".{0,8}", 0..5)) {
            let runtime = Runtime::new().unwrap();
            let config = Config::new("mongodb://me:hunter2@localhost", "firesteel");
            let connections = Arc::new(Connections::new(&config, runtime.handle().clone()));
            let codec = PhysicalCodec::new(Arc::clone(&connections));
            let mut walks =
                vec![Walk::full(), Walk::Records(Records { after: None, through: Some(ids.len() as i64) })];
            walks.extend(ids.iter().map(|id| Walk::Ids(IdRange { lower: Some(doc! { "_id": id }), upper: None })));

            let connection = connections.mongodb(DEFAULT_CONNECTION).unwrap();
            let scan: Arc<dyn ExecutionPlan> =
                Arc::new(MongoScanExec::over(spec.clone(), connection, &walks).unwrap());
            let shown = displayable(scan.as_ref()).indent(true).to_string();
            let node = PhysicalPlanNode::try_from_physical_plan(scan, &codec).unwrap();
            let mut bytes = Vec::new();
            node.try_encode(&mut bytes).unwrap();
            prop_assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));

            let node = PhysicalPlanNode::try_decode(&bytes).unwrap();
            let decoded = node.try_into_physical_plan(&TaskContext::default(), &codec).unwrap();
            prop_assert_eq!(decoded.downcast_ref::<MongoScanExec>().unwrap().spec(), &spec);
            prop_assert_eq!(decoded.output_partitioning().partition_count(), walks.len());
            prop_assert_eq!(displayable(decoded.as_ref()).indent(true).to_string(), shown);
        }

        #[test]
        fn a_write_comes_back_as_it_was(spec in crate::codec::write::tests::any_write_spec()) {
            let runtime = Runtime::new().unwrap();
            let config = Config::new("mongodb://me:hunter2@localhost", "firesteel");
            let connections = Arc::new(Connections::new(&config, runtime.handle().clone()));
            let codec = PhysicalCodec::new(Arc::clone(&connections));
            let connection = connections.mongodb(DEFAULT_CONNECTION).unwrap();
            let rows = Arc::new(EmptyExec::new(Arc::clone(&spec.schema)).with_partitions(3));
            let write: Arc<dyn ExecutionPlan> =
                Arc::new(MongoWriteExec::new(Arc::new(spec.clone()), connection, rows));
            let shown = displayable(write.as_ref()).indent(true).to_string();
            let node = PhysicalPlanNode::try_from_physical_plan(write, &codec).unwrap();
            let mut bytes = Vec::new();
            node.try_encode(&mut bytes).unwrap();
            prop_assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));

            let node = PhysicalPlanNode::try_decode(&bytes).unwrap();
            let decoded = node.try_into_physical_plan(&TaskContext::default(), &codec).unwrap();
            prop_assert_eq!(decoded.downcast_ref::<MongoWriteExec>().unwrap().spec(), &spec);
            prop_assert_eq!(decoded.output_partitioning().partition_count(), 3);
            prop_assert_eq!(displayable(decoded.as_ref()).indent(true).to_string(), shown);
        }
    }
}
