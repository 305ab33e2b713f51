//! How cached tables, and the jobs that write and remove them, travel in a plan.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use prost::Message;

use super::connection::{CacheStore, Folder};
use super::plan::table::CachedTable;
use super::read::aggregate::CachedAggregateExec;
use super::read::scan::CachedScanExec;
use super::read::spec::{CachedScanSpec, Part, Stamp};
use super::write::{Action, CacheJob, CacheJobExec};
use crate::connectors::connector::{ClusterTime, TableDecoder, TableEncoder};
use crate::connectors::descriptors::one_input;
use crate::wire::{damaged, decode_schema, encode_schema, unknown_kind};

/// What prost generates. Only this module looks inside.
#[allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    reason = "generated code; cache.proto has the documentation"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/firesteel.cache.v1.rs"));
}

impl From<&Folder> for wire::Folder {
    fn from(folder: &Folder) -> Self {
        Self { session: folder.session().to_owned(), number: folder.number() }
    }
}

fn folder(folder: Option<wire::Folder>) -> crate::Result<Folder> {
    let folder = folder.unwrap_or_default();
    Folder::new(&folder.session, folder.number)
}

fn encode_time(time: Option<ClusterTime>) -> Option<wire::ClusterTime> {
    time.map(|(time, increment)| wire::ClusterTime { time, increment })
}

fn decode_time(time: Option<wire::ClusterTime>) -> Option<ClusterTime> {
    time.map(|time| (time.time, time.increment))
}

/// A table as bytes; `None` where it is another's.
pub(super) fn encode_table(table: &dyn TableProvider, encoder: &TableEncoder<'_>) -> Result<Option<Vec<u8>>> {
    let kind = if let Some(table) = table.downcast_ref::<CachedTable>() {
        wire::table::Kind::Cached(cached_table(table))
    } else if let Some(job) = table.downcast_ref::<CacheJob>() {
        let plan = match &job.action {
            Action::Write(plan) => Some(encoder.plan(plan)?),
            Action::Remove => None,
        };
        wire::table::Kind::Job(wire::Job { folder: Some((&job.folder).into()), plan })
    } else {
        return Ok(None);
    };
    Ok(Some(wire::Table { kind: Some(kind) }.encode_to_vec()))
}

fn cached_table(table: &CachedTable) -> wire::CachedTable {
    let part =
        |part: &Part| wire::Part { file: part.file.to_string(), row_group: part.row_group, rows: part.rows };
    wire::CachedTable {
        folder: Some((&table.folder).into()),
        parts: table.parts.iter().map(part).collect(),
        cached_at: table.stamp.cached_at,
        cluster_time: encode_time(table.stamp.cluster_time),
    }
}

/// The table in bytes of [`encode_table`].
pub(super) fn decode_table(
    store: Arc<CacheStore>,
    bytes: &[u8],
    schema: SchemaRef,
    decoder: &TableDecoder<'_>,
) -> Result<Arc<dyn TableProvider>> {
    let table = wire::Table::decode(bytes).map_err(damaged)?;
    match table.kind.ok_or_else(unknown_kind)? {
        wire::table::Kind::Cached(table) => {
            let part = |part: wire::Part| Part {
                file: part.file.into(),
                row_group: part.row_group,
                rows: part.rows,
            };
            Ok(Arc::new(CachedTable {
                store,
                folder: folder(table.folder)?,
                schema,
                parts: table.parts.into_iter().map(part).collect(),
                stamp: Stamp { cached_at: table.cached_at, cluster_time: decode_time(table.cluster_time) },
            }))
        }
        wire::table::Kind::Job(job) => {
            let folder = folder(job.folder)?;
            let action = match job.plan {
                None => Action::Remove,
                Some(plan) => Action::Write(Box::new(decoder.plan(&plan)?)),
            };
            Ok(Arc::new(CacheJob { store, folder, action }))
        }
    }
}

/// A node as bytes; `None` where it is another's.
pub(super) fn encode_node(node: &dyn ExecutionPlan) -> crate::Result<Option<Vec<u8>>> {
    let kind = if let Some(scan) = node.downcast_ref::<CachedScanExec>() {
        let spec = scan.spec();
        wire::node::Kind::Scan(wire::Scan {
            folder: Some((&spec.folder).into()),
            schema: encode_schema(&spec.schema)?,
            columns: spec.columns.clone(),
            limit: spec.limit,
            cached_at: spec.stamp.cached_at,
            cluster_time: encode_time(spec.stamp.cluster_time),
        })
    } else if let Some(job) = node.downcast_ref::<CacheJobExec>() {
        wire::node::Kind::Job(wire::JobNode {
            folder: Some(job.folder().into()),
            remove: job.removes(),
            cluster_time: encode_time(job.cluster_time()),
        })
    } else if node.is::<CachedAggregateExec>() {
        wire::node::Kind::Aggregate(wire::Aggregate {})
    } else {
        return Ok(None);
    };
    Ok(Some(wire::Node { kind: Some(kind) }.encode_to_vec()))
}

