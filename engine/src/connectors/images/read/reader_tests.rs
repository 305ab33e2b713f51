//! Files that change between the planning of a query and their reading, and the batches that files come in.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::collect;
use futures::TryStreamExt as _;

use super::scan::ImageScanExec;
use super::spec::ScanSpec;
use crate::config::{FileAccess, ReadMode};
use crate::connectors::files::FileStores;
use crate::connectors::images::config::Reading;
use crate::connectors::images::folder::{Folder, ImageFile};
use crate::connectors::images::pattern::FileOptions;
use crate::connectors::images::plan::spread::spread;
use crate::{Error, Result};

/// What is read of all images below `folder` when `change` happens after the listing.
async fn read(
    folder: &Path,
    reading: Reading,
    columns: Vec<usize>,
    change: impl FnOnce(),
) -> Result<Vec<RecordBatch>> {
    let stores = Arc::new(FileStores::new(&FileAccess::below([folder])));
    let folder = Folder::parse(folder.to_str().unwrap())?;
    let files: Vec<ImageFile> = folder.list(&stores, &FileOptions::default()).await?.try_collect().await?;
    change();
    let spec = ScanSpec { folder, reading, columns, batch_rows: 100 };
    let scan = ImageScanExec::try_new(spec, stores, &spread(files, 1, Some(reading.max_bytes)))?;
    Ok(collect(Arc::new(scan), Arc::new(TaskContext::default())).await?)
}

fn permissive() -> Reading {
    Reading { mode: ReadMode::Permissive, ..Reading::default() }
}

fn two_images() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.jpg", "b.jpg"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    folder
}

/// A file is removed or changed: the query fails and names it, or its row has no image and the reason.
async fn fails_or_is_told(change: impl Fn(&Path), words: &str) {
    let folder = two_images();
    let path = folder.path().join("b.jpg");
    let error = read(folder.path(), Reading::default(), vec![4], || change(&path)).await.unwrap_err();
    assert!(matches!(&error, Error::Location { location, .. } if Path::new(location) == path), "{error}");
    assert!(error.to_string().contains(words) && error.to_string().contains("PERMISSIVE"), "{error}");

    let folder = two_images();
    let path = folder.path().join("b.jpg");
    let batches = read(folder.path(), permissive(), vec![4, 5], || change(&path)).await.unwrap();
    let [batch] = batches.as_slice() else { panic!("{batches:?}") };
    let (images, reasons) = (batch.column(0).as_binary::<i32>(), batch.column(1).as_string::<i32>());
    assert_eq!((images.value(0), reasons.is_null(0)), (b"a.jpg".as_slice(), true));
    assert!(images.is_null(1) && reasons.value(1).contains(words), "{}", reasons.value(1));
    assert!(!reasons.value(1).contains("PERMISSIVE"), "{}", reasons.value(1));

    // Whoever does not ask for it does not notice.
    let folder = two_images();
    let path = folder.path().join("b.jpg");
    let batches = read(folder.path(), Reading::default(), vec![0], || change(&path)).await.unwrap();
    assert_eq!(batches[0].num_rows(), 2);
}

#[tokio::test]
async fn a_file_that_is_gone_is_named() {
    fails_or_is_told(|path| fs::remove_file(path).unwrap(), "no longer there").await;
}

#[tokio::test]
async fn a_file_that_has_changed_is_named() {
    fails_or_is_told(|path| fs::write(path, "another one").unwrap(), "it has changed").await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_takes_a_files_place_is_followed_in_no_mode() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("key"), "b.jpg").unwrap();
    for reading in [Reading::default(), permissive()] {
        let folder = two_images();
        let path = folder.path().join("b.jpg");
        let swap = || {
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(outside.path().join("key"), &path).unwrap();
        };
        let error = read(folder.path(), reading, vec![4], swap).await.unwrap_err();
        assert!(matches!(&error, Error::FileRefused { .. }), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_that_takes_a_files_place_is_not_waited_for() {
    let swap = |path: &Path| {
        fs::remove_file(path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    };
    fails_or_is_told(swap, "neither a file nor a folder").await;
}

#[tokio::test]
async fn large_images_come_few_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5 {
        fs::write(folder.path().join(format!("{number}.jpg")), vec![number; 3 << 20]).unwrap();
    }
    let rows = |batches: Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>();
    let batches = read(folder.path(), Reading::default(), vec![0, 4], || {}).await.unwrap();
    let images: Vec<u8> = batches
        .iter()
        .flat_map(|batch| batch.column(1).as_binary::<i32>().iter().flatten().map(|i| i[0]))
        .collect();
    assert_eq!(images, [0, 1, 2, 3, 4], "in the order of their names");
    assert_eq!(rows(batches), [2, 2, 1]);
    // Their names alone are a batch.
    assert_eq!(rows(read(folder.path(), Reading::default(), vec![0], || {}).await.unwrap()), [5]);
    assert_eq!(rows(read(folder.path(), Reading::default(), vec![], || {}).await.unwrap()), [5]);
    // One that is too large is not read, and takes no room.
    let small = Reading { max_bytes: 10, ..permissive() };
    assert_eq!(rows(read(folder.path(), small, vec![4], || {}).await.unwrap()), [5]);
}
