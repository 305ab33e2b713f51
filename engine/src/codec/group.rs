//! The message of a pushed aggregate: the plan that it stands for, from which both ends derive the same pipeline.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalPlanNode;
use prost::Message;

use super::wire;
use crate::Error;
use crate::mongodb::MongoGroupExec;

pub(super) fn encode(
    node: &MongoGroupExec,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<wire::MongoGroup> {
    let reading = converter.execution_plan_to_proto(node.reading(), codec)?;
    Ok(wire::MongoGroup { reading: reading.encode_to_vec() })
}

pub(super) fn decode(
    message: &wire::MongoGroup,
    codec: &dyn PhysicalExtensionCodec,
    inputs: &[Arc<dyn ExecutionPlan>],
    ctx: &TaskContext,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    let damaged = |message: String| Error::PlanDecode { message };
    let [descriptors] = inputs else {
        return Err(damaged(format!("an aggregate of MongoDB has one input, not {}", inputs.len())).into());
    };
    let reading = PhysicalPlanNode::decode(message.reading.as_slice());
    let reading = reading.map_err(|error| damaged(error.to_string()))?;
    let context = PhysicalPlanDecodeContext::new(ctx, codec);
    let reading = converter.proto_to_execution_plan(&reading, &context)?;
    Ok(Arc::new(MongoGroupExec::decode(&reading, Arc::clone(descriptors))?))
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use datafusion::functions_aggregate::{average, count, min_max, sum};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::aggregate::AggregateExprBuilder;
    use datafusion::physical_expr::expressions::{binary, cast, col};
    use datafusion::physical_optimizer::PhysicalOptimizerRule;
    use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
    use datafusion::physical_plan::{ExecutionPlanProperties, displayable};
    use datafusion_proto::physical_plan::AsExecutionPlan;
    use proptest::prelude::*;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::Config;
    use crate::codec::physical::PhysicalCodec;
    use crate::config::DEFAULT_CONNECTION;
    use crate::connections::Connections;
    use crate::mongodb::{AggregatePushdown, IdRange, MongoScanExec, ScanSpec, Walk, predictions_schema};

    /// A partial aggregate of everything, by some of the columns.
    fn aggregate(scan: MongoScanExec, by: &[usize], functions: &[usize]) -> Arc<dyn ExecutionPlan> {
        let schema = predictions_schema();
        let column = |name: &str| col(name, &schema).unwrap();
        let by = by.iter().map(|index| {
            let name = schema.field(*index).name();
            (column(name), name.clone())
        });
        let by = PhysicalGroupBy::new_single(by.collect());
        let is_not_true =
            binary(column("correct"), Operator::IsDistinctFrom, expression(true), &schema).unwrap();
        let wrong = cast(is_not_true, &schema, arrow::datatypes::DataType::Int64).unwrap();
        let all = [
            (count::count_udaf(), expression(1_i64), "count(1)"),
            (sum::sum_udaf(), wrong, "wrong"),
            (min_max::min_udaf(), column("produced_at"), "first"),
            (min_max::max_udaf(), column("confidence"), "best"),
            (average::avg_udaf(), column("confidence"), "mean"),
        ];
        let functions = functions.iter().map(|index| {
            let (function, argument, name) = all[*index].clone();
            let builder = AggregateExprBuilder::new(function, vec![argument]);
            Arc::new(builder.schema(Arc::clone(&schema)).alias(name).build().unwrap())
        });
        let functions: Vec<_> = functions.collect();
        let filters = vec![None; functions.len()];
        let partial = AggregateMode::Partial;
        let aggregate =
            AggregateExec::try_new(partial, by, functions, filters, Arc::new(scan), Arc::clone(&schema));
        Arc::new(aggregate.unwrap())
    }

    fn expression(
        value: impl datafusion::logical_expr::Literal,
    ) -> Arc<dyn datafusion::physical_expr::PhysicalExpr> {
        datafusion::physical_expr::expressions::lit(value)
    }

    fn spec(clustered: bool) -> ScanSpec {
        ScanSpec {
            connection: DEFAULT_CONNECTION.to_owned(),
            database: "firesteel".to_owned(),
            collection: "predictions".to_owned(),
            schema: predictions_schema(),
            filter: Some(doc! { "label": "cat" }),
            cluster_time: Some(bson::Timestamp { time: 3, increment: 4 }),
            limit: None,
            batch_rows: 100,
            clustered,
            whole_documents: false,
            aggregate_pushdown: true,
            partitioner: "auto".to_owned(),
            reading: Default::default(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_group_comes_back_as_it_was(
            by in prop::sample::subsequence(vec![1_usize, 2, 3, 4, 5, 8], 0..=3),
            functions in prop::sample::subsequence((0..5).collect::<Vec<usize>>(), 0..=5),
            clustered in any::<bool>(),
            ids in prop::collection::vec(".{0,8}", 1..5),
        ) {
            prop_assume!(!by.is_empty() || !functions.is_empty());
            let runtime = Runtime::new().unwrap();
            let config = Config::new("mongodb://me:hunter2@localhost", "firesteel");
            let connections = Arc::new(Connections::new(&config, runtime.handle().clone()));
            let codec = PhysicalCodec::new(Arc::clone(&connections));
            let range = |id: &String| IdRange { lower: Some(doc! { "_id": id }), upper: None };
            let walks: Vec<Walk> = ids.iter().map(|id| Walk::Ids(range(id))).collect();
            let scan = MongoScanExec::over(spec(clustered), connections.mongodb(DEFAULT_CONNECTION).unwrap(), &walks);
            let plan = aggregate(scan.unwrap(), &by, &functions);
            let schema = plan.schema();
            let plan = AggregatePushdown.optimize(plan, &Default::default()).unwrap();
            prop_assert!(plan.is::<MongoGroupExec>(), "{}", displayable(plan.as_ref()).indent(true));
            prop_assert_eq!(plan.schema(), Arc::clone(&schema));
            prop_assert_eq!(plan.output_partitioning().partition_count(), if clustered { walks.len() } else { 1 });

            let shown = displayable(plan.as_ref()).indent(true).to_string();
            let node = PhysicalPlanNode::try_from_physical_plan(plan, &codec).unwrap();
            let mut bytes = Vec::new();
            node.try_encode(&mut bytes).unwrap();
            prop_assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
            let node = PhysicalPlanNode::try_decode(&bytes).unwrap();
            let context = TaskContext::from(&datafusion::prelude::SessionContext::new());
            let decoded = node.try_into_physical_plan(&context, &codec).unwrap();
            prop_assert_eq!(decoded.schema(), schema);
            prop_assert_eq!(displayable(decoded.as_ref()).indent(true).to_string(), shown);
        }
    }

    #[test]
    fn a_scan_with_a_limit_or_without_pushdown_is_read() {
        let runtime = Runtime::new().unwrap();
        let connections = Connections::new(&Config::default(), runtime.handle().clone());
        let unlimited = spec(true);
        for spec in [
            ScanSpec { limit: Some(5), ..unlimited.clone() },
            ScanSpec { aggregate_pushdown: false, ..unlimited },
        ] {
            let connection = connections.mongodb(DEFAULT_CONNECTION).unwrap();
            let scan = MongoScanExec::over(spec, connection, &[Walk::full()]).unwrap();
            let plan = AggregatePushdown.optimize(aggregate(scan, &[1], &[0]), &Default::default()).unwrap();
            assert!(plan.is::<AggregateExec>());
        }
    }
}
