//! What the MongoDB connector sends is what arrives.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bson::{Timestamp, doc};
use datafusion::common::TableReference;
use datafusion::execution::TaskContext;
use datafusion::functions_aggregate::{average, count, min_max, sum};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{binary, cast, col};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ExecutionPlanProperties, displayable};
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;
use crate::config::{DEFAULT_CONNECTION, ReadMode};
use crate::connectors::mongodb::MongoDb;
use crate::connectors::mongodb::connection::Connection;
use crate::connectors::mongodb::plan::aggregate::rule::AggregatePushdown;
use crate::connectors::mongodb::read::decode::exact::Written;
use crate::connectors::mongodb::read::partition::{IdRange, RecordIdRange, ScanPartition};
use crate::connectors::mongodb::schema::mode::DecodeOptions;
use crate::connectors::mongodb::schema::predictions_schema;
use crate::connectors::registry::Connectors;
use crate::plan::codec;
use crate::{Config, Error};

fn connectors() -> (Runtime, Arc<Connectors>) {
    let runtime = Runtime::new().unwrap();
    let config = Config::new("mongodb://me:hunter2@localhost", "firesteel");
    let connectors = Arc::new(Connectors::new(&config, runtime.handle().clone()));
    (runtime, connectors)
}

fn connection(connectors: &Connectors) -> Arc<Connection> {
    connectors.get::<MongoDb>().unwrap().connection(DEFAULT_CONNECTION).unwrap()
}

