//! How cached tables, and the jobs that write and remove them, travel.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::{AsLogicalPlan, LogicalExtensionCodec};
use datafusion_proto::protobuf::{self, LogicalPlanNode};
use prost::Message;

use super::message::{damaged, one_input};
use super::wire;
use crate::cache::{
    Action, CacheJob, CacheJobExec, CachedAggregateExec, CachedScanExec, CachedScanSpec, CachedTable, Folder,
    Part, Stamp,
};
use crate::connections::Connections;

impl From<&Folder> for wire::CacheFolder {
    fn from(folder: &Folder) -> Self {
        Self { session: folder.session().to_owned(), number: folder.number() }
    }
}

fn folder(folder: Option<wire::CacheFolder>) -> crate::Result<Folder> {
    let folder = folder.unwrap_or_default();
    Folder::new(&folder.session, folder.number)
}

fn time_to_wire(time: Option<(u32, u32)>) -> Option<wire::ClusterTime> {
    time.map(|(time, increment)| wire::ClusterTime { time, increment })
}

fn time_of(time: Option<wire::ClusterTime>) -> Option<(u32, u32)> {
    time.map(|time| (time.time, time.increment))
}

/// A cached table as a message.
pub(super) fn table_to_wire(table: &CachedTable) -> wire::CachedTable {
    let part = |part: &Part| wire::CachedPart {
        file: part.file.to_string(),
        row_group: part.row_group,
        rows: part.rows,
    };
    wire::CachedTable {
        folder: Some((&table.folder).into()),
        parts: table.parts.iter().map(part).collect(),
        cached_at: table.stamp.cached_at,
        cluster_time: time_to_wire(table.stamp.cluster_time),
    }
}

/// A cached table out of its message. The schema travels beside it.
pub(super) fn table_of(
    message: wire::CachedTable,
    schema: SchemaRef,
    connections: &Connections,
) -> crate::Result<CachedTable> {
    let part =
        |part: wire::CachedPart| Part { file: part.file.into(), row_group: part.row_group, rows: part.rows };
    Ok(CachedTable {
        store: connections.cache(),
        folder: folder(message.folder)?,
        schema,
        parts: message.parts.into_iter().map(part).collect(),
        stamp: Stamp { cached_at: message.cached_at, cluster_time: time_of(message.cluster_time) },
    })
}

/// A job as a message.
pub(super) fn job_to_wire(job: &CacheJob, codec: &dyn LogicalExtensionCodec) -> Result<wire::CacheJob> {
    let plan = match &job.action {
        Action::Write(plan) => {
            let mut bytes = Vec::new();
            LogicalPlanNode::try_from_logical_plan(plan, codec)?.try_encode(&mut bytes)?;
            Some(bytes)
        }
        Action::Remove => None,
    };
    Ok(wire::CacheJob { folder: Some((&job.folder).into()), plan })
}

/// A job out of its message.
pub(super) fn job_of(
    message: wire::CacheJob,
    connections: &Arc<Connections>,
    context: &TaskContext,
    codec: &dyn LogicalExtensionCodec,
) -> Result<CacheJob> {
    let action = match message.plan {
        None => Action::Remove,
        Some(bytes) => {
            let plan = LogicalPlanNode::try_decode(&bytes)?.try_into_logical_plan(context, codec)?;
            Action::Write(Box::new(plan))
        }
    };
    Ok(CacheJob { connections: Arc::clone(connections), folder: folder(message.folder)?, action })
}

/// A physical node of the cache as a message; `None` where it is none.
pub(super) fn node_to_wire(node: &dyn ExecutionPlan) -> crate::Result<Option<wire::node::Kind>> {
    if let Some(scan) = node.downcast_ref::<CachedScanExec>() {
        let spec = scan.spec();
        let schema = protobuf::Schema::try_from(spec.schema.as_ref()).map_err(damaged)?;
        return Ok(Some(wire::node::Kind::CachedScan(wire::CachedScan {
            folder: Some((&spec.folder).into()),
            schema: schema.encode_to_vec(),
            columns: spec.columns.clone(),
            limit: spec.limit,
            cached_at: spec.stamp.cached_at,
            cluster_time: time_to_wire(spec.stamp.cluster_time),
        })));
    }
    if let Some(job) = node.downcast_ref::<CacheJobExec>() {
        return Ok(Some(wire::node::Kind::CacheJob(wire::CacheJobNode {
            folder: Some(job.folder().into()),
            remove: job.removes(),
            cluster_time: time_to_wire(job.cluster_time()),
        })));
    }
    let aggregate = node.downcast_ref::<CachedAggregateExec>();
    Ok(aggregate.map(|_| wire::node::Kind::CachedAggregate(wire::CachedAggregate {})))
}

