//! What weights do not say by themselves: the names of the classes, the size of the input, its normalisation.
//!
//! It stands in the metadata of the safetensors file, or beside it in a file of JSON whose name is that of the weights with
//! `.json` appended. What the JSON says goes before what the metadata say, key by key, so that a file of weights that has no
//! metadata needs none. [`Manifest::read`] puts both together and checks them; every error names the file and the key.

use super::accuracy::Accuracy;
use super::compiled::Calibration;
use super::decode::Resize;
use super::error::{Error, Result};
use super::model::ModelInfo;
use super::precision::{Precision, UnknownPrecision};
use super::weights::Weights;
use firesteel_proto::Label;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Largest input edge taken: what one image may cost has a bound.
const MAX_EDGE: usize = 1_024;
/// The most bytes of a version, which is a part of the name that each prediction bears.
const MAX_VERSION: usize = 64;

/// What is known of a model beside its tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The classes, in the order of the outputs; at least one, each once.
    pub classes: Vec<Label>,
    /// Other names by which a true label may mean a class: none of them is a class itself.
    pub aliases: BTreeMap<Label, Label>,
    /// The version of the model: letters, digits, `.`, `_`, `+` and `-`.
    pub version: Option<String>,
    /// Rows of an input image.
    pub height: usize,
    /// Columns of an input image.
    pub width: usize,
    /// The mean that is subtracted from RGB / 255, per channel.
    pub mean: [f32; 3],
    /// The standard deviation that the difference is divided by, per channel.
    pub std: [f32; 3],
    /// How an image of another size becomes one of this size; the usual rule where nobody says one.
    pub resize: Resize,
    /// Ranges of the activations, which int8 needs.
    pub calibration: Option<Calibration>,
    /// The accuracy by precision, and how much of it may be given up for speed.
    pub accuracy: Accuracy,
}

/// A file of JSON beside the weights.
#[derive(Debug, Clone, Default)]
pub(super) struct Beside {
    /// The file, for errors.
    origin: String,
    keys: Keys,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    classes: Option<Vec<String>>,
    aliases: Option<BTreeMap<String, String>>,
    input: Option<String>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    version: Option<String>,
    resize: Option<String>,
    calibration: Option<serde_json::Value>,
    accuracy: Option<BTreeMap<String, f64>>,
    tolerance: Option<f64>,
}

impl Beside {
    /// The file beside the weights in `path`; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::ReadWeights`] for a file that cannot be read, and as [`Beside::parse`].
    pub(super) fn load(path: &Path) -> Result<Option<Self>> {
        let path = Self::path(path);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path.display().to_string(), &text).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::ReadWeights { path, source }),
        }
    }

    /// The name of the file beside the weights in `path`.
    pub(super) fn path(path: &Path) -> PathBuf {
        let mut name = OsString::from(path);
        name.push(".json");
        name.into()
    }

    /// Reads the text of such a file, which `origin` names in errors.
    ///
    /// # Errors
    /// [`Error::Manifest`] for a text that is no JSON object, a key that there is not, and a value of another type.
    pub(super) fn parse(origin: &str, text: &str) -> Result<Self> {
        let origin = origin.to_owned();
        match serde_json::from_str(text) {
            Ok(keys) => Ok(Self { origin, keys }),
            Err(source) => Err(Error::Manifest { origin, source }),
        }
    }
}

/// Where a value was found: the file, for errors, and the value.
struct Found<'a, T> {
    beside: Option<&'a Beside>,
    weights: &'a Weights,
    key: &'static str,
    value: T,
}

impl<T> Found<'_, T> {
    /// An error about the value; `problem` ends the sentence that starts with the key.
    fn bad(&self, problem: String) -> Error {
        match self.beside {
            Some(beside) => Error::Metadata { origin: beside.origin.clone(), key: self.key, problem },
            None => self.weights.bad(self.key, problem),
        }
    }
}

/// Both places in which a manifest may stand.
struct Places<'a> {
    weights: &'a Weights,
    beside: Option<&'a Beside>,
    /// What is true of a key that stands in neither.
    assumed: &'a [(&'static str, &'static str)],
}

