//! The classes of the demonstration's images and of the shipped model, for tests: nothing else in the project knows them but the
//! model itself and `firesteel seed`.

use firesteel_proto::Label;

/// The names, in the order of the model's outputs.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The classes, in the order of the model's outputs.
#[must_use]
pub fn classes() -> [Label; 10] {
    CLASSES.map(label)
}

/// The class number `index`; after the last one comes the first.
#[must_use]
pub fn class(index: usize) -> Label {
    label(CLASSES[index % CLASSES.len()])
}

/// A label of any name.
///
/// # Panics
/// For a text that is no label.
#[must_use]
pub fn label(name: &str) -> Label {
    Label::parse("label", name).expect("a label")
}
