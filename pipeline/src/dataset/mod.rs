//! The images that producers send, each with its true class where that is known.
//!
//! ```text
//!  none            ──▶ CIFAR-10's test set inside this program: 10,000 JPEG files with their classes
//!  FILE (Parquet)  ──▶ parquet: the columns of images and labels are told, or named      ┐
//!  FOLDER          ──▶ folder:  a subfolder is a class, as in torchvision's ImageFolder   ├─▶ Dataset: len, get(index)
//!  PATTERN         ──▶ glob:    `photos/**/*.jpg`, of images or of Parquet files          ┘
//! ```
//!
//! A data set has an order that depends on names alone, so that an index means the same image when the program is started
//! again. Opening one reads names, the first bytes of files and the footers of Parquet files. An image itself is read by
//! [`Dataset::get`], which checks it; what is held of a data set does not grow with the size of its images. What counts as an
//! image is decided by its first bytes. Which row a producer sends when is a pure function, [`row`].

mod error;
mod files;
mod folder;
mod glob;
mod parquet;

pub use error::{Error, Result};

use self::parquet::{Input, Table};
use crate::inference::decode::detect;
use bytes::Bytes;
use files::Files;
use firesteel_proto::{Encoding, Label};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The shipped file.
static SHIPPED: &[u8] = include_bytes!("../../assets/cifar10-test.parquet");
/// How many images it has.
pub const SHIPPED_IMAGES: usize = 10_000;
/// How the shipped file is called in an error.
const SHIPPED_NAME: &str = "(shipped) cifar10-test.parquet";

/// An image of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name in the data set: a path, a name in its row, or the row's number.
    pub name: String,
    /// Its true class, where that is known.
    pub label: Option<Label>,
    /// How `data` is to be read.
    pub encoding: Encoding,
    /// The image file; never empty.
    pub data: Bytes,
}

/// Where the true class of an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabelsFrom {
    /// A column of a Parquet file; the first subfolder of a folder; nowhere for a pattern.
    #[default]
    Usual,
    /// The folder that a file lies in.
    Parent,
    /// Nowhere: all images are without one.
    Nowhere,
}

/// Which data set, and how it is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// A Parquet file, a folder or a pattern; none for the shipped images.
    pub path: Option<PathBuf>,
    /// The column of images of a Parquet file; told from names and types if none.
    pub image_column: Option<String>,
    /// The column of labels of a Parquet file; told from names and types if none.
    pub label_column: Option<String>,
    /// The names of the classes 0, 1, … in a column of numbers.
    pub classes: Vec<String>,
    /// Where labels come from.
    pub labels: LabelsFrom,
    /// The most bytes of an image.
    pub max_image_bytes: usize,
    /// Whether files and folders that cannot be read while the data set is opened are left out, and told.
    pub skip_unreadable: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: None,
            image_column: None,
            label_column: None,
            classes: Vec::new(),
            labels: LabelsFrom::Usual,
            max_image_bytes: 16 << 20,
            skip_unreadable: false,
        }
    }
}

/// Images in a fixed order; at least one.
#[derive(Debug)]
pub struct Dataset {
    kind: Kind,
    notes: Vec<String>,
}

#[derive(Debug)]
enum Kind {
    /// Parquet files, one behind the other.
    Tables(Vec<Table>),
    Files(Files),
}

/// The digests of a data set while it is read.
struct Digests {
    now: Sha256,
    /// What ledgers have from a time when the number of a class meant the same name in every data set; none for a data set that
    /// could not be read then.
    former: Option<Sha256>,
}

/// The row of a data set of `rows` that producer `producer` sends as its image `sequence`, when every producer
/// sends `images`: producer *k* sends rows *k·images* to *(k+1)·images − 1*, wrapping at the end.
#[must_use]
pub fn row(producer: u64, images: u64, sequence: u64, rows: usize) -> usize {
    let first = u128::from(producer) * u128::from(images) % rows.max(1) as u128;
    row_after(usize::try_from(first).unwrap_or(0), sequence, rows)
}

/// The row of a data set of `rows` that a producer whose first image is that of row `first` sends as its image `sequence`.
#[must_use]
pub fn row_after(first: usize, sequence: u64, rows: usize) -> usize {
    let row = (first as u128 + u128::from(sequence)) % rows.max(1) as u128;
    usize::try_from(row).unwrap_or(0)
}

