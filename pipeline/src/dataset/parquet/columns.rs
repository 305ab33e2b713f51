//! Which columns of a Parquet file hold the images and their labels.
//!
//! In this order: what the options name; what Hugging Face's metadata say (features `Image` and `ClassLabel`); the types and the
//! usual names. Images are bytes, or a structure with a field `bytes`, as Hugging Face writes them. Labels are texts, or numbers
//! whose names come from the options or from the metadata. What is left unclear is an error that lists the columns.

use super::super::{Error, LabelsFrom, Options, Result};
use arrow::datatypes::{DataType, Field, Schema};
use firesteel_proto::Label;
use std::collections::BTreeMap;
use std::path::Path;

/// Usual names of a column of images, where several columns hold bytes.
const IMAGES: [&str; 14] = [
    "image",
    "images",
    "img",
    "jpeg",
    "jpg",
    "png",
    "webp",
    "bytes",
    "data",
    "picture",
    "photo",
    "content",
    "image_bytes",
    "image_data",
];
/// Usual names of a column of labels.
const LABELS: [&str; 12] = [
    "label",
    "labels",
    "class",
    "classes",
    "class_name",
    "label_name",
    "category",
    "target",
    "fine_label",
    "coarse_label",
    "class_label",
    "species",
];
/// The key of Hugging Face's metadata in a file.
const HUGGING_FACE: &str = "huggingface";

const IMAGE_TYPES: &str = "bytes, or a structure with a field `bytes`";
const LABEL_TYPES: &str = "text or an integer";

/// The columns of a file that matter, by their places in the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) image: usize,
    pub(super) label: Option<Labels>,
    /// A text that names an image, and the number of its class: in files of the layout of the shipped one.
    pub(super) own: Option<Own>,
}

/// A column of labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) column: usize,
    /// The names of the numbers 0, 1, …; none where the column holds texts.
    pub(super) names: Option<Vec<Label>>,
}

/// The layout of the shipped file: `name`, `label` (a number), `class` (its name), `jpeg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) name: usize,
    pub(super) number: usize,
}

/// The features that Hugging Face's metadata tell.
#[derive(Debug, Default)]
struct Features {
    images: Vec<String>,
    classes: BTreeMap<String, Vec<String>>,
}

impl Features {
    fn read(metadata: Option<&str>) -> Self {
        let told = metadata.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        let mut features = Self::default();
        let columns = told.as_ref().and_then(|told| told.pointer("/info/features")?.as_object());
        for (name, feature) in columns.into_iter().flatten() {
            match feature.get("_type").and_then(serde_json::Value::as_str) {
                Some("Image") => features.images.push(name.clone()),
                Some("ClassLabel") => {
                    let names = feature.get("names").and_then(serde_json::Value::as_array);
                    // One that is no text would shift those behind it: then there are none.
                    let texts = names.and_then(|names| {
                        names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
                    });
                    features.classes.insert(name.clone(), texts.unwrap_or_default());
                }
                _ => {}
            }
        }
        features
    }
}

/// Finds the columns in a schema; `metadata` are the texts of the file by their keys.
pub(super) fn find(
    schema: &Schema,
    metadata: &BTreeMap<String, String>,
    path: &Path,
    options: &Options,
) -> Result<Columns> {
    let file =
        File { schema, path, features: Features::read(metadata.get(HUGGING_FACE).map(String::as_str)) };
    let image = file.image(options)?;
    let own = file.own(image, options);
    let label = match (options.labels, own) {
        (LabelsFrom::Nowhere, _) => None,
        (LabelsFrom::Parent, _) => {
            let reason = "labels from folders (--label-from parent) are for files of images".to_owned();
            return Err(Error::Option { path: path.to_owned(), reason });
        }
        (LabelsFrom::Usual, Some(_)) => file.place("class").map(|column| Labels { column, names: None }),
        (LabelsFrom::Usual, None) => file.label(image, options)?,
    };
    if !options.classes.is_empty() && label.as_ref().is_none_or(|label| label.names.is_none()) {
        let reason = "names of classes (--classes) are for a column of numbers".to_owned();
        return Err(Error::Option { path: path.to_owned(), reason });
    }
    Ok(Columns { image, label, own })
}

struct File<'a> {
    schema: &'a Schema,
    path: &'a Path,
    features: Features,
}

