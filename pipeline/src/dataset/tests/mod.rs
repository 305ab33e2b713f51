//! One suite for every kind of data set, and what each kind refuses.

mod files;
mod tables;

use super::*;
use proptest::prelude::*;

/// A file that begins as a JPEG does.
fn jpeg(number: u8) -> Vec<u8> {
    [&[0xff, 0xd8, 0xff, 0xe0][..], &[number; 20]].concat()
}

fn png(number: u8) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n".as_slice(), &[number; 20]].concat()
}

fn webp(number: u8) -> Vec<u8> {
    [b"RIFF\x20\0\0\0WEBPVP8 ".as_slice(), &[number; 20]].concat()
}

fn label(name: &str) -> Option<Label> {
    Label::optional("label", name).expect("a label")
}

fn options(path: &Path) -> Options {
    Options { path: Some(path.to_owned()), ..Options::default() }
}

/// The suite: a data set that is opened twice has these images, each with this label (empty: none), however it is asked.
fn conforms(options: &Options, expected: &[(&str, Vec<u8>)]) {
    let [set, again] = [(); 2].map(|()| Dataset::open(options).expect("a data set"));
    assert_eq!(set.len(), expected.len());
    assert_eq!(set.digests().expect("digests"), again.digests().expect("digests"));
    let check = |index: usize| {
        let image = set.get(index).expect("an image");
        let (name, data) = &expected[index];
        assert_eq!((image.label.clone(), image.data.to_vec()), (label(name), data.clone()), "image {index}");
        assert_eq!(Some(image.encoding), detect(data));
        assert_eq!(again.get(index).expect("an image"), image, "the same after a restart");
    };
    (0..expected.len()).for_each(check);
    (0..expected.len()).rev().for_each(check);
    // Strides, as of producers that take turns.
    (0..expected.len()).map(|index| index * 7 % expected.len()).for_each(check);
    let error = set.get(expected.len()).expect_err("behind the last");
    assert!(error.is_of_one_image(), "{error}");
    let names: std::collections::BTreeSet<_> =
        set.first(usize::MAX).expect("all").into_iter().map(|image| image.name).collect();
    assert_eq!(names.len(), expected.len(), "each has a name of its own");
}

fn refused(options: &Options, parts: &[&str]) {
    let error = match Dataset::open(options) {
        Err(error) => error,
        Ok(set) => set.first(usize::MAX).expect_err("an image is refused"),
    };
    let text = crate::error::chain(&error);
    for part in parts.iter().chain(&["producer.dataset"]) {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn the_shipped_file_has_a_thousand_of_each_class() {
    let set = Dataset::load(None).expect("shipped");
    assert_eq!(set.len(), SHIPPED_IMAGES);
    let mut counts = std::collections::BTreeMap::new();
    for index in 0..set.len() {
        let image = set.get(index).expect("an image");
        assert_eq!(image.encoding, Encoding::Jpeg);
        *counts.entry(image.label.expect("a label").to_string()).or_insert(0) += 1;
    }
    let classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    assert_eq!(counts, classes.map(|class| (class.to_owned(), 1_000)).into());
}

/// Ledgers of earlier versions hold it.
#[test]
fn the_shipped_file_has_the_digest_that_it_always_had() {
    let digests = Dataset::load(None).and_then(|set| set.digests()).expect("shipped");
    assert_eq!(digests[1], "sha256:18223f66be5e12f71ac3e38829326d7912b170657f35f96e7f2f295212ab1c23");
}

#[test]
fn what_is_nowhere_is_named() {
    refused(&options(Path::new("/nowhere/x.parquet")), &["/nowhere/x.parquet", "no such file"]);
    refused(&options(Path::new("/nowhere/**/*.jpg")), &["/nowhere/**/*.jpg", "no image", "no file"]);
    refused(&options(Path::new("/nowhere/***")), &["/nowhere/***", "pattern"]);
}

proptest! {
    #[test]
    fn rows_follow_each_other_over_all_producers_and_wrap(
        producer in 0_u64..20, images in 1_u64..500, sequence in 0_u64..500, rows in 1_usize..1_000,
    ) {
        let sequence = sequence % images;
        let row_of = |producer, sequence| row(producer, images, sequence, rows);
        prop_assert!(row_of(producer, sequence) < rows);
        let next = if sequence + 1 < images { row_of(producer, sequence + 1) } else { row_of(producer + 1, 0) };
        prop_assert_eq!(next, (row_of(producer, sequence) + 1) % rows);
        prop_assert_eq!(row_of(0, 0), 0);
    }

    #[test]
    fn no_number_is_too_large(producer: u64, images: u64, sequence: u64, rows: usize) {
        prop_assert!(row(producer, images, sequence, rows) < rows.max(1));
    }
}
