//! How tables and scans over folders of images travel in a plan.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::physical_plan::ExecutionPlan;
use prost::Message as _;

use super::config::{MOST_MAX_BYTES, Reading, TableOptions};
use super::context::Context;
use super::folder::Folder;
use super::pattern::FileOptions;
use super::plan::table::ImageTable;
use super::read::scan::ImageScanExec;
use super::read::spec::ScanSpec;
use crate::config::ReadMode;
use crate::connectors::descriptors::one_input;
use crate::wire::{damaged, to_usize};
use crate::{Error, Result};

/// What prost generates. Only this module looks inside.
#[allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    reason = "generated code; images.proto has the documentation"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/firesteel.images.v1.rs"));
}

/// A table as bytes; `None` where it is another's.
pub(super) fn encode_table(table: &dyn TableProvider) -> Option<Vec<u8>> {
    let table = table.downcast_ref::<ImageTable>()?;
    Some(wire::Table::from(&table.options).encode_to_vec())
}

/// The table in bytes of [`encode_table`]. Its schema follows from its options.
pub(super) fn decode_table(
    context: &Context,
    bytes: &[u8],
) -> datafusion::error::Result<Arc<dyn TableProvider>> {
    let options = TableOptions::try_from(wire::Table::decode(bytes).map_err(damaged)?)?;
    Ok(Arc::new(ImageTable::new(context.clone(), options)))
}

/// A scan as bytes; `None` where the node is another's.
pub(super) fn encode_node(node: &dyn ExecutionPlan) -> Option<Vec<u8>> {
    let scan = node.downcast_ref::<ImageScanExec>()?;
    Some(wire::Scan::from(scan.spec()).encode_to_vec())
}

/// The scan in bytes of [`encode_node`].
pub(super) fn decode_node(
    context: &Context,
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
    let descriptors = one_input("a scan of images", inputs)?;
    let spec = ScanSpec::try_from(wire::Scan::decode(bytes).map_err(damaged)?)?;
    Ok(Arc::new(ImageScanExec::decoded(spec, Arc::clone(&context.files), descriptors)?))
}

impl From<Reading> for wire::Reading {
    fn from(reading: Reading) -> Self {
        Self {
            unlabelled: !reading.labels,
            permissive: reading.mode == ReadMode::Permissive,
            max_bytes: reading.max_bytes,
        }
    }
}

impl TryFrom<Option<wire::Reading>> for Reading {
    type Error = Error;

    fn try_from(reading: Option<wire::Reading>) -> Result<Self> {
        let reading = reading.unwrap_or_default();
        if reading.max_bytes > MOST_MAX_BYTES {
            return Err(damaged(format!("a file of images may have {MOST_MAX_BYTES} bytes at most")));
        }
        Ok(Self {
            labels: !reading.unlabelled,
            mode: if reading.permissive { ReadMode::Permissive } else { ReadMode::FailFast },
            max_bytes: reading.max_bytes,
        })
    }
}

impl From<&TableOptions> for wire::Table {
    fn from(options: &TableOptions) -> Self {
        let TableOptions { folder, files, reading } = options;
        Self {
            location: folder.address().to_owned(),
            pattern: files.pattern.as_ref().map(|pattern| pattern.text().to_owned()),
            flat: !files.recursive,
            reading: Some((*reading).into()),
        }
    }
}

impl TryFrom<wire::Table> for TableOptions {
    type Error = Error;

    fn try_from(table: wire::Table) -> Result<Self> {
        let pattern = table.pattern.map(|pattern| pattern.parse().map_err(damaged)).transpose()?;
        Ok(Self {
            folder: Folder::parse(&table.location)?,
            files: FileOptions { pattern, recursive: !table.flat },
            reading: table.reading.try_into()?,
        })
    }
}

impl From<&ScanSpec> for wire::Scan {
    fn from(spec: &ScanSpec) -> Self {
        Self {
            location: spec.folder.address().to_owned(),
            reading: Some(spec.reading.into()),
            columns: spec.columns.iter().map(|column| u32::try_from(*column).unwrap_or(u32::MAX)).collect(),
            batch_rows: spec.batch_rows as u64,
        }
    }
}

impl TryFrom<wire::Scan> for ScanSpec {
    type Error = Error;

