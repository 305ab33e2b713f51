//! How tables and scans over topics travel in a plan.

use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::TableProvider;
use datafusion::physical_plan::ExecutionPlan;
use prost::Message as _;

use super::config::bound::{At, Bound};
use super::config::{Format, Isolation, Mode, PartSize, TableOptions};
use super::connection::Connections;
use super::plan::table::KafkaTable;
use super::read::scan::KafkaScanExec;
use super::read::spec::ScanSpec;
use crate::connectors::descriptors::one_input;
use crate::wire::{damaged, to_usize};
use crate::{Error, Result};

/// What prost generates. Only this module looks inside.
#[allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    reason = "generated code; kafka.proto has the documentation"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/firesteel.kafka.v1.rs"));
}

/// A table as bytes; `None` where it is another's.
pub(super) fn encode_table(table: &dyn TableProvider) -> Option<Vec<u8>> {
    let table = table.downcast_ref::<KafkaTable>()?;
    Some(wire::Table::from(&table.options).encode_to_vec())
}

/// The table in bytes of [`encode_table`]. Its schema follows from its options.
pub(super) fn decode_table(
    connections: &Connections,
    bytes: &[u8],
) -> datafusion::error::Result<Arc<dyn TableProvider>> {
    let options = TableOptions::try_from(wire::Table::decode(bytes).map_err(damaged)?)?;
    Ok(Arc::new(KafkaTable::new(connections.clone(), options)))
}

/// A scan as bytes; `None` where the node is another's.
pub(super) fn encode_node(node: &dyn ExecutionPlan) -> Option<Vec<u8>> {
    let scan = node.downcast_ref::<KafkaScanExec>()?;
    Some(wire::Scan::from(scan.spec()).encode_to_vec())
}

/// The scan in bytes of [`encode_node`].
pub(super) fn decode_node(
    connections: &Connections,
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
    let descriptors = one_input("a Kafka scan", inputs)?;
    let spec = ScanSpec::try_from(wire::Scan::decode(bytes).map_err(damaged)?)?;
    let connection = connections.named(&spec.connection)?;
    Ok(Arc::new(KafkaScanExec::decoded(spec, connection, descriptors)?))
}

/// The settings that tables and scans have in common.
struct ReadOptions {
    format: Format,
    mode: Mode,
    isolation: Isolation,
    fail_on_data_loss: bool,
    fetch_timeout: Duration,
}

