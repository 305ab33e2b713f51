//! Image files of a folder or a pattern: what was found, and reading one.

use super::{Error, Image, Options, Result, add_text, image};
use crate::inference::decode::detect;
use bytes::Bytes;
use firesteel_proto::Label;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// What a Parquet file begins with.
const PARQUET: &[u8] = b"PAR1";
/// The first bytes of a file that say what it is: the longest signature is that of WebP, at 8 bytes behind the length of its container.
const SIGNATURE: usize = 12;

/// A file of the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its name in the data set: below the folder, or as a pattern has found it.
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) label: Option<Label>,
}

/// Files that a folder or a pattern has, told apart by their first bytes.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) images: Vec<Member>,
    pub(super) tables: Vec<PathBuf>,
    pub(super) left_out: LeftOut,
}

/// What is in a folder or a pattern, and is not sent.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Files that are neither images nor Parquet, and the first of them.
    others: (u64, PathBuf),
    /// What cannot be read, and why the first of it cannot.
    unreadable: (u64, String),
    /// Images beside the folders of the classes.
    pub(super) beside_classes: u64,
}

impl Found {
    /// One file, whose name stands for itself.
    pub(super) fn one(path: &Path, options: &Options) -> Result<Self> {
        let mut found = Self::default();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        // What is no image is told to be no Parquet by the reader of Parquet, which says why.
        if first_bytes(path).is_ok_and(|start| detect(&start).is_some()) {
            found.add(path, name, parent_label(path, options)?, options)?;
        } else {
            found.tables.push(path.to_owned());
        }
        Ok(found)
    }

    /// Adds a file as what its first bytes say.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Image`] for one that is too large, unless such files are to be left out.
    pub(super) fn add(
        &mut self,
        path: &Path,
        name: String,
        label: Option<Label>,
        options: &Options,
    ) -> Result<()> {
        let looked = first_bytes(path).and_then(|start| Ok((start, std::fs::metadata(path)?.len())));
        let (start, bytes) = match looked {
            Ok(looked) => looked,
            Err(source) => return self.unreadable(Error::Read { path: path.to_owned(), source }, options),
        };
        if detect(&start).is_some() {
            let most = options.max_image_bytes;
            if bytes > most as u64 {
                let reason = format!("its {bytes} bytes are more than the limit of {most}");
                return self.unreadable(Error::Image { name: path.display().to_string(), reason }, options);
            }
            self.images.push(Member { path: path.to_owned(), name, bytes, label });
        } else if start.starts_with(PARQUET) {
            self.tables.push(path.to_owned());
        } else {
            if self.left_out.others.0 == 0 {
                self.left_out.others.1 = path.to_owned();
            }
            self.left_out.others.0 += 1;
        }
        Ok(())
    }

    /// The error of a path that has images as well as Parquet files, of which one data set cannot be made.
    pub(super) fn two_kinds(&self, path: &Path) -> Error {
        let first = self.tables.first().map(|table| table.display().to_string()).unwrap_or_default();
        let reason = format!(
            "it has files of images ({}) and Parquet files of images ({}, the first is {first}): name those of one kind by a pattern, \
             such as `**/*.jpg` or `**/*.parquet`, or the folder that has them alone",
            self.images.len(),
            self.tables.len()
        );
        Error::Option { path: path.to_owned(), reason }
    }

    /// Leaves something out that cannot be read, or ends with why.
    pub(super) fn unreadable(&mut self, error: Error, options: &Options) -> Result<()> {
        if !options.skip_unreadable {
            return Err(error);
        }
        if self.left_out.unreadable.0 == 0 {
            self.left_out.unreadable.1 = crate::error::chain(&error);
        }
        self.left_out.unreadable.0 += 1;
        Ok(())
    }
}

impl LeftOut {
    /// What there is in place of images.
    pub(super) fn in_words(&self) -> String {
        match (self.others.0 + self.unreadable.0, self.notes(0)) {
            (0, _) => "no file is there".to_owned(),
            (_, notes) => notes.join("; "),
        }
    }

