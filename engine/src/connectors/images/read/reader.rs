//! Reads the files of one partition: some at a time, a batch after the other, each when it is asked for.
//!
//! A row says of a file what the listing said when the query was planned. A file that has changed since, that is gone, too large
//! or not to be read has no image: the query fails, or the row says why, as the table's mode has it. So no row has the size of one
//! file and the bytes of another.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::object_store::{ObjectStore, ObjectStoreExt as _};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use prost::bytes::Bytes;

use super::batches::{BATCH_BYTES, next_batch};
use super::spec::{ScanSpec, files_of};
use crate::Error;
use crate::config::ReadMode;
use crate::connectors::images::error::unread;
use crate::connectors::images::folder::ImageFile;
use crate::connectors::images::schema::{ERROR, FILE_COLUMNS, IMAGE, listing, reads_files};
use crate::connectors::metrics::bytes_scanned;

/// Files of a batch that are read at the same time: where they are far away, each takes a while to come.
const AT_ONCE: usize = 8;

/// The rows of the files in `descriptors`.
pub(crate) fn read(
    spec: Arc<ScanSpec>,
    schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    descriptors: SendableRecordBatchStream,
    metrics: &ExecutionPlanMetricsSet,
    partition: usize,
) -> Result<SendableRecordBatchStream> {
    let columns = Arc::clone(&schema);
    let (baseline, bytes) = (BaselineMetrics::new(metrics, partition), bytes_scanned(metrics, partition));
    let batches = async move {
        let files: Vec<Vec<ImageFile>> =
            descriptors.and_then(|batch| async move { files_of(&batch) }).try_collect().await?;
        let reader = Reader { spec, schema: columns, store, files: files.concat(), next: 0, baseline, bytes };
        Ok::<_, DataFusionError>(stream::try_unfold(reader, |mut reader| async move {
            let batch = reader.next().await?;
            Ok::<_, DataFusionError>(batch.map(|batch| (batch, reader)))
        }))
    };
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::once(batches).try_flatten())))
}

/// The partition's own.
struct Reader {
    spec: Arc<ScanSpec>,
    schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    files: Vec<ImageFile>,
    /// The first file that is not yet read.
    next: usize,
    baseline: BaselineMetrics,
    bytes: Count,
}

/// What was read of a file: its bytes, or why there are none.
type Read = std::result::Result<Bytes, String>;

impl Reader {
    /// The next batch; `None` behind the last.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let spec = &self.spec;
        let reads = reads_files(&self.schema);
        // One that is too large is not read.
        let cost = |file: &ImageFile| if reads && spec.check_size(file).is_ok() { file.size } else { 0 };
        let window = &self.files[self.next..self.files.len().min(self.next + spec.batch_rows.max(1))];
        let sizes: Vec<u64> = window.iter().map(cost).collect();
        let files = &window[next_batch(&sizes, 0, spec.batch_rows, BATCH_BYTES)];
        if files.is_empty() {
            return Ok(None);
        }
        let elapsed = self.baseline.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let images: Vec<Read> = if reads {
            let fetches: Vec<_> = files.iter().map(|file| self.fetch(file)).collect();
            stream::iter(fetches).buffered(AT_ONCE).try_collect().await?
        } else {
            Vec::new()
        };
        let batch = self.batch(files, &images)?;
        self.next += files.len();
        self.baseline.record_output(batch.num_rows());
        Ok(Some(batch))
    }

    /// One file, or why not; an error where that ends the query.
    async fn fetch(&self, file: &ImageFile) -> Result<Read> {
        match self.image(file).await {
            Ok(bytes) => {
                self.bytes.add(bytes.len());
                Ok(Ok(bytes))
            }
            Err(Error::Location { message, .. }) if self.spec.reading.mode == ReadMode::Permissive => {
                Ok(Err(message))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn image(&self, file: &ImageFile) -> crate::Result<Bytes> {
        let spec = &self.spec;
        spec.check_size(file)?;
        let failed = |error| match unread(&spec.folder.path(&file.relative), error) {
            Error::Location { message, .. } => spec.unread(file, &message),
            refused => refused,
        };
        let location = spec.folder.location(&file.relative).map_err(failed)?;
        let found = self.store.get(&location).await.map_err(failed)?;
        let now = (found.meta.size, found.meta.last_modified.timestamp_millis());
        if now != (file.size, file.modified) {
            return Err(spec.unread(file, "it has changed since the query was planned"));
        }
        found.bytes().await.map_err(failed)
    }

    /// Files as rows. `images` is empty where none was read.
    fn batch(&self, files: &[ImageFile], images: &[Read]) -> Result<RecordBatch> {
        let Self { spec, schema, .. } = self;
        let known = listing(&spec.folder, spec.reading.labels, files);
        let column = |name: &str| -> Result<ArrayRef> {
            Ok(match name {
                IMAGE => {
                    let values = images.iter().map(|read| read.as_ref().ok());
                    Arc::new(values.collect::<BinaryArray>())
                }
                ERROR => {
                    let values = images.iter().map(|read| read.as_ref().err());
                    Arc::new(values.collect::<StringArray>())
                }
                name => {
                    let found = FILE_COLUMNS.iter().zip(&known).find(|(column, _)| **column == name);
                    let (_, found) = found
                        .ok_or_else(|| DataFusionError::Internal(format!("no column {name} of a folder")))?;
                    Arc::clone(found)
                }
            })
        };
        let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}