/// The node in bytes of [`encode_node`].
pub(super) fn decode_node(
    store: Arc<CacheStore>,
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
) -> Result<Arc<dyn ExecutionPlan>> {
    let node = wire::Node::decode(bytes).map_err(damaged)?;
    match node.kind.ok_or_else(unknown_kind)? {
        wire::node::Kind::Scan(scan) => {
            let descriptors = one_input("the scan of a cached table", inputs)?;
            let spec = CachedScanSpec {
                folder: folder(scan.folder)?,
                schema: decode_schema(&scan.schema)?,
                columns: scan.columns,
                limit: scan.limit,
                stamp: Stamp { cached_at: scan.cached_at, cluster_time: decode_time(scan.cluster_time) },
            };
            Ok(Arc::new(CachedScanExec::decoded(spec, store, descriptors)))
        }
        wire::node::Kind::Job(job) => {
            let rows = one_input("a cache job", inputs)?;
            let (folder, time) = (folder(job.folder)?, decode_time(job.cluster_time));
            Ok(Arc::new(CacheJobExec::of(folder, job.remove, time, store, rows)))
        }
        wire::node::Kind::Aggregate(wire::Aggregate {}) => {
            Ok(Arc::new(CachedAggregateExec::new(one_input("a cached aggregate", inputs)?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::TableReference;
    use datafusion::execution::TaskContext;
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};
    use datafusion::physical_plan::{ExecutionPlanProperties, displayable};
    use datafusion_proto::logical_plan::LogicalExtensionCodec;
    use datafusion_proto::physical_plan::AsExecutionPlan;
    use datafusion_proto::protobuf::PhysicalPlanNode;
    use proptest::prelude::*;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::Config;
    use crate::connectors::cache::Cache;
    use crate::connectors::predictions_schema;
    use crate::connectors::registry::Connectors;
    use crate::plan::codec;

    fn connectors() -> (Runtime, Arc<Connectors>) {
        let runtime = Runtime::new().unwrap();
        let config = Config::new("mongodb://me:hunter2@localhost", "firesteel");
        let connectors = Arc::new(Connectors::new(&config, runtime.handle().clone()));
        (runtime, connectors)
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
            let (_runtime, connectors) = connectors();
            let codec = codec::logical(&connectors);
            let schema = predictions_schema();
            let table = CachedTable { store: connectors.get::<Cache>().unwrap().store(), folder: folder.clone(), schema, parts, stamp };
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
            let store = connectors.get::<Cache>().unwrap().store();
            let job = CacheJob { store, folder, action };
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
            let (_runtime, connectors) = connectors();
            let codec = codec::physical(&connectors);
            let spec = CachedScanSpec {
                folder: folder.clone(),
                schema: Arc::new(predictions_schema().project(&columns).unwrap()),
                columns: columns.iter().map(|column| *column as u32).collect(),
                limit,
                stamp,
            };
            let scan: Arc<dyn ExecutionPlan> =
                Arc::new(CachedScanExec::try_new(spec.clone(), connectors.get::<Cache>().unwrap().store(), &dealt).unwrap());
            let job: Arc<dyn ExecutionPlan> = Arc::new(CacheJobExec::of(
                folder, remove, stamp.cluster_time, connectors.get::<Cache>().unwrap().store(), Arc::new(CachedAggregateExec::new(scan)),
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
        let (_runtime, connectors) = connectors();
        let folder = Some(wire::Folder { session: "../../etc".to_owned(), number: 0 });
        let kind = Some(wire::table::Kind::Job(wire::Job { folder, plan: None }));
        let codec = codec::logical(&connectors);
        let store = connectors.get::<Cache>().unwrap().store();
        let (bytes, context) = (wire::Table { kind }.encode_to_vec(), TaskContext::default());
        let decoder = TableDecoder::new(codec.as_ref(), &context);
        assert!(decode_table(store, &bytes, predictions_schema(), &decoder).is_err());
    }
}