fn spec() -> impl Strategy<Value = ScanSpec> {
    let filter = prop::option::of((".{0,8}", any::<i64>()));
    let time = prop::option::of((any::<u32>(), any::<u32>()));
    let columns = prop::sample::subsequence((0..10).collect::<Vec<usize>>(), 0..=10);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let rest = (prop::option::of(any::<u64>()), 1..100_000_usize, flags);
    (filter, time, columns, rest, decode()).prop_map(
        |(filter, time, columns, (limit, batch_rows, (clustered, whole, pushed)), decode)| ScanSpec {
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
            decode,
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

fn decode() -> impl Strategy<Value = DecodeOptions> {
    let modes = prop::sample::select(vec![ReadMode::FailFast, ReadMode::Permissive, ReadMode::DropMalformed]);
    let documents = prop::option::of(Just(nested_schema()));
    (modes, documents, prop::option::of("[a-z_]{1,8}")).prop_map(|(mode, documents, corrupt_record)| {
        let field = |field: &Arc<Field>| Written { field: field.as_ref().clone(), nulls_decided: true };
        let written =
            documents.iter().flat_map(|schema: &SchemaRef| schema.fields().iter().map(field)).collect();
        DecodeOptions { mode, documents, corrupt_record, written }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_scan_comes_back_as_it_was(spec in spec(), ids in prop::collection::vec(".{0,8}", 0..5)) {
        let (_runtime, connectors) = connectors();
        let codec = codec::physical(&connectors);
        let mut partitions =
            vec![ScanPartition::full(), ScanPartition::Records(RecordIdRange { after: None, through: Some(ids.len() as i64) })];
        partitions.extend(ids.iter().map(|id| ScanPartition::Ids(IdRange { lower: Some(doc! { "_id": id }), upper: None })));

        let connection = connection(&connectors);
        let scan: Arc<dyn ExecutionPlan> =
            Arc::new(MongoScanExec::try_new(spec.clone(), connection, &partitions).unwrap());
        let shown = displayable(scan.as_ref()).indent(true).to_string();
        let node = PhysicalPlanNode::try_from_physical_plan(scan, codec.as_ref()).unwrap();
        let mut bytes = Vec::new();
        node.try_encode(&mut bytes).unwrap();
        prop_assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));

        let node = PhysicalPlanNode::try_decode(&bytes).unwrap();
        let decoded = node.try_into_physical_plan(&TaskContext::default(), codec.as_ref()).unwrap();
        prop_assert_eq!(decoded.downcast_ref::<MongoScanExec>().unwrap().spec(), &spec);
        prop_assert_eq!(decoded.output_partitioning().partition_count(), partitions.len());
        prop_assert_eq!(displayable(decoded.as_ref()).indent(true).to_string(), shown);
    }

    #[test]
    fn a_write_comes_back_as_it_was(spec in write::tests::any_write_spec()) {
        let (_runtime, connectors) = connectors();
        let codec = codec::physical(&connectors);
        let connection = connection(&connectors);
        let rows = Arc::new(EmptyExec::new(Arc::clone(&spec.schema)).with_partitions(3));
        let write: Arc<dyn ExecutionPlan> =
            Arc::new(MongoWriteExec::of(spec.clone(), connection, rows));
        let shown = displayable(write.as_ref()).indent(true).to_string();
        let node = PhysicalPlanNode::try_from_physical_plan(write, codec.as_ref()).unwrap();
        let mut bytes = Vec::new();
        node.try_encode(&mut bytes).unwrap();
        prop_assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));

        let node = PhysicalPlanNode::try_decode(&bytes).unwrap();
        let decoded = node.try_into_physical_plan(&TaskContext::default(), codec.as_ref()).unwrap();
        prop_assert_eq!(decoded.downcast_ref::<MongoWriteExec>().unwrap().spec(), &spec);
        prop_assert_eq!(decoded.output_partitioning().partition_count(), 3);
        prop_assert_eq!(displayable(decoded.as_ref()).indent(true).to_string(), shown);
    }
}

/// A partial aggregate of everything, by some of the columns.
fn aggregate(scan: MongoScanExec, by: &[usize], functions: &[usize]) -> Arc<dyn ExecutionPlan> {
    let schema = predictions_schema();
    let column = |name: &str| col(name, &schema).unwrap();
    let by = by.iter().map(|index| {
        let name = schema.field(*index).name();
        (column(name), name.clone())
    });
    let by = PhysicalGroupBy::new_single(by.collect());
    let is_not_true = binary(column("correct"), Operator::IsDistinctFrom, expression(true), &schema).unwrap();
    let wrong = cast(is_not_true, &schema, DataType::Int64).unwrap();
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

fn group_spec(clustered: bool) -> ScanSpec {
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
        decode: Default::default(),
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
        let (_runtime, connectors) = connectors();
        let codec = codec::physical(&connectors);
        let range = |id: &String| IdRange { lower: Some(doc! { "_id": id }), upper: None };
        let partitions: Vec<ScanPartition> = ids.iter().map(|id| ScanPartition::Ids(range(id))).collect();
        let scan = MongoScanExec::try_new(group_spec(clustered), connection(&connectors), &partitions);
        let plan = aggregate(scan.unwrap(), &by, &functions);
        let schema = plan.schema();
        let plan = AggregatePushdown.optimize(plan, &Default::default()).unwrap();
        prop_assert!(plan.is::<MongoGroupExec>(), "{}", displayable(plan.as_ref()).indent(true));
        prop_assert_eq!(plan.schema(), Arc::clone(&schema));
        prop_assert_eq!(plan.output_partitioning().partition_count(), if clustered { partitions.len() } else { 1 });

        let shown = displayable(plan.as_ref()).indent(true).to_string();
        let node = PhysicalPlanNode::try_from_physical_plan(plan, codec.as_ref()).unwrap();
        let mut bytes = Vec::new();
        node.try_encode(&mut bytes).unwrap();
        prop_assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
        let node = PhysicalPlanNode::try_decode(&bytes).unwrap();
        let context = TaskContext::from(&datafusion::prelude::SessionContext::new());
        let decoded = node.try_into_physical_plan(&context, codec.as_ref()).unwrap();
        prop_assert_eq!(decoded.schema(), schema);
        prop_assert_eq!(displayable(decoded.as_ref()).indent(true).to_string(), shown);
    }
}

#[test]
fn a_scan_with_a_limit_or_without_pushdown_is_read() {
    let (_runtime, connectors) = connectors();
    let unlimited = group_spec(true);
    for spec in [
        ScanSpec { limit: Some(5), ..unlimited.clone() },
        ScanSpec { aggregate_pushdown: false, ..unlimited },
    ] {
        let connection = connection(&connectors);
        let scan = MongoScanExec::try_new(spec, connection, &[ScanPartition::full()]).unwrap();
        let plan = AggregatePushdown.optimize(aggregate(scan, &[1], &[0]), &Default::default()).unwrap();
        assert!(plan.is::<AggregateExec>());
    }
}

proptest! {
    #[test]
    fn a_table_comes_back_as_it_was(
        collection in "[a-zA-Z0-9_é-]{1,12}",
        rows in 1..100_000_usize,
        partitions in prop::option::of(0..1000_usize),
        documents in any::<u64>(),
        pushdown in any::<[bool; 2]>(),
        mode in prop::sample::select(vec![ReadMode::FailFast, ReadMode::Permissive, ReadMode::DropMalformed]),
        corrupt in "[a-z_]{1,12}",
        write in write::tests::any_write_config(),
        partitioner in partitioner::tests::any_partitioner(),
    ) {
        let (_runtime, connectors) = connectors();
        let codec = codec::logical(&connectors);
        let (connection, database) = (DEFAULT_CONNECTION.to_owned(), "firesteel".to_owned());
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
        let connections = connectors.get::<MongoDb>().unwrap().connections.clone();
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
fn what_this_process_does_not_know_is_refused() {
    let (_runtime, connectors) = connectors();
    let codec = codec::logical(&connectors);
    let decode = |connector: &str, content: &[u8]| {
        let mut bytes = Vec::new();
        crate::wire::frame(connector, content.to_vec(), &mut bytes);
        let (name, context) = (TableReference::bare("predictions"), TaskContext::default());
        let decoded = codec.try_decode_table_provider(&bytes, &name, predictions_schema(), &context);
        Error::from(decoded.unwrap_err())
    };
    assert!(matches!(decode("mongodb", b"\xff"), Error::PlanDecode { .. }));
    assert!(matches!(decode("cassandra", b""), Error::PlanDecode { .. }));
    // A node without a kind is one of a newer process.
    let codec = codec::physical(&connectors);
    let mut bytes = Vec::new();
    crate::wire::frame("mongodb", wire::Node { kind: None }.encode_to_vec(), &mut bytes);
    let converter = datafusion_proto::physical_plan::DefaultPhysicalProtoConverter {};
    let decoded = codec.try_decode(&bytes, &[], &TaskContext::default(), &converter);
    assert!(matches!(Error::from(decoded.unwrap_err()), Error::PlanDecode { .. }));
}

/// What a process makes of a scan and of a write that a plan from elsewhere holds.
fn decoded(connectors: &Arc<Connectors>, kind: Kind) -> std::result::Result<(), Error> {
    let mut bytes = Vec::new();
    crate::wire::frame("mongodb", wire::Node { kind: Some(kind) }.encode_to_vec(), &mut bytes);
    let converter = datafusion_proto::physical_plan::DefaultPhysicalProtoConverter {};
    let input: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(predictions_schema()));
    let codec = codec::physical(connectors);
    codec.try_decode(&bytes, &[input], &TaskContext::default(), &converter).map(drop).map_err(Error::from)
}

#[test]
fn a_plan_reads_and_writes_what_sql_could() {
    let (_runtime, connectors) = connectors();
    let scan = |change: &dyn Fn(&mut wire::Scan)| {
        let mut scan = wire::Scan::try_from(&group_spec(true)).unwrap();
        change(&mut scan);
        decoded(&connectors, Kind::Scan(scan))
    };
    scan(&|_| {}).unwrap();
    let filter = |filter: bson::Document| move |scan: &mut wire::Scan| scan.filter = filter.to_vec().unwrap();
    for program in [
        doc! { "$where": "while (true) {}" },
        doc! { "$expr": { "$function": { "body": "while (true) {}", "args": [], "lang": "js" } } },
    ] {
        let refused = scan(&filter(program.clone()));
        assert!(matches!(refused, Err(Error::PlanDecode { .. })), "{program}: {refused:?}");
    }
    let place = |database: &str, collection: &str| {
        let (database, collection) = (database.to_owned(), collection.to_owned());
        move |scan: &mut wire::Scan| {
            (scan.database, scan.collection) = (database.clone(), collection.clone());
        }
    };
    for (database, collection) in [("admin", "system.users"), ("local", "oplog.rs"), ("other", "a")] {
        let refused = scan(&place(database, collection));
        assert!(matches!(refused, Err(Error::DatabaseRefused { .. })), "{database}: {refused:?}");
    }
    assert!(scan(&place("firesteel", "system.views")).is_err());
    assert!(scan(&|scan| scan.batch_rows = u64::MAX).is_err());

    let write = |database: &str, collection: &str| {
        let spec = WriteSpec {
            connection: DEFAULT_CONNECTION.to_owned(),
            database: database.to_owned(),
            collection: collection.to_owned(),
            schema: predictions_schema(),
            config: WriteConfig::default(),
        };
        decoded(&connectors, Kind::Write((&spec).try_into().unwrap()))
    };
    write("firesteel", "orders").unwrap();
    assert!(matches!(write("admin", "users"), Err(Error::DatabaseRefused { .. })));
    assert!(write("firesteel", "system.users").is_err());
}

#[test]
fn a_table_of_another_database_is_refused_where_its_plan_arrives() {
    let (_runtime, connectors) = connectors();
    let codec = codec::logical(&connectors);
    let table = |database: &str| {
        let table = wire::Table {
            connection: DEFAULT_CONNECTION.to_owned(),
            database: database.to_owned(),
            collection: "a".to_owned(),
            options: Some((&ScanConfig::default()).into()),
            write: None,
        };
        let mut bytes = Vec::new();
        crate::wire::frame("mongodb", table.encode_to_vec(), &mut bytes);
        let (name, context) = (TableReference::bare("a"), TaskContext::default());
        let decoded = codec.try_decode_table_provider(&bytes, &name, predictions_schema(), &context);
        decoded.map(drop).map_err(Error::from)
    };
    table("firesteel").unwrap();
    assert!(matches!(table("admin"), Err(Error::DatabaseRefused { .. })));
}