    fn try_from(scan: wire::Scan) -> Result<Self> {
        Ok(Self {
            folder: Folder::parse(&scan.location)?,
            reading: scan.reading.try_into()?,
            columns: scan
                .columns
                .into_iter()
                .map(|column| usize::try_from(column).map_err(damaged))
                .collect::<Result<_>>()?,
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
    use crate::connectors::images::folder::ImageFile;
    use crate::connectors::images::schema::table_schema;
    use crate::connectors::images::{Images, folder};
    use crate::connectors::registry::Connectors;
    use crate::plan::codec::{logical, physical};

    fn connectors() -> (Runtime, Arc<Connectors>) {
        let runtime = Runtime::new().unwrap();
        let connectors = Arc::new(Connectors::new(&Config::default(), runtime.handle().clone()));
        (runtime, connectors)
    }

    fn options() -> impl Strategy<Value = TableOptions> {
        let pattern = prop::option::of("[a-z*?/.]{1,4}[a-z]");
        let location = prop_oneof!["/[a-z é%#?]{1,8}", "s3://bucket/[a-z]{0,5}"];
        (location, pattern, any::<[bool; 3]>(), 0..=MOST_MAX_BYTES).prop_filter_map(
            "the pattern is one",
            |(location, pattern, flags, max_bytes)| {
                let pattern = pattern.map(|pattern| pattern.parse()).transpose().ok()?;
                Some(TableOptions {
                    folder: folder::Folder::parse(&location).ok()?,
                    files: FileOptions { pattern, recursive: flags[0] },
                    reading: Reading {
                        labels: flags[1],
                        mode: if flags[2] { ReadMode::Permissive } else { ReadMode::FailFast },
                        max_bytes,
                    },
                })
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
            let schema = table_schema(options.reading.mode);
            let context = connectors.get::<Images>().unwrap().context.clone();
            let table = Arc::new(ImageTable::new(context, options.clone()));
            let mut bytes = Vec::new();
            codec.try_encode_table_provider(&name, table, &mut bytes).unwrap();
            let decoded =
                codec.try_decode_table_provider(&bytes, &name, Arc::clone(&schema), &TaskContext::default()).unwrap();
            prop_assert_eq!(decoded.schema(), schema);
            prop_assert_eq!(&decoded.downcast_ref::<ImageTable>().unwrap().options, &options);
        }

        #[test]
        fn a_scan_comes_back_as_it_was(
            options in options(),
            batch_rows in 1..100_000_usize,
            columns in prop::sample::subsequence((0..5).collect::<Vec<usize>>(), 0..=5),
            parts in prop::collection::vec(prop::collection::vec(("[a-z]{1,3}", 0..9_u64, any::<i64>()), 1..4), 0..4),
        ) {
            let (_runtime, connectors) = connectors();
            let codec = physical(&connectors);
            let files = Arc::clone(&connectors.get::<Images>().unwrap().context.files);
            let spec = ScanSpec { folder: options.folder, reading: options.reading, columns, batch_rows };
            let file = |(relative, size, modified)| ImageFile { relative, size, modified };
            let parts: Vec<Vec<ImageFile>> =
                parts.into_iter().map(|part| part.into_iter().map(file).collect()).collect();
            let scan: Arc<dyn ExecutionPlan> =
                Arc::new(ImageScanExec::try_new(spec.clone(), files, &parts).unwrap());
            let shown = displayable(scan.as_ref()).indent(true).to_string();
            let node = PhysicalPlanNode::try_from_physical_plan(scan, codec.as_ref()).unwrap();
            let mut bytes = Vec::new();
            node.try_encode(&mut bytes).unwrap();
            let node = PhysicalPlanNode::try_decode(&bytes).unwrap();
            let decoded = node.try_into_physical_plan(&TaskContext::default(), codec.as_ref()).unwrap();
            prop_assert_eq!(decoded.downcast_ref::<ImageScanExec>().unwrap().spec(), &spec);
            prop_assert_eq!(decoded.output_partitioning().partition_count(), parts.len().max(1));
            prop_assert_eq!(displayable(decoded.as_ref()).indent(true).to_string(), shown);
        }
    }

    #[test]
    fn damage_is_an_error() {
        let (_runtime, connectors) = connectors();
        let context = connectors.get::<Images>().unwrap().context.clone();
        assert!(decode_table(&context, b"\xff").is_err());
        for (location, pattern) in [("", None), ("/data", Some("a[".to_owned()))] {
            let table = wire::Table { location: location.to_owned(), pattern, ..wire::Table::default() };
            assert!(decode_table(&context, &table.encode_to_vec()).is_err(), "{location}");
        }
        for (max_bytes, expected) in [(MOST_MAX_BYTES, true), (MOST_MAX_BYTES + 1, false), (u64::MAX, false)]
        {
            let reading = Some(wire::Reading { max_bytes, ..wire::Reading::default() });
            let table = wire::Table { location: "/data".to_owned(), reading, ..wire::Table::default() };
            assert_eq!(TableOptions::try_from(table).is_ok(), expected, "a table of {max_bytes}");
            let scan =
                wire::Scan { location: "/data".to_owned(), reading, batch_rows: 1, ..wire::Scan::default() };
            assert_eq!(ScanSpec::try_from(scan).is_ok(), expected, "a scan of {max_bytes}");
        }
    }
}