impl File<'_> {
    fn place(&self, name: &str) -> Option<usize> {
        self.schema.fields().iter().position(|field| field.name() == name)
    }

    fn has(&self, name: &str, fits: fn(&DataType) -> bool) -> Option<usize> {
        self.place(name).filter(|place| fits(self.schema.field(*place).data_type()))
    }

    /// A column that an option names.
    fn named(&self, name: &str, fits: fn(&DataType) -> bool, expected: &'static str) -> Result<usize> {
        let found = match self.place(name) {
            Some(place) if fits(self.schema.field(place).data_type()) => return Ok(place),
            Some(place) => self.schema.field(place).data_type().to_string(),
            None => "no such column".to_owned(),
        };
        let (path, column) = (self.path.to_owned(), name.to_owned());
        Err(Error::Column { path, column, expected, found, columns: self.columns() })
    }

    fn image(&self, options: &Options) -> Result<usize> {
        if let Some(name) = &options.image_column {
            return self.named(name, is_image, IMAGE_TYPES);
        }
        let fits = self.those(|field| is_image(field.data_type()));
        let told = narrowed(&fits, |place| self.features.images.contains(self.schema.field(place).name()));
        let told = narrowed(&told, |place| is_usual(self.schema.field(place), &IMAGES));
        match told.as_slice() {
            [only] => Ok(*only),
            several => Err(self.ambiguous("images", "--image-column", several)),
        }
    }

    fn label(&self, image: usize, options: &Options) -> Result<Option<Labels>> {
        let column = match &options.label_column {
            Some(name) => self.named(name, is_label, LABEL_TYPES)?,
            None => {
                let classes = &self.features.classes;
                let fits = self.those(|field| is_label(field.data_type()));
                let usual = |field: &Field| is_usual(field, &LABELS) || classes.contains_key(field.name());
                let fits: Vec<usize> = fits
                    .into_iter()
                    .filter(|place| *place != image && usual(self.schema.field(*place)))
                    .collect();
                let told = narrowed(&fits, |place| classes.contains_key(self.schema.field(place).name()));
                match told.as_slice() {
                    [] => return Ok(None),
                    [only] => *only,
                    several => {
                        return Err(self.ambiguous(
                            "labels",
                            "--label-column, or --label-from none",
                            several,
                        ));
                    }
                }
            }
        };
        let field = self.schema.field(column);
        let names = if is_integer(field.data_type()) { Some(self.names(field, options)?) } else { None };
        Ok(Some(Labels { column, names }))
    }

    /// The names of the numbers in a column.
    fn names(&self, field: &Field, options: &Options) -> Result<Vec<Label>> {
        let bad = |reason: String| Error::Option { path: self.path.to_owned(), reason };
        let told = self.features.classes.get(field.name()).filter(|names| !names.is_empty());
        let names = match (options.classes.as_slice(), told) {
            ([], None) => {
                return Err(bad(format!(
                    "column {} holds numbers, and nothing says what they mean: name the classes in their order (--classes a,b,c), \
                     or send the images without labels (--label-from none)",
                    field.name()
                )));
            }
            ([], Some(told)) => told.as_slice(),
            (given, _) => given,
        };
        let label = |name: &String| Label::parse("classes", name).map_err(|error| bad(error.to_string()));
        names.iter().map(label).collect()
    }

    /// Whether this is the layout of the shipped file, of which nothing has been asked for otherwise.
    fn own(&self, image: usize, options: &Options) -> Option<Own> {
        let or_null = |kind: fn(&DataType) -> bool, name| {
            self.has(name, kind).or_else(|| self.has(name, |kind| *kind == DataType::Null))
        };
        let name = self.has("name", is_text)?;
        let number = or_null(is_integer, "label")?;
        let jpeg = self.has("jpeg", is_image)?;
        or_null(is_text, "class")?;
        let told = options.label_column.as_deref().is_none_or(|column| column == "class");
        (jpeg == image && told && options.classes.is_empty()).then_some(Own { name, number })
    }

    fn those(&self, fits: impl Fn(&Field) -> bool) -> Vec<usize> {
        let fields = self.schema.fields().iter().enumerate();
        fields.filter(|(_, field)| fits(field)).map(|(place, _)| place).collect()
    }

    fn ambiguous(&self, what: &'static str, setting: &'static str, places: &[usize]) -> Error {
        let names: Vec<&str> = places.iter().map(|place| self.schema.field(*place).name().as_str()).collect();
        let candidates = if names.is_empty() { "no column".to_owned() } else { names.join(" and ") };
        Error::Ambiguous { path: self.path.to_owned(), what, candidates, setting, columns: self.columns() }
    }

    /// All columns with their types.
    fn columns(&self) -> String {
        let fields = self.schema.fields().iter();
        fields.map(|field| format!("{} ({})", field.name(), field.data_type())).collect::<Vec<_>>().join(", ")
    }
}

/// Those of `places` that `says` is true of, or all where there is none or no need.
fn narrowed(places: &[usize], says: impl Fn(usize) -> bool) -> Vec<usize> {
    let chosen: Vec<usize> = places.iter().copied().filter(|place| says(*place)).collect();
    if places.len() < 2 || chosen.is_empty() { places.to_vec() } else { chosen }
}

fn is_usual(field: &Field, names: &[&str]) -> bool {
    names.iter().any(|name| field.name().eq_ignore_ascii_case(name))
}

/// The type of the values: a dictionary is a way to store a column, not another type of it.
fn stored(kind: &DataType) -> &DataType {
    match kind {
        DataType::Dictionary(_, value) => value,
        plain => plain,
    }
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(stored(kind), DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_image(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => {
            fields.iter().any(|field| field.name() == "bytes" && is_bytes(field.data_type()))
        }
        plain => is_bytes(plain),
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(stored(kind), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_integer(kind: &DataType) -> bool {
    stored(kind).is_integer()
}

fn is_label(kind: &DataType) -> bool {
    // A column of nothing but nulls may have no type.
    is_text(kind) || is_integer(kind) || *kind == DataType::Null
}