impl<'a> Places<'a> {
    /// The value of `key`: `of` takes it out of the JSON, `read` out of the text of the metadata, and says what is wrong with
    /// that.
    fn find<T>(
        &self,
        key: &'static str,
        of: impl FnOnce(&'a Keys) -> Option<T>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<Found<'a, T>>> {
        let weights = self.weights;
        let said = self.beside.and_then(|beside| Some((beside, of(&beside.keys)?)));
        if let Some((beside, value)) = said {
            return Ok(Some(Found { beside: Some(beside), weights, key, value }));
        }
        let text = match weights.metadata(key) {
            Some(text) => text,
            None => match self.assumed.iter().find(|(assumed, _)| *assumed == key) {
                Some((_, value)) => {
                    tracing::info!(
                        weights = weights.origin(),
                        key,
                        value,
                        "nothing says otherwise, so it is assumed"
                    );
                    value
                }
                None => return Ok(None),
            },
        };
        let value = read(text).map_err(|problem| weights.bad(key, problem))?;
        Ok(Some(Found { beside: None, weights, key, value }))
    }

    /// The value of `key`, which is a text in both places.
    fn text(
        &self,
        key: &'static str,
        of: impl FnOnce(&'a Keys) -> Option<String>,
    ) -> Result<Option<Found<'a, String>>> {
        self.find(key, of, |text| Ok(text.to_owned()))
    }

    /// The error of a key that stands in neither place.
    fn missing(&self, key: &'static str) -> Error {
        let problem = match self.beside {
            Some(beside) => format!("is missing, and {} does not have it either", beside.origin),
            None => "is missing, and there is no manifest beside the weights".to_owned(),
        };
        self.weights.bad(key, problem)
    }
}

impl Manifest {
    /// Puts together what the metadata of `weights` and the file beside them say, and `assumed`, keys with their values as
    /// metadata have them, for what neither does.
    ///
    /// # Errors
    /// [`Error::Metadata`] for a key that is missing or says something that cannot be, with the file that says it.
    pub fn read(weights: &Weights, assumed: &[(&'static str, &'static str)]) -> Result<Self> {
        let places = Places { weights, beside: weights.beside(), assumed };
        let classes = classes(&places)?;
        let (height, width) = input(&places)?;
        let resize = places.text("resize", |keys| keys.resize.clone())?;
        let resize = resize
            .map(|found| Resize::parse(&found.value).map_err(|problem| found.bad(problem)))
            .transpose()?;
        let calibration =
            places.text("calibration", |keys| keys.calibration.as_ref().map(ToString::to_string))?;
        let calibration = calibration
            .map(|found| Calibration::parse(&found.value).map_err(|problem| found.bad(problem)))
            .transpose()?;
        Ok(Self {
            aliases: aliases(&places, &classes)?,
            classes,
            version: version(&places)?,
            height,
            width,
            mean: triple(&places, "mean", |keys| keys.mean, false)?,
            std: triple(&places, "std", |keys| keys.std, true)?,
            resize: resize.unwrap_or(Resize::DEFAULT),
            calibration,
            accuracy: accuracy(&places)?,
        })
    }

    /// The name of a model of this version, where it has one: NAME, or NAME@VERSION.
    pub(super) fn versioned(name: &str, version: Option<&str>) -> String {
        match version {
            Some(version) => format!("{name}@{version}"),
            None => name.to_owned(),
        }
    }

    /// The description of a model with these facts whose weights are called `name`: NAME, or NAME@VERSION.
    #[must_use]
    pub fn info(&self, name: &str, architecture: String) -> ModelInfo {
        ModelInfo {
            name: Self::versioned(name, self.version.as_deref()),
            architecture,
            classes: self.classes.clone(),
            aliases: self.aliases.clone(),
            version: self.version.clone(),
            height: self.height,
            width: self.width,
            mean: self.mean,
            std: self.std,
            resize: self.resize,
        }
    }
}

/// The class names. In the metadata they are separated by commas, or a JSON list where a name has a comma in it.
fn classes(places: &Places<'_>) -> Result<Vec<Label>> {
    let read = |text: &str| {
        if text.trim_start().starts_with('[') {
            serde_json::from_str(text).map_err(|e| format!("is not a list of names: {e}"))
        } else {
            Ok(text.split(',').map(|name| name.trim().to_owned()).collect())
        }
    };
    let found = places.find("classes", |keys| keys.classes.clone(), read)?;
    let found = found.ok_or_else(|| places.missing("classes"))?;
    if found.value.is_empty() {
        return Err(found.bad("names no class".to_owned()));
    }
    let mut seen = BTreeSet::new();
    let mut classes = Vec::with_capacity(found.value.len());
    for (index, name) in found.value.iter().enumerate() {
        if name.is_empty() {
            return Err(found.bad(format!("has no name for class {index}")));
        }
        let label = Label::parse("classes", name).map_err(|e| found.bad(format!("has a bad name: {e}")))?;
        if !seen.insert(label.clone()) {
            return Err(found.bad(format!("names {name:?} twice")));
        }
        classes.push(label);
    }
    Ok(classes)
}

/// Other names of classes. In the metadata they are a JSON object.
fn aliases(places: &Places<'_>, classes: &[Label]) -> Result<BTreeMap<Label, Label>> {
    let read = |text: &str| {
        serde_json::from_str(text).map_err(|e| format!("is not an object of other names and classes: {e}"))
    };
    let Some(found) = places.find("aliases", |keys| keys.aliases.clone(), read)? else {
        return Ok(BTreeMap::new());
    };
    let known: BTreeSet<&Label> = classes.iter().collect();
    let label =
        |name: &str| Label::parse("aliases", name).map_err(|e| found.bad(format!("has a bad name: {e}")));
    let mut aliases = BTreeMap::new();
    for (alias, class) in &found.value {
        let (alias, class) = (label(alias)?, label(class)?);
        if known.contains(&alias) {
            let (alias, class) = (alias.as_str(), class.as_str());
            return Err(found.bad(format!("has {alias:?} mean {class:?}, and it is a class itself")));
        }
        if !known.contains(&class) {
            let (alias, class) = (alias.as_str(), class.as_str());
            return Err(found.bad(format!("has {alias:?} mean {class:?}, which is none of the classes")));
        }
        aliases.insert(alias, class);
    }
    Ok(aliases)
}

fn version(places: &Places<'_>) -> Result<Option<String>> {
    let Some(found) = places.text("version", |keys| keys.version.clone())? else { return Ok(None) };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    if !(1..=MAX_VERSION).contains(&found.value.len()) || !found.value.chars().all(fits) {
        let text = &found.value;
        return Err(found.bad(format!(
            "is {text:?}, expected 1 to {MAX_VERSION} letters, digits, dots, underscores, plus or minus signs"
        )));
    }
    Ok(Some(found.value))
}

/// `3xHEIGHTxWIDTH`, and perhaps words after it.
fn input(places: &Places<'_>) -> Result<(usize, usize)> {
    let found = places.text("input", |keys| keys.input.clone())?;
    let found = found.ok_or_else(|| places.missing("input"))?;
    let text = &found.value;
    let shape: Option<Vec<usize>> =
        text.split_whitespace().next().unwrap_or_default().split('x').map(|n| n.parse().ok()).collect();
    match shape.as_deref() {
        Some([3, height, width]) if (1..=MAX_EDGE).contains(height) && (1..=MAX_EDGE).contains(width) => {
            Ok((*height, *width))
        }
        _ => Err(found.bad(format!("is {text:?}, expected 3xHEIGHTxWIDTH with edges from 1 to {MAX_EDGE}"))),
    }
}

/// Shares by precision, in the metadata a JSON object, and what may be given up of them.
fn accuracy(places: &Places<'_>) -> Result<Accuracy> {
    let read =
        |text: &str| text.trim().parse().map_err(|_| format!("is {text:?}, expected a share from 0 to 1"));
    let mut accuracy = Accuracy::default();
    if let Some(found) = places.find("tolerance", |keys| keys.tolerance, read)? {
        accuracy = Accuracy::new(BTreeMap::new(), found.value).map_err(|problem| found.bad(problem))?;
    }
    // Other programs have this key as well, for words or a number of their own.
    let is_beside = places.beside.is_some_and(|beside| beside.keys.accuracy.is_some());
    let said = places.weights.metadata("accuracy").filter(|_| !is_beside);
    if let Some(said) = said.filter(|text| !text.trim_start().starts_with('{')) {
        let weights = places.weights.origin();
        tracing::info!(weights, said, "the metadata's accuracy has no precisions, so none is known");
        return Ok(accuracy);
    }
    let read = |text: &str| {
        serde_json::from_str(text).map_err(|e| format!("is not an object of precisions and shares: {e}"))
    };
    let Some(found) = places.find("accuracy", |keys| keys.accuracy.clone(), read)? else {
        return Ok(accuracy);
    };
    let named = found.value.iter().map(|(name, share)| Ok((name.parse::<Precision>()?, *share)));
    let figures: Result<BTreeMap<Precision, f64>, UnknownPrecision> = named.collect();
    let figures = figures.map_err(|unknown| found.bad(format!("has {unknown}")))?;
    Accuracy::new(figures, accuracy.tolerance()).map_err(|problem| found.bad(problem))
}

/// Three numbers, in the metadata separated by commas.
fn triple(
    places: &Places<'_>,
    key: &'static str,
    of: impl FnOnce(&Keys) -> Option<[f32; 3]>,
    positive: bool,
) -> Result<[f32; 3]> {
    let fits = |values: &[f32; 3]| values.iter().all(|v| v.is_finite() && (!positive || *v > 0.0));
    let kind = if positive { "positive " } else { "" };
    let read = |text: &str| {
        let values: Option<Vec<f32>> = text.split(',').map(|v| v.trim().parse().ok()).collect();
        let values: Option<[f32; 3]> = values.and_then(|values| values.try_into().ok());
        values
            .filter(|values| fits(values))
            .ok_or_else(|| format!("is {text:?}, expected three {kind}numbers, one a channel"))
    };
    let found = places.find(key, of, read)?.ok_or_else(|| places.missing(key))?;
    if fits(&found.value) {
        Ok(found.value)
    } else {
        Err(found.bad(format!("is {:?}, expected three {kind}numbers, one a channel", found.value)))
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
