//! The scan of a folder as a physical node.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

use super::reader;
use super::spec::{ScanSpec, bytes_of, describe, descriptor_schema};
use crate::connectors::descriptors::{Execution, Input, Operator, OperatorExec};
use crate::connectors::files::FileStores;
use crate::connectors::images::folder::ImageFile;
use crate::connectors::images::schema::reads_files;

/// Reads the files that its descriptors name.
#[derive(Debug)]
pub(crate) struct ImageScan {
    spec: Arc<ScanSpec>,
    schema: SchemaRef,
    files: Arc<FileStores>,
}

/// The scan of a folder.
pub(crate) type ImageScanExec = OperatorExec<ImageScan>;

impl ImageScanExec {
    /// A scan of `parts`, one a partition; of one empty partition where there are none.
    pub(crate) fn try_new(spec: ScanSpec, files: Arc<FileStores>, parts: &[Vec<ImageFile>]) -> Result<Self> {
        let mut descriptors =
            parts.iter().map(|part| describe(part)).collect::<Result<Vec<RecordBatch>>>()?;
        if descriptors.is_empty() {
            descriptors.push(describe(&[])?);
        }
        Self::over(ImageScan::try_new(spec, files)?, descriptor_schema(), descriptors)
    }

    /// A scan of the files that `descriptors`, which came with a plan, name.
    pub(crate) fn decoded(
        spec: ScanSpec,
        files: Arc<FileStores>,
        descriptors: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        Ok(Self::new(ImageScan::try_new(spec, files)?, descriptors))
    }

    pub(crate) fn spec(&self) -> &ScanSpec {
        &self.operator().spec
    }
}

impl ImageScan {
    fn try_new(spec: ScanSpec, files: Arc<FileStores>) -> Result<Self> {
        Ok(Self { schema: spec.schema()?, spec: Arc::new(spec), files })
    }
}

impl Operator for ImageScan {
    fn name(&self) -> &'static str {
        "ImageScanExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn fmt_as(&self, input: &Input<'_>, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let (folder, partitions) = (self.spec.folder.name(), input.partitions());
        let columns = columns.join(", ");
        write!(f, "ImageScanExec: location={folder}, partitions={partitions}, projection=[{columns}]")?;
        if let Some(descriptors) = input.descriptors() {
            let files: usize = descriptors.iter().map(RecordBatch::num_rows).sum();
            write!(f, ", files={files}")?;
            if reads_files(&self.schema) {
                write!(f, ", bytes={}", descriptors.iter().map(bytes_of).sum::<u64>())?;
            }
        }
        write!(f, ", mode={}", self.spec.reading.mode)
    }

    fn execute(
        self: Arc<Self>,
        descriptors: SendableRecordBatchStream,
        Execution { partition, metrics, .. }: Execution<'_>,
    ) -> Result<SendableRecordBatchStream> {
        let (spec, store) = (Arc::clone(&self.spec), self.spec.folder.store(&self.files)?);
        reader::read(spec, Arc::clone(&self.schema), store, descriptors, metrics, partition)
    }
}
