//! Folders, patterns and single files.

use super::*;
use std::fs;

fn put(folder: &Path, name: &str, data: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, data).expect("written");
}

/// A folder with classes, which is not in the order of its names.
fn classes() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, data) in [
        ("dog/b.png", png(5)),
        ("dog/a.jpg", jpeg(4)),
        ("cat/z.jpg", jpeg(1)),
        ("cat/more/of/them.webp", webp(2)),
        ("cat/more-of/a.jpeg", jpeg(3)),
        ("cat/.hidden/x.jpg", jpeg(90)),
        (".git/x.jpg", jpeg(91)),
        ("cat/._z.jpg", jpeg(92)),
        ("cat/notes.jpg", b"no image".to_vec()),
        ("cat/empty.jpg", Vec::new()),
        ("top.jpg", jpeg(93)),
    ] {
        put(folder.path(), name, &data);
    }
    folder
}

#[test]
fn a_subfolder_is_a_class_in_the_order_of_torchvision() {
    let folder = classes();
    // Folders are compared as texts, so `more-of` comes before `more/of`.
    let expected = [("cat", jpeg(1)), ("cat", jpeg(3)), ("cat", webp(2)), ("dog", jpeg(4)), ("dog", png(5))];
    conforms(&options(folder.path()), &expected);
    let notes = Dataset::open(&options(folder.path())).expect("a data set").notes().join("\n");
    assert!(notes.contains("2 files are no JPEG") && notes.contains("cat/empty.jpg"), "{notes}");
    assert!(notes.contains("1 images lie beside the folders"), "{notes}");
}

#[test]
fn labels_come_from_where_it_is_said() {
    let folder = classes();
    let nowhere = Options { labels: LabelsFrom::Nowhere, ..options(folder.path()) };
    let all = [jpeg(93), jpeg(1), jpeg(3), webp(2), jpeg(4), png(5)].map(|data| ("", data));
    conforms(&nowhere, &all);
    let parent = Options { labels: LabelsFrom::Parent, ..options(&folder.path().join("cat")) };
    conforms(&parent, &[("cat", jpeg(1)), ("of", webp(2)), ("more-of", jpeg(3))]);
}

#[test]
fn a_folder_without_subfolders_has_no_labels() {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, name) in ["c.jpg", "a.jpg", "b.jpg"].into_iter().enumerate() {
        put(folder.path(), name, &jpeg(number as u8));
    }
    conforms(&options(folder.path()), &[("", jpeg(1)), ("", jpeg(2)), ("", jpeg(0))]);
    // Moved elsewhere it is the same data set; with another image it is not.
    let digest = |path: &Path| Dataset::open(&options(path)).and_then(|set| set.digests()).expect("digests");
    let before = digest(folder.path());
    let moved = folder.path().with_extension("moved");
    fs::rename(folder.path(), &moved).expect("moved");
    assert_eq!(digest(&moved), before);
    put(&moved, "b.jpg", &[jpeg(2), vec![0]].concat());
    assert_ne!(digest(&moved), before);
    fs::rename(&moved, folder.path()).expect("back");
}

#[test]
fn a_pattern_finds_files_in_the_order_of_their_paths() {
    let folder = classes();
    let pattern = |pattern: &str| options(&folder.path().join(pattern));
    let found = [("", jpeg(1)), ("", jpeg(4)), ("", jpeg(93))];
    conforms(&pattern("**/*.jpg"), &found);
    conforms(&pattern("cat/**/*.[jw]*"), &[("", webp(2)), ("", jpeg(3)), ("", jpeg(1))]);
    let parent = Options { labels: LabelsFrom::Parent, ..pattern("*/?.*") };
    conforms(&parent, &[("cat", jpeg(1)), ("dog", jpeg(4)), ("dog", png(5))]);
    // A file that is there is itself, whatever signs are in its name.
    put(folder.path(), "[odd].jpg", &jpeg(7));
    conforms(&pattern("[odd].jpg"), &[("", jpeg(7))]);
}

