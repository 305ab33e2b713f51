//! Parquet files of images, read a block of rows at a time.
//!
//! ```text
//!  get(row) ──▶ a block that was read lately? ──▶ the reader that stands before it? ──▶ a new reader at the row's block
//! ```
//!
//! A few blocks and a few readers are kept, as producers read side by side, each in order. A block has about 4 MiB of images by the
//! average of the file, so that a file of any size takes the same memory; the pages of the file are as large as its writer has made them.

mod classes;
mod columns;

use super::{Digests, Error, Image, Options, Result, add_text, image};
use arrow::array::{
    Array, ArrayRef, AsArray as _, Int64Array, LargeBinaryArray, LargeStringArray, RecordBatch, StructArray,
    make_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use bytes::Bytes;
use classes::Classes;
use columns::{Columns, find};
use firesteel_proto::Label;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The bytes of images in a block, on average.
const BLOCK_BYTES: usize = 4 << 20;
/// The rows of a block, at most.
const BLOCK_ROWS: usize = 256;
/// Blocks and readers that are kept.
const KEPT: usize = 16;
/// The bytes that are read at once for a digest.
const PIECE: usize = 1 << 20;

/// Where the bytes of a file come from.
#[derive(Debug)]
pub(super) enum Input {
    Bytes(Bytes),
    File(File),
}

/// A Parquet file of images.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    input: Input,
    metadata: ArrowReaderMetadata,
    columns: Columns,
    rows: usize,
    /// Rows of a block.
    block: usize,
    max_image_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    readers: VecDeque<Reader>,
    blocks: VecDeque<Arc<Block>>,
    classes: Classes,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (readers, blocks) = (self.readers.len(), self.blocks.len());
        f.debug_struct("State").field("readers", &readers).field("blocks", &blocks).finish()
    }
}

/// A reader, and the row that it reads next.
struct Reader {
    batches: ParquetRecordBatchReader,
    next: usize,
}

/// Rows that have been read.
struct Block {
    first: usize,
    images: LargeBinaryArray,
    labels: Option<ArrayRef>,
    /// Names of images, and the numbers of their classes, where the file has the layout of the shipped one.
    own: Option<(LargeStringArray, Int64Array)>,
}

impl Block {
    fn holds(&self, row: usize) -> bool {
        (self.first..self.first + self.images.len()).contains(&row)
    }
}

/// Refuses options that only Parquet files have.
pub(super) fn refuse_options(options: &Options, path: &Path) -> Result<()> {
    let columns = [("--image-column", &options.image_column), ("--label-column", &options.label_column)];
    let column = columns.into_iter().find_map(|(flag, column)| column.as_ref().map(|_| flag));
    let classes = (!options.classes.is_empty()).then_some("--classes");
    match column.or(classes) {
        None => Ok(()),
        Some(flag) => {
            let reason = format!("{flag} is for a Parquet file, and these are files of images");
            Err(Error::Option { path: path.to_owned(), reason })
        }
    }
}