impl From<ReadOptions> for wire::ReadOptions {
    fn from(reading: ReadOptions) -> Self {
        let format = match reading.format {
            Format::Raw => wire::Format::Raw,
            Format::Images => wire::Format::Images,
            Format::Predictions => wire::Format::Predictions,
            Format::Letters => wire::Format::Letters,
        };
        Self {
            format: format.into(),
            permissive: reading.mode == Mode::Permissive,
            read_uncommitted: reading.isolation == Isolation::ReadUncommitted,
            tolerate_data_loss: !reading.fail_on_data_loss,
            fetch_timeout_ms: u64::try_from(reading.fetch_timeout.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl TryFrom<Option<wire::ReadOptions>> for ReadOptions {
    type Error = Error;

    fn try_from(reading: Option<wire::ReadOptions>) -> Result<Self> {
        let reading = reading.unwrap_or_default();
        let format = match wire::Format::try_from(reading.format) {
            Ok(wire::Format::Raw) => Format::Raw,
            Ok(wire::Format::Images) => Format::Images,
            Ok(wire::Format::Predictions) => Format::Predictions,
            Ok(wire::Format::Letters) => Format::Letters,
            Ok(wire::Format::Unspecified) | Err(_) => {
                return Err(damaged("it holds a format of Kafka values that this process does not know"));
            }
        };
        Ok(Self {
            format,
            mode: if reading.permissive { Mode::Permissive } else { Mode::FailFast },
            isolation: match reading.read_uncommitted {
                true => Isolation::ReadUncommitted,
                false => Isolation::ReadCommitted,
            },
            fail_on_data_loss: !reading.tolerate_data_loss,
            fetch_timeout: Duration::from_millis(reading.fetch_timeout_ms),
        })
    }
}

impl From<&Bound> for wire::Bound {
    fn from(bound: &Bound) -> Self {
        use wire::bound::{Edge, Kind, Offsets};
        let kind = match bound {
            Bound::Earliest => Kind::Earliest(Edge {}),
            Bound::Latest => Kind::Latest(Edge {}),
            Bound::Timestamp(millis) => Kind::Timestamp(*millis),
            Bound::Offsets(offsets) => {
                let raw = |at: &At| match at {
                    At::Earliest => -2,
                    At::Latest => -1,
                    At::Offset(offset) => *offset,
                };
                let by_partition = offsets.iter().map(|(partition, at)| (*partition, raw(at))).collect();
                Kind::Offsets(Offsets { by_partition })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<Option<wire::Bound>> for Bound {
    type Error = Error;

    fn try_from(bound: Option<wire::Bound>) -> Result<Self> {
        use wire::bound::Kind;
        Ok(match bound.and_then(|bound| bound.kind) {
            Some(Kind::Earliest(_)) => Self::Earliest,
            Some(Kind::Latest(_)) => Self::Latest,
            Some(Kind::Timestamp(millis)) => Self::Timestamp(millis),
            Some(Kind::Offsets(offsets)) => {
                let at = |raw| match raw {
                    -2 => Ok(At::Earliest),
                    -1 => Ok(At::Latest),
                    offset if offset >= 0 => Ok(At::Offset(offset)),
                    other => Err(damaged(format!("{other} is no offset"))),
                };
                let offsets = offsets.by_partition.into_iter().map(|(id, raw)| Ok((id, at(raw)?)));
                Self::Offsets(offsets.collect::<Result<_>>()?)
            }
            None => return Err(damaged("a Kafka table has no bound")),
        })
    }
}

impl From<&TableOptions> for wire::Table {
    fn from(options: &TableOptions) -> Self {
        let reading = ReadOptions {
            format: options.format,
            mode: options.mode,
            isolation: options.isolation,
            fail_on_data_loss: options.fail_on_data_loss,
            fetch_timeout: options.fetch_timeout,
        };
        Self {
            connection: options.connection.clone(),
            topic: options.topic.clone(),
            reading: Some(reading.into()),
            start: Some((&options.start).into()),
            end: Some((&options.end).into()),
            max_records_per_partition: options.part_size.max,
            min_records_per_partition: options.part_size.min,
            more_topics: options.more_topics.clone(),
            may_be_missing: options.may_be_missing,
        }
    }
}

impl TryFrom<wire::Table> for TableOptions {
    type Error = Error;

    fn try_from(table: wire::Table) -> Result<Self> {
        let reading = ReadOptions::try_from(table.reading)?;
        Ok(Self {
            connection: table.connection,
            topic: table.topic,
            more_topics: table.more_topics,
            may_be_missing: table.may_be_missing,
            format: reading.format,
            mode: reading.mode,
            start: table.start.try_into()?,
            end: table.end.try_into()?,
            fail_on_data_loss: reading.fail_on_data_loss,
            isolation: reading.isolation,
            part_size: PartSize {
                max: table.max_records_per_partition,
                min: table.min_records_per_partition,
            },
            fetch_timeout: reading.fetch_timeout,
        })
    }
}

impl From<&ScanSpec> for wire::Scan {
    fn from(spec: &ScanSpec) -> Self {
        let reading = ReadOptions {
            format: spec.format,
            mode: spec.mode,
            isolation: spec.isolation,
            fail_on_data_loss: spec.fail_on_data_loss,
            fetch_timeout: spec.fetch_timeout,
        };
        Self {
            connection: spec.connection.clone(),
            topic: spec.topic.clone(),
            reading: Some(reading.into()),
            columns: spec.columns.iter().map(|column| u32::try_from(*column).unwrap_or(u32::MAX)).collect(),
            limit: spec.limit,
            batch_rows: spec.batch_rows as u64,
        }
    }
}

impl TryFrom<wire::Scan> for ScanSpec {
    type Error = Error;

    fn try_from(scan: wire::Scan) -> Result<Self> {
        let reading = ReadOptions::try_from(scan.reading)?;
        Ok(Self {
            connection: scan.connection,
            topic: scan.topic,
            format: reading.format,
            mode: reading.mode,
            isolation: reading.isolation,
            fail_on_data_loss: reading.fail_on_data_loss,
            fetch_timeout: reading.fetch_timeout,
            columns: scan
                .columns
                .into_iter()
                .map(|column| usize::try_from(column).map_err(damaged))
                .collect::<Result<_>>()?,
            limit: scan.limit,
            batch_rows: to_usize(scan.batch_rows)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::TableReference;
    use datafusion::execution::TaskContext;
    use datafusion::physical_plan::{ExecutionPlanProperties, displayable};
    use datafusion_proto::physical_plan::AsExecutionPlan;
    use datafusion_proto::protobuf::PhysicalPlanNode;
    use proptest::prelude::*;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::Config;
    use crate::config::DEFAULT_CONNECTION;
    use crate::connectors::kafka::Kafka;
    use crate::connectors::kafka::read::spec::OffsetRange;
    use crate::connectors::kafka::schema::table_schema;
    use crate::connectors::registry::Connectors;
    use crate::plan::codec::{logical, physical};

    fn connectors() -> (Runtime, Arc<Connectors>) {
        let runtime = Runtime::new().unwrap();
        let mut config = Config::default();
        config.kafka.bootstrap = "broker.example.org:9092".to_owned();
        config.kafka.properties.insert("sasl.password", "hunter2");
        let connectors = Arc::new(Connectors::new(&config, runtime.handle().clone()));
        (runtime, connectors)
    }

    fn named(connectors: &Connectors) -> Connections {
        connectors.get::<Kafka>().unwrap().connections.clone()
    }

    fn holds_no_secret(bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        !text.contains("hunter2") && !text.contains("broker.example.org")
    }

    fn bound() -> impl Strategy<Value = Bound> {
        let at = prop_oneof![Just(At::Earliest), Just(At::Latest), (0..i64::MAX).prop_map(At::Offset)];
        prop_oneof![
            Just(Bound::Earliest),
            Just(Bound::Latest),
            any::<i64>().prop_map(Bound::Timestamp),
            prop::collection::btree_map(any::<i32>(), at, 0..5).prop_map(Bound::Offsets),
        ]
    }

    fn options() -> impl Strategy<Value = TableOptions> {
        let format =
            prop::sample::select(vec![Format::Raw, Format::Images, Format::Predictions, Format::Letters]);
        let flags = any::<[bool; 4]>();
        let topics = ("[a-zA-Z0-9._-]{1,12}", prop::collection::vec("[a-z.]{1,9}", 0..3));
        (".{0,12}", topics, format, flags, bound(), bound(), any::<[u64; 2]>(), any::<u32>()).prop_map(
            |(connection, topics, format, flags, start, end, sizes, timeout)| TableOptions {
                connection,
                topic: topics.0,
                more_topics: topics.1,
                may_be_missing: flags[3],
                format,
                mode: if flags[0] { Mode::Permissive } else { Mode::FailFast },
                start,
                end,
                fail_on_data_loss: flags[1],
                isolation: if flags[2] { Isolation::ReadCommitted } else { Isolation::ReadUncommitted },
                part_size: PartSize { max: sizes[0], min: sizes[1] },
                fetch_timeout: Duration::from_millis(timeout.into()),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_table_comes_back_as_it_was(options in options()) {
            let (_runtime, connectors) = connectors();
            let codec = logical(&connectors);
            let name = TableReference::bare("t");
            let schema = table_schema(options.format, options.mode);
            let table = Arc::new(KafkaTable::new(named(&connectors), options.clone()));
            let mut bytes = Vec::new();
            codec.try_encode_table_provider(&name, table, &mut bytes).unwrap();
            prop_assert!(holds_no_secret(&bytes));
            let decoded =
                codec.try_decode_table_provider(&bytes, &name, Arc::clone(&schema), &TaskContext::default()).unwrap();
            prop_assert_eq!(decoded.schema(), schema);
            prop_assert_eq!(&decoded.downcast_ref::<KafkaTable>().unwrap().options, &options);
        }

        #[test]
        fn a_scan_comes_back_as_it_was(
            options in options(),
            limit in prop::option::of(any::<u64>()),
            batch_rows in 1..100_000_usize,
            columns in prop::sample::subsequence((0..8).collect::<Vec<usize>>(), 0..=8),
            ranges in prop::collection::vec((0..9_i32, 0..i64::MAX, 0..i64::MAX), 0..5),
        ) {
            let (_runtime, connectors) = connectors();
            let codec = physical(&connectors);
            let connection = connectors.get::<Kafka>().unwrap().connection(DEFAULT_CONNECTION).unwrap();
            let spec = ScanSpec {
                connection: DEFAULT_CONNECTION.to_owned(),
                topic: options.topic,
                format: options.format,
                mode: options.mode,
                isolation: options.isolation,
                fail_on_data_loss: options.fail_on_data_loss,
                fetch_timeout: options.fetch_timeout,
                columns,
                limit,
                batch_rows,
            };
            let ranges: Vec<OffsetRange> = ranges
                .into_iter()
                .map(|(partition, a, b)| OffsetRange { partition, start: a.min(b), end: a.max(b) })
                .collect();
            let scan: Arc<dyn ExecutionPlan> =
                Arc::new(KafkaScanExec::try_new(spec.clone(), connection, &ranges).unwrap());
            let shown = displayable(scan.as_ref()).indent(true).to_string();
            let node = PhysicalPlanNode::try_from_physical_plan(scan, codec.as_ref()).unwrap();
            let mut bytes = Vec::new();
            node.try_encode(&mut bytes).unwrap();
            prop_assert!(holds_no_secret(&bytes));
            let node = PhysicalPlanNode::try_decode(&bytes).unwrap();
            let decoded = node.try_into_physical_plan(&TaskContext::default(), codec.as_ref()).unwrap();
            prop_assert_eq!(decoded.downcast_ref::<KafkaScanExec>().unwrap().spec(), &spec);
            prop_assert_eq!(decoded.output_partitioning().partition_count(), ranges.len().max(1));
            prop_assert_eq!(displayable(decoded.as_ref()).indent(true).to_string(), shown);
        }
    }
}