#[test]
fn what_holds_no_image_says_what_it_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    refused(&options(folder.path()), &["has no image", "no file is there"]);
    put(folder.path(), "cat/a.txt", b"a");
    put(folder.path(), "cat/b.txt", b"b");
    refused(&options(folder.path()), &["has no image", "2 files are no JPEG", "a.txt"]);
    put(folder.path(), "table.csv", b"a,b\n1,2\n");
    refused(&options(&folder.path().join("table.csv")), &["table.csv", "Parquet"]);
    put(folder.path(), "cat\u{7f}/a.jpg", &jpeg(1));
    refused(&options(folder.path()), &["cannot be a label", "control character"]);
}

#[test]
fn an_option_of_parquet_is_refused() {
    let folder = classes();
    for (flag, options) in [
        ("--image-column", Options { image_column: Some("x".to_owned()), ..options(folder.path()) }),
        ("--label-column", Options { label_column: Some("x".to_owned()), ..options(folder.path()) }),
        ("--classes", Options { classes: vec!["x".to_owned()], ..options(folder.path()) }),
    ] {
        refused(&options, &[flag, "files of images"]);
    }
}

#[test]
fn a_file_that_goes_or_changes_is_named_when_it_is_read() {
    let folder = classes();
    let set = Dataset::open(&options(folder.path())).expect("a data set");
    fs::remove_file(folder.path().join("cat/z.jpg")).expect("removed");
    put(folder.path(), "cat/more-of/a.jpeg", b"something else");
    put(folder.path(), "dog/a.jpg", b"");
    for (index, parts) in
        [(0, ["z.jpg", "not there any more"]), (1, ["a.jpeg", "first bytes"]), (3, ["a.jpg", "no data"])]
    {
        let error = set.get(index).expect_err("changed");
        assert!(error.is_of_one_image(), "{error}");
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    assert_eq!(set.get(2).expect("as it was").data, webp(2));
}

#[test]
fn a_file_that_is_too_large_is_named_or_left_out() {
    let folder = classes();
    let small = Options { max_image_bytes: 24, ..options(folder.path()) };
    refused(&small, &["them.webp", "36 bytes", "limit of 24"]);
    let skipping = Options { skip_unreadable: true, ..small };
    conforms(&skipping, &[("cat", jpeg(1)), ("cat", jpeg(3)), ("dog", jpeg(4))]);
    let notes = Dataset::open(&skipping).expect("a data set").notes().join("\n");
    assert!(notes.contains("2 files or folders are left out") && notes.contains("them.webp"), "{notes}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_a_circle_of_them_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), "elsewhere/a.jpg", &jpeg(1));
    fs::create_dir(folder.path().join("set")).expect("made");
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(folder.path().join(to), folder.path().join(name)).expect("linked");
    };
    link("elsewhere", "set/cat");
    conforms(&options(&folder.path().join("set")), &[("cat", jpeg(1))]);
    link("set", "elsewhere/back");
    refused(&options(&folder.path().join("set")), &["back"]);
    let skipping = Options { skip_unreadable: true, ..options(&folder.path().join("set")) };
    conforms(&skipping, &[("cat", jpeg(1))]);
}

/// A pipe would be waited for, and nobody writes to it.
#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_not_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), "a.jpg", &jpeg(1));
    let pipe = folder.path().join("b.jpg");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts");
    assert!(made.success());
    conforms(&options(folder.path()), &[("", jpeg(1))]);
    conforms(&options(&folder.path().join("*.jpg")), &[("", jpeg(1))]);
    refused(&options(&pipe), &["b.jpg", "no regular file"]);
    // One that has become a pipe since it was found.
    let set = Dataset::open(&options(folder.path())).expect("a data set");
    fs::rename(&pipe, folder.path().join("a.jpg")).expect("moved");
    let error = set.get(0).expect_err("a pipe");
    assert!(error.is_of_one_image() && error.to_string().contains("no regular file"), "{error}");
}
