//! What can be wrong with a data set. Every error names the file, and the column, row or setting that it is about.

use firesteel_common::ConfigField::{self, ProducerDataset};
use std::path::PathBuf;

/// An error of a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or a folder that cannot be read.
    #[error("cannot read data set {} ({})", .path.display(), ProducerDataset)]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },

    /// A path that is neither a file nor a folder nor a pattern.
    #[error("data set {} ({}): there is no such file or folder, and it is no pattern such as `photos/**/*.jpg`", .path.display(), ProducerDataset)]
    Missing {
        /// The path.
        path: PathBuf,
    },

    /// A pattern that cannot be used.
    #[error("data set {pattern} ({}) is no pattern of files: {reason}", ProducerDataset)]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The problem.
        reason: String,
    },

    /// A data set without an image.
    #[error("data set {} ({}) has no image: {found}", .path.display(), ProducerDataset)]
    Empty {
        /// The file, folder or pattern.
        path: PathBuf,
        /// What is there in place of images.
        found: String,
    },

    /// A file that is not Parquet.
    #[error("data set {} ({}) is not a readable Parquet file", .path.display(), ProducerDataset)]
    Format {
        /// The file.
        path: PathBuf,
        /// The error of the Parquet reader.
        source: parquet::errors::ParquetError,
    },

    /// A column that is not there, or of another type.
    #[error(
        "data set {} ({}): column {column} must be {expected}, found {found}; its columns are {columns}",
        .path.display(), ProducerDataset
    )]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The types that it may have.
        expected: &'static str,
        /// The type that it has, or `no such column`.
        found: String,
        /// All columns with their types.
        columns: String,
    },

    /// No column, or more than one, that could be meant.
    #[error(
        "data set {} ({}): {candidates} could hold the {what}: name it ({setting}); its columns are {columns}",
        .path.display(), ProducerDataset
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// `images` or `labels`.
        what: &'static str,
        /// The columns that could be meant, or `no column`.
        candidates: String,
        /// The flag that decides it.
        setting: &'static str,
        /// All columns with their types.
        columns: String,
    },

    /// An option that this kind of data set does not have, or that does not fit it.
    #[error("data set {} ({}): {reason}", .path.display(), ProducerDataset)]
    Option {
        /// The file, folder or pattern.
        path: PathBuf,
        /// The problem.
        reason: String,
    },

    /// One image that cannot be sent. Others of the same data set may be fine.
    #[error("data set ({}): image {name}: {reason}", ProducerDataset)]
    Image {
        /// The file, or the file and its row.
        name: String,
        /// The problem.
        reason: String,
    },
}

impl Error {
    /// Whether the error is about one image alone, without which the rest can be sent.
    #[must_use]
    pub fn is_of_one_image(&self) -> bool {
        matches!(self, Self::Image { .. })
    }

    /// The field of the configuration that the error points at.
    #[must_use]
    pub fn field(&self) -> ConfigField {
        ProducerDataset
    }
}

/// A result of a data set.
pub type Result<T, E = Error> = std::result::Result<T, E>;