impl Table {
    /// Opens the file at `path`.
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::new(Input::File(file), path, options)
    }

    /// Reads the footer of a file and finds its columns; `path` is for errors.
    pub(super) fn new(input: Input, path: &Path, options: &Options) -> Result<Self> {
        let asked = ArrowReaderOptions::new();
        let metadata = match &input {
            Input::Bytes(bytes) => ArrowReaderMetadata::load(bytes, asked),
            Input::File(file) => ArrowReaderMetadata::load(file, asked),
        };
        let metadata = metadata.map_err(|source| Error::Format { path: path.to_owned(), source })?;
        let told = metadata.metadata().file_metadata().key_value_metadata().into_iter().flatten();
        let told = told.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect();
        let columns = find(metadata.schema(), &told, path, options)?;
        let groups = metadata.metadata().row_groups();
        let rows = groups.iter().map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).sum();
        let bytes =
            groups.iter().map(|group| usize::try_from(group.total_byte_size()).unwrap_or(0)).sum::<usize>();
        let average = bytes / usize::max(rows, 1);
        let block = (BLOCK_BYTES / average.max(1)).clamp(1, BLOCK_ROWS);
        let (path, max_image_bytes) = (path.to_owned(), options.max_image_bytes);
        Ok(Self { path, input, metadata, columns, rows, block, max_image_bytes, state: Mutex::default() })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Reads a row, which is one of the file's.
    pub(super) fn get(&self, row: usize) -> Result<Image> {
        let block = self.block_of(row)?;
        let index = row - block.first;
        let name = match &block.own {
            Some((names, _)) if names.is_valid(index) => names.value(index).to_owned(),
            _ => format!("{}, row {row}", self.path.display()),
        };
        let bad =
            |reason: String| Error::Image { name: format!("{}, row {row}", self.path.display()), reason };
        if block.images.is_null(index) {
            return Err(bad("it is null".to_owned()));
        }
        let label = self.label(&block, index).map_err(bad)?;
        let data = Bytes::copy_from_slice(block.images.value(index));
        image(name, label, data, self.max_image_bytes).map_err(|error| match error {
            Error::Image { reason, .. } => bad(reason),
            other => other,
        })
    }

    fn label(&self, block: &Block, index: usize) -> Result<Option<Label>, String> {
        let (Some(column), Some(values)) = (&self.columns.label, &block.labels) else { return Ok(None) };
        if let Some((_, numbers)) = &block.own {
            let name = values.is_valid(index).then(|| values.as_string::<i64>().value(index));
            let number = numbers.is_valid(index).then(|| numbers.value(index));
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            return state.classes.of(number, name);
        }
        if values.is_null(index) {
            return Ok(None);
        }
        let Some(names) = &column.names else {
            let text = values.as_string::<i64>().value(index);
            return Label::optional("label", text).map_err(|error| error.to_string());
        };
        match values.as_primitive::<Int64Type>().value(index) {
            // What Hugging Face writes where the label is not known.
            -1 => Ok(None),
            number => {
                let name = usize::try_from(number).ok().and_then(|number| names.get(number));
                let none = || format!("its label is {number}, and there are {} classes, from 0", names.len());
                name.cloned().map(Some).ok_or_else(none)
            }
        }
    }

    /// The block that has a row.
    fn block_of(&self, row: usize) -> Result<Arc<Block>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { readers, blocks, .. } = &mut *state;
        if let Some(place) = blocks.iter().position(|block| block.holds(row)) {
            // The one that was not asked for the longest goes first.
            let Some(block) = blocks.remove(place) else { return Err(self.lost(row)) };
            blocks.push_back(Arc::clone(&block));
            return Ok(block);
        }
        let near = |reader: &Reader| (reader.next..reader.next + self.block).contains(&row);
        let at = readers.iter().position(near).and_then(|place| readers.remove(place));
        let mut reader = match at {
            Some(reader) => reader,
            None => self.reader_at(row - row % self.block).map_err(|source| self.broken(source))?,
        };
        let block = loop {
            let batch = reader.batches.next().ok_or_else(|| self.lost(row))?;
            let batch = batch.map_err(|error| self.broken(ParquetError::External(Box::new(error))))?;
            let first = reader.next;
            reader.next += batch.num_rows();
            if row < reader.next {
                break Arc::new(self.taken(first, &batch)?);
            }
        };
        keep(readers, reader);
        keep(blocks, Arc::clone(&block));
        Ok(block)
    }

    /// A reader whose first row is `row`.
    fn reader_at(&self, row: usize) -> Result<Reader, ParquetError> {
        let (mut groups, mut skipped) = (Vec::new(), 0);
        let mut before = 0;
        for (index, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let behind = before + usize::try_from(group.num_rows()).unwrap_or(0);
            if behind > row {
                groups.push(index);
            } else {
                skipped = behind;
            }
            before = behind;
        }
        let batches = match &self.input {
            Input::Bytes(bytes) => self.build(bytes.clone(), groups, row - skipped),
            // Readers share the position of the file; each sets it before it reads, and one reads at a time.
            Input::File(file) => self.build(file.try_clone()?, groups, row - skipped),
        };
        Ok(Reader { batches: batches?, next: row })
    }

    fn build(
        &self,
        input: impl ChunkReader + 'static,
        groups: Vec<usize>,
        offset: usize,
    ) -> Result<ParquetRecordBatchReader, ParquetError> {
        let Columns { image, label, own } = &self.columns;
        let own = own.iter().flat_map(|own| [own.name, own.number]);
        let roots = label.iter().map(|label| label.column).chain([*image]).chain(own);
        let schema = self.metadata.metadata().file_metadata().schema_descr();
        ParquetRecordBatchReaderBuilder::new_with_metadata(input, self.metadata.clone())
            .with_projection(ProjectionMask::roots(schema, roots))
            .with_row_groups(groups)
            .with_offset(offset)
            .with_batch_size(self.block)
            .build()
    }

    /// Takes the columns out of a batch, in the types that they are used in.
    fn taken(&self, first: usize, batch: &RecordBatch) -> Result<Block> {
        let schema = self.metadata.schema();
        let failed = |error| self.broken(ParquetError::External(Box::new(error)));
        let column = |place: usize, kind: &DataType| {
            let field = schema.field(place);
            let missing = || self.broken(ParquetError::General(format!("column {} is gone", field.name())));
            let array = batch.column_by_name(field.name()).ok_or_else(missing)?;
            let bytes = match array.as_struct_opt() {
                Some(parts) => bytes_of(parts).map_err(failed)?.ok_or_else(missing)?,
                None => Arc::clone(array),
            };
            cast(&bytes, kind).map_err(failed)
        };
        let images = column(self.columns.image, &DataType::LargeBinary)?.as_binary::<i64>().clone();
        let labels = self.columns.label.as_ref().map(|label| {
            let kind = if label.names.is_some() { DataType::Int64 } else { DataType::LargeUtf8 };
            column(label.column, &kind)
        });
        let own = self.columns.own.map(|own| {
            let names = column(own.name, &DataType::LargeUtf8)?.as_string::<i64>().clone();
            let numbers = column(own.number, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
            Ok((names, numbers))
        });
        Ok(Block { first, images, labels: labels.transpose()?, own: own.transpose()? })
    }

    /// Adds what tells this file from others: the rows of one in the layout of the shipped one, else all of its bytes and what is
    /// read of them.
    pub(super) fn add_to(&self, digests: &mut Digests) -> Result<()> {
        if self.columns.own.is_some() {
            return (0..self.rows).try_for_each(|row| self.add_row(row, digests));
        }
        digests.former = None;
        self.add_columns(&mut digests.now);
        let failed = |source| Error::Read { path: self.path.clone(), source };
        if let Input::Bytes(bytes) = &self.input {
            digests.now.update(bytes);
            return Ok(());
        }
        // A handle of its own: readers have a position that they share.
        let (mut file, mut piece) = (File::open(&self.path).map_err(failed)?, vec![0; PIECE]);
        loop {
            match file.read(&mut piece).map_err(failed)? {
                0 => return Ok(()),
                read => digests.now.update(piece.get(..read).unwrap_or_default()),
            }
        }
    }

    /// Adds the columns of images and labels and the names of the classes: the same bytes, read otherwise, are other images.
    fn add_columns(&self, digest: &mut Sha256) {
        let Columns { image, label, .. } = &self.columns;
        let schema = self.metadata.schema();
        let columns = std::iter::once(*image).chain(label.iter().map(|label| label.column));
        let names = label.iter().flat_map(|label| label.names.iter().flatten()).map(Label::as_str);
        let texts: Vec<&str> =
            columns.map(|column| schema.field(column).name().as_str()).chain(names).collect();
        digest.update((texts.len() as u64).to_le_bytes());
        texts.into_iter().for_each(|text| add_text(digest, text));
    }

    /// Adds the name of a row's class and its image; to the former digest the number of the class, where it is a byte.
    fn add_row(&self, row: usize, digests: &mut Digests) -> Result<()> {
        let block = self.block_of(row)?;
        let index = row - block.first;
        let names = block.labels.as_ref().filter(|names| names.is_valid(index));
        let name = names.map_or("", |names| names.as_string::<i64>().value(index));
        let number = block.own.as_ref().filter(|(_, numbers)| numbers.is_valid(index));
        let number = number.and_then(|(_, numbers)| u8::try_from(numbers.value(index)).ok());
        let jpeg: &[u8] = if block.images.is_null(index) { &[] } else { block.images.value(index) };
        let length = (jpeg.len() as u64).to_le_bytes();
        // A name has at most 128 bytes.
        digests.now.update([u8::try_from(name.len()).unwrap_or(u8::MAX)]);
        for part in [name.as_bytes(), &length, jpeg] {
            digests.now.update(part);
        }
        digests.former = digests.former.take().zip(number).map(|(mut former, number)| {
            for part in [&[number][..], &length, jpeg] {
                former.update(part);
            }
            former
        });
        Ok(())
    }

    fn broken(&self, source: ParquetError) -> Error {
        Error::Format { path: self.path.clone(), source }
    }

    fn lost(&self, row: usize) -> Error {
        self.broken(ParquetError::EOF(format!("the footer tells of row {row}, and the file has none")))
    }
}

/// The field `bytes` of a structure; a structure that is null has none, whatever its field holds.
fn bytes_of(parts: &StructArray) -> Result<Option<ArrayRef>, ArrowError> {
    let Some(bytes) = parts.column_by_name("bytes") else { return Ok(None) };
    let nulls = NullBuffer::union(parts.nulls(), bytes.nulls());
    bytes.to_data().into_builder().nulls(nulls).build().map(make_array).map(Some)
}

/// Puts something behind the others, and drops the first where there are too many.
fn keep<T>(queue: &mut VecDeque<T>, new: T) {
    if queue.len() >= KEPT {
        queue.pop_front();
    }
    queue.push_back(new);
}
