//! A folder of images, as torchvision's `ImageFolder` reads one: a subfolder is a class, whatever is below it.
//!
//! The order is that of torchvision: by class, then by folder, then by name, each as text. Links are followed. What begins with
//! a dot is not looked at. A folder without subfolders has images without labels; beside subfolders, images are left out.

use super::files::{Found, folder_label};
use super::{Error, LabelsFrom, Options, Result};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use walkdir::{DirEntry, WalkDir};

/// The files below `root`, in their order.
pub(super) fn find(root: &Path, options: &Options) -> Result<Found> {
    let mut found = Found::default();
    let (mut paths, mut has_classes) = (Vec::new(), false);
    let visible =
        |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
    for entry in WalkDir::new(root).follow_links(true).into_iter().filter_entry(visible) {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => has_classes |= entry.depth() == 1,
            Ok(entry) if entry.file_type().is_file() => paths.push(entry.into_path()),
            // Sockets and the like.
            Ok(_) => {}
            Err(error) => {
                let path = error.path().unwrap_or(root).to_owned();
                found.unreadable(Error::Read { path, source: error.into() }, options)?;
            }
        }
    }
    paths.sort_by_cached_key(|path| key(root, path));
    let classes = has_classes && options.labels == LabelsFrom::Usual;
    for path in paths {
        let class = match options.labels {
            LabelsFrom::Usual if has_classes => class(root, &path),
            LabelsFrom::Usual | LabelsFrom::Nowhere => None,
            LabelsFrom::Parent => path.parent().and_then(|parent| parent_name(root, parent)),
        };
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let before = found.images.len();
        found.add(&path, name, None, options)?;
        let Some(member) = found.images.get_mut(before) else { continue };
        match class {
            Some(class) => member.label = Some(folder_label(&path, &class)?),
            None if classes => {
                found.images.pop();
                found.left_out.beside_classes += 1;
            }
            None => {}
        }
    }
    Ok(found)
}

/// What files are sorted by: class, folder, name.
fn key(root: &Path, path: &Path) -> [Vec<u8>; 3] {
    let folder = path.parent().map(Path::as_os_str).unwrap_or_default();
    let parts = [&class(root, path).unwrap_or_default(), folder, path.file_name().unwrap_or_default()];
    parts.map(|part| part.as_encoded_bytes().to_vec())
}

/// The first folder below `root` on the way to a file.
fn class(root: &Path, path: &Path) -> Option<OsString> {
    let mut parts = path.strip_prefix(root).ok()?.iter();
    let (first, next) = (parts.next(), parts.next());
    next.and(first).map(OsStr::to_owned)
}

/// The name of the folder that a file lies in. That of `.` is the one it has in the file system.
fn parent_name(root: &Path, parent: &Path) -> Option<OsString> {
    match parent.file_name() {
        Some(name) => Some(name.to_owned()),
        None => std::fs::canonicalize(root).ok()?.file_name().map(OsStr::to_owned),
    }
}