/// The scan of a cached table out of its message.
pub(super) fn scan_of(
    message: wire::CachedScan,
    inputs: &[Arc<dyn ExecutionPlan>],
    connections: &Connections,
) -> crate::Result<Arc<dyn ExecutionPlan>> {
    let schema = protobuf::Schema::decode(message.schema.as_slice()).map_err(damaged)?;
    let schema = arrow::datatypes::Schema::try_from(&schema).map_err(damaged)?;
    let spec = CachedScanSpec {
        folder: folder(message.folder)?,
        schema: Arc::new(schema),
        columns: message.columns,
        limit: message.limit,
        stamp: Stamp { cached_at: message.cached_at, cluster_time: time_of(message.cluster_time) },
    };
    let descriptors = one_input("the scan of a cached table", inputs)?;
    Ok(Arc::new(CachedScanExec::new(Arc::new(spec), connections.cache(), descriptors)))
}

/// The node of a job out of its message.
pub(super) fn job_node_of(
    message: wire::CacheJobNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    connections: &Connections,
) -> crate::Result<Arc<dyn ExecutionPlan>> {
    let (folder, time) = (folder(message.folder)?, time_of(message.cluster_time));
    let input = one_input("a cache job", inputs)?;
    Ok(Arc::new(CacheJobExec::new(folder, message.remove, time, connections.cache(), input)))
}

/// The node over an aggregate of a cached table.
pub(super) fn aggregate_of(inputs: &[Arc<dyn ExecutionPlan>]) -> crate::Result<Arc<dyn ExecutionPlan>> {
    Ok(Arc::new(CachedAggregateExec::new(one_input("a cached aggregate", inputs)?)))
}