impl Dataset {
    /// Opens `path`, or the shipped images, with the usual options. Blocks.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn load(path: Option<&Path>) -> Result<Self> {
        Self::open(&Options { path: path.map(Path::to_owned), ..Options::default() })
    }

    /// Opens a data set. Blocks while names, first bytes and footers are read.
    ///
    /// # Errors
    /// An [`Error`] that names the path, and the column, the option or the file in it that cannot be used.
    pub fn open(options: &Options) -> Result<Self> {
        let Some(path) = &options.path else {
            let shipped = Input::Bytes(Bytes::from_static(SHIPPED));
            return Self::of_tables(vec![Table::new(shipped, Path::new(SHIPPED_NAME), options)?], options);
        };
        let found = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => folder::find(path, options)?,
            Ok(metadata) if metadata.is_file() => files::Found::one(path, options)?,
            Ok(_) => return Err(Error::Read { path: path.clone(), source: files::no_regular_file() }),
            Err(_) if glob::is_pattern(path) => glob::find(path, options)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Missing { path: path.clone() });
            }
            Err(source) => return Err(Error::Read { path: path.clone(), source }),
        };
        let mut dataset = match (found.images.is_empty(), found.tables.is_empty()) {
            (false, false) => return Err(found.two_kinds(path)),
            (false, true) => {
                parquet::refuse_options(options, path)?;
                Self { kind: Kind::Files(Files::new(found.images, options)), notes: Vec::new() }
            }
            (true, false) => {
                let tables = found.tables.iter().map(|path| Table::open(path, options));
                Self::of_tables(tables.collect::<Result<_>>()?, options)?
            }
            (true, true) => {
                return Err(Error::Empty { path: path.clone(), found: found.left_out.in_words() });
            }
        };
        dataset.notes.extend(found.left_out.notes(dataset.tables().len()));
        Ok(dataset)
    }

    fn of_tables(tables: Vec<Table>, options: &Options) -> Result<Self> {
        let path = options.path.clone().unwrap_or_else(|| SHIPPED_NAME.into());
        if tables.iter().all(|table| table.rows() == 0) {
            return Err(Error::Empty { path, found: "the file has no rows".to_owned() });
        }
        Ok(Self { kind: Kind::Tables(tables), notes: Vec::new() })
    }

    fn tables(&self) -> &[Table] {
        match &self.kind {
            Kind::Tables(tables) => tables,
            Kind::Files(_) => &[],
        }
    }

    /// How many images there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a data set has at least one image")]
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Tables(tables) => tables.iter().map(Table::rows).sum(),
            Kind::Files(files) => files.len(),
        }
    }

    /// Reads the image at `index`, from 0. Blocks. Neighbours of an image that was read lately cost less than others.
    ///
    /// # Errors
    /// [`Error::Image`] for one that is gone, cannot be read, is too large, has no image's first bytes or a label that cannot be
    /// one, and for an index behind the last.
    pub fn get(&self, index: usize) -> Result<Image> {
        let none = || Error::Image { name: format!("{index}"), reason: "there is no such image".to_owned() };
        match &self.kind {
            Kind::Files(files) => files.get(index).unwrap_or_else(|| Err(none())),
            Kind::Tables(tables) => {
                let mut row = index;
                for table in tables {
                    if row < table.rows() {
                        return table.get(row);
                    }
                    row -= table.rows();
                }
                Err(none())
            }
        }
    }

    /// Reads the first `count` images, or all where there are fewer.
    ///
    /// # Errors
    /// As [`Dataset::get`].
    pub fn first(&self, count: usize) -> Result<Vec<Image>> {
        (0..count.min(self.len())).map(|index| self.get(index)).collect()
    }

    /// What tells this data set from others, and then what ledgers of earlier versions may have in its place.
    ///
    /// It is a digest: in the layout of the shipped file of the images and the names of their classes, in their order; of other
    /// Parquet files of all their bytes, the columns that are read and the names of the classes; of files of images of their paths below the folder, their sizes and their classes. Blocks:
    /// Parquet files are read as a whole.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Format`].
    pub fn digests(&self) -> Result<Vec<String>> {
        let mut digests = Digests { now: Sha256::new(), former: Some(Sha256::new()) };
        match &self.kind {
            Kind::Tables(tables) => tables.iter().try_for_each(|table| table.add_to(&mut digests))?,
            Kind::Files(files) => {
                digests.former = None;
                files.add_to(&mut digests.now);
            }
        }
        let text = |digest: Sha256| {
            let mut text = "sha256:".to_owned();
            for byte in digest.finalize() {
                // Writing to a text cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            text
        };
        Ok(std::iter::once(digests.now).chain(digests.former).map(text).collect())
    }

    /// What there is to tell of the data set before it is sent, a sentence each: what was left out, and how labels were told.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Adds a text behind its length, so that no other texts in a row have the same digest.
fn add_text(digest: &mut Sha256, text: &str) {
    digest.update((text.len() as u64).to_le_bytes());
    digest.update(text);
}

/// Checks the bytes of an image.
fn image(name: String, label: Option<Label>, data: Bytes, most: usize) -> Result<Image> {
    let problem = if data.is_empty() {
        "it has no data".to_owned()
    } else if data.len() > most {
        format!("its {} bytes are more than the limit of {most}", data.len())
    } else if let Some(encoding) = detect(&data) {
        return Ok(Image { name, label, encoding, data });
    } else {
        "its first bytes are those of no JPEG, PNG or WebP".to_owned()
    };
    Err(Error::Image { name, reason: problem })
}

#[cfg(test)]
mod tests;