    /// A sentence for each reason for which something is not sent. Of a data set of Parquet files nothing else is expected.
    pub(super) fn notes(&self, tables: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let (others, first) = &self.others;
        if *others > 0 && tables == 0 {
            let first = first.display();
            notes.push(format!(
                "{others} files are no JPEG, PNG or WebP by their first bytes, and are not sent: {first}{}",
                if *others > 1 { ", …" } else { "" }
            ));
        }
        if self.beside_classes > 0 {
            notes.push(format!(
                "{} images lie beside the folders of the classes, and are not sent (--label-from none sends all)",
                self.beside_classes
            ));
        }
        if self.unreadable.0 > 0 {
            notes.push(format!("{} files or folders are left out: {}", self.unreadable.0, self.unreadable.1));
        }
        notes
    }
}

/// Opens a regular file. Another one, such as a named pipe, would wait for who writes it.
fn open(path: &Path) -> std::io::Result<File> {
    if std::fs::metadata(path)?.is_file() { File::open(path) } else { Err(no_regular_file()) }
}

/// The error of a path that is neither a folder nor a regular file.
pub(super) fn no_regular_file() -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidInput, "it is no regular file")
}

/// The first bytes of a file, fewer where it is shorter.
fn first_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(SIGNATURE);
    open(path)?.take(SIGNATURE as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// The label that the folder of a file is, where that is asked for.
pub(super) fn parent_label(path: &Path, options: &Options) -> Result<Option<Label>> {
    if options.labels != super::LabelsFrom::Parent {
        return Ok(None);
    }
    // A relative path may have no parent that has a name.
    let absolute =
        std::path::absolute(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    match absolute.parent().and_then(Path::file_name) {
        Some(name) => folder_label(path, name).map(Some),
        None => Ok(None),
    }
}

/// The name of a folder as a label.
pub(super) fn folder_label(path: &Path, name: &std::ffi::OsStr) -> Result<Label> {
    let reason = |reason: String| Error::Option {
        path: path.to_owned(),
        reason: format!("folder {} cannot be a label: {reason}", name.display()),
    };
    let text = name.to_str().ok_or_else(|| reason("its name is not UTF-8".to_owned()))?;
    Label::parse("label", text).map_err(|error| reason(error.to_string()))
}

/// Files in their order.
#[derive(Debug)]
pub(super) struct Files {
    members: Vec<Member>,
    max_image_bytes: usize,
}

impl Files {
    pub(super) fn new(members: Vec<Member>, options: &Options) -> Self {
        Self { members, max_image_bytes: options.max_image_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Reads a file; `None` behind the last one.
    pub(super) fn get(&self, index: usize) -> Option<Result<Image>> {
        self.members.get(index).map(|member| self.read(member))
    }

    fn read(&self, member: &Member) -> Result<Image> {
        let name = || member.path.display().to_string();
        let most = self.max_image_bytes;
        // No more than the limit is read of a file that has grown since it was found.
        let read = open(&member.path).and_then(|file| {
            let mut data = Vec::with_capacity(usize::try_from(member.bytes).unwrap_or(0).min(most) + 1);
            file.take(most as u64 + 1).read_to_end(&mut data)?;
            Ok(data)
        });
        let data = read.map_err(|error| Error::Image {
            name: name(),
            reason: match error.kind() {
                ErrorKind::NotFound => "it is not there any more".to_owned(),
                _ => format!("it cannot be read: {error}"),
            },
        })?;
        image(name(), member.label.clone(), Bytes::from(data), most)
    }

    pub(super) fn add_to(&self, digest: &mut Sha256) {
        for member in &self.members {
            let label = member.label.as_ref().map(Label::as_str).unwrap_or_default();
            add_text(digest, &member.name);
            add_text(digest, label);
            digest.update(member.bytes.to_le_bytes());
        }
    }
}