#[cfg(test)]
mod tests {
    use datafusion::catalog::TableProvider;
    use datafusion::common::TableReference;
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};
    use datafusion::physical_plan::{ExecutionPlanProperties, displayable};
    use datafusion_proto::physical_plan::AsExecutionPlan;
    use datafusion_proto::protobuf::PhysicalPlanNode;
    use proptest::prelude::*;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::mongodb::predictions_schema;
    use crate::{Config, codec};

    fn connections() -> (Runtime, Arc<Connections>) {
        let runtime = Runtime::new().unwrap();
        let config = Config::new("mongodb://me:hunter2@localhost", "firesteel");
        let connections = Arc::new(Connections::new(&config, runtime.handle().clone()));
        (runtime, connections)
    }

    fn stamp() -> impl Strategy<Value = Stamp> {
        (any::<i64>(), prop::option::of(any::<(u32, u32)>()))
            .prop_map(|(cached_at, cluster_time)| Stamp { cached_at, cluster_time })
    }

    fn folder() -> impl Strategy<Value = Folder> {
        ("[a-zA-Z0-9_-]{1,36}", any::<u64>())
            .prop_map(|(session, number)| Folder::new(&session, number).unwrap())
    }

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let part = ("[a-z0-9.]{1,20}", any::<u32>(), 0..u64::MAX / 16);
        let part = part.prop_map(|(file, row_group, rows)| Part { file: file.into(), row_group, rows });
        prop::collection::vec(part, 0..8)
    }

    fn through(codec: &dyn LogicalExtensionCodec, table: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
        let (name, schema) = (TableReference::bare("t"), table.schema());
        let mut bytes = Vec::new();
        codec.try_encode_table_provider(&name, table, &mut bytes).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
        codec.try_decode_table_provider(&bytes, &name, schema, &TaskContext::default()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn tables_and_jobs_come_back_as_they_were(folder in folder(), parts in parts(), stamp in stamp(), write in any::<bool>()) {
            let (_runtime, connections) = connections();
            let codec = codec::logical(&connections);
            let schema = predictions_schema();
            let table = CachedTable { store: connections.cache(), folder: folder.clone(), schema, parts, stamp };
            let decoded = through(codec.as_ref(), Arc::new(table.clone()));
            let decoded = decoded.downcast_ref::<CachedTable>().unwrap();
            prop_assert_eq!(&decoded.folder, &table.folder);
            prop_assert_eq!(&decoded.schema, &table.schema);
            prop_assert_eq!(&decoded.parts, &table.parts);
            prop_assert_eq!(decoded.stamp, table.stamp);

            let action = if write {
                let source = datafusion::datasource::provider_as_source(Arc::new(table));
                let plan = LogicalPlanBuilder::scan("t", source, None).unwrap();
                let plan = plan.filter(col("sequence").gt(lit(7_i64))).unwrap().build().unwrap();
                Action::Write(Box::new(plan))
            } else {
                Action::Remove
            };
            let job = CacheJob { connections, folder, action };
            let decoded = through(codec.as_ref(), Arc::new(job.clone()));
            let decoded = decoded.downcast_ref::<CacheJob>().unwrap();
            prop_assert_eq!(&decoded.folder, &job.folder);
            match (&decoded.action, &job.action) {
                (Action::Write(found), Action::Write(plan)) => {
                    prop_assert_eq!(found.display_indent().to_string(), plan.display_indent().to_string());
                }
                (Action::Remove, Action::Remove) => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn nodes_come_back_as_they_were(
            folder in folder(),
            dealt in prop::collection::vec(parts(), 1..4),
            columns in prop::sample::subsequence((0..10_usize).collect::<Vec<_>>(), 0..=10),
            limit in prop::option::of(any::<u64>()),
            stamp in stamp(),
            remove in any::<bool>(),
        ) {
            let (_runtime, connections) = connections();
            let codec = codec::physical(&connections);
            let spec = CachedScanSpec {
                folder: folder.clone(),
                schema: Arc::new(predictions_schema().project(&columns).unwrap()),
                columns: columns.iter().map(|column| *column as u32).collect(),
                limit,
                stamp,
            };
            let scan: Arc<dyn ExecutionPlan> =
                Arc::new(CachedScanExec::over(spec.clone(), connections.cache(), &dealt).unwrap());
            let job: Arc<dyn ExecutionPlan> = Arc::new(CacheJobExec::new(
                folder, remove, stamp.cluster_time, connections.cache(), Arc::new(CachedAggregateExec::new(scan)),
            ));
            let shown = displayable(job.as_ref()).indent(true).to_string();
            let node = PhysicalPlanNode::try_from_physical_plan(job, codec.as_ref()).unwrap();
            let mut bytes = Vec::new();
            node.try_encode(&mut bytes).unwrap();
            let node = PhysicalPlanNode::try_decode(&bytes).unwrap();
            let decoded = node.try_into_physical_plan(&TaskContext::default(), codec.as_ref()).unwrap();
            prop_assert_eq!(displayable(decoded.as_ref()).indent(true).to_string(), shown);
            prop_assert_eq!(decoded.output_partitioning().partition_count(), dealt.len());
            let found = decoded.downcast_ref::<CacheJobExec>().unwrap();
            prop_assert_eq!((found.removes(), found.cluster_time()), (remove, stamp.cluster_time));
            let aggregate = decoded.children()[0];
            let scan = aggregate.children()[0].downcast_ref::<CachedScanExec>().unwrap();
            prop_assert_eq!(scan.spec(), &spec);
        }
    }

    #[test]
    fn a_folder_that_leads_elsewhere_is_refused() {
        let (_runtime, connections) = connections();
        let folder = Some(wire::CacheFolder { session: "../../etc".to_owned(), number: 0 });
        let job = wire::CacheJob { folder, plan: None };
        let codec = codec::logical(&connections);
        assert!(job_of(job, &connections, &TaskContext::default(), codec.as_ref()).is_err());
    }
}
