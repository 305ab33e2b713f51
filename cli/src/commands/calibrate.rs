//! `firesteel calibrate`: the ranges of a network's activations, which int8 needs, measured on images like those to come.
//!
//! The ranges go into the manifest beside the weights, where every command finds them. Images that they were not measured on
//! then say what int8 is worth: the accuracy in f32, with the ranges from before where there are any, and with the new ones; and
//! that of bf16 where the processor has instructions for it. These go into the manifest, too, where `--precision auto` reads them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use firesteel_pipeline::inference::compiled::{Calibration, Compiled, Isa};
use firesteel_pipeline::inference::{
    self, Accuracy, Device, ModelSpec, Network, Precision, Sample, Weights, auto, compile,
};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::evaluate::{self, Figures, GoOn, joined, measure, watched};
use crate::args::OneModelArgs;
use crate::context::{Context, Outcome};
use crate::output::{Format, check_writable, print, replace};

/// The settings that say where the ranges go.
const SETTING: &str = "--out, --model";

/// How many images the compared models get at once.
const BATCH: usize = 64;

/// The examples at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
    # int8 for a model of your own: the ranges go into my.safetensors.json, beside the weights
    firesteel calibrate --model my.safetensors --dataset training.parquet

    # more images; the ranges alone, into a file of their own, and nothing is compared
    firesteel calibrate --model my.safetensors --dataset training.parquet --images 4096 --compare 0 --out ranges.json

Images are taken at even distances from the whole data set, so that one that is sorted by class gives all classes.
Take images that the network learnt from, or others like those to come, and not those that it is tested with.
The accuracies that are compared go into the manifest, too: `--precision auto` takes no precision that they do not allow. More
images make surer figures: --compare 10000.
`disagreements` counts the images that f32 gives another class.";

/// Which network, on which images.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct CalibrateArgs {
    #[command(flatten)]
    model: OneModelArgs,
    /// The images, with their true classes: Parquet, a folder with a subfolder a class, or a pattern
    #[arg(long, value_name = "PATH", help_heading = "Images")]
    dataset: PathBuf,
    /// How many images the ranges are measured on; all, where there are fewer
    #[arg(long, value_name = "N", default_value = "1024", help_heading = "Images")]
    images: NonZeroUsize,
    /// How many other images of the data set the accuracy is compared on, at most; 0 compares nothing
    #[arg(long, value_name = "N", default_value_t = 2_000, help_heading = "Images")]
    compare: usize,
    /// Where the ranges go, as a table of their own [default: the manifest beside the weights, FILE.json]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// How the comparison is printed
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    format: Format,
}

pub(crate) async fn run(args: CalibrateArgs, context: Context) -> anyhow::Result<Outcome> {
    let shutdown = context.signals.shutdown.clone();
    tokio::select! {
        outcome = calibrate(args, context) => outcome,
        // What runs on another thread stops after its images, or with the process. Ranges that are
        // written already stay: they are whole, and the accuracies beside them are those from before.
        () = shutdown.cancelled() => Ok(Outcome::Interrupted),
    }
}

async fn calibrate(args: CalibrateArgs, context: Context) -> anyhow::Result<Outcome> {
    let model = args.model.spec()?;
    let target = Target::of(args.out, model.file.as_deref())?;
    let (dataset, count) = (args.dataset, args.images.get());
    let read = spawn_blocking(move || read(&model, &dataset, count, args.compare));
    let Read { network, chosen, others } = joined(read.await)?;
    let (network, others, count) = (Arc::new(network), Arc::new(others), chosen.len());
    let Some(ranges) = ranges(&network, chosen, &context).await? else { return Ok(Outcome::Interrupted) };
    // The figure of int8 is one of the ranges from before.
    let mut kept = network.accuracy.figures().clone();
    let stale = kept.remove(&Precision::Int8).is_some();
    target.write(&ranges, stale.then_some(&kept))?;
    eprintln!("the ranges on {count} images are in {}", target.path().display());

    let after = Arc::new(Network { calibration: Some(ranges.clone()), ..Network::clone(&network) });
    let before =
        network.calibration.is_some().then(|| ("int8 before", Precision::Int8, Arc::clone(&network)));
    let classes: Vec<String> = network.info.classes.iter().map(ToString::to_string).collect();
    let bf16 = Isa::detect(Precision::Bf16) != Isa::Portable;
    let bf16 = bf16.then(|| ("bf16", Precision::Bf16, Arc::clone(&network)));
    let f32 = ("f32", Precision::F32, network);
    let int8 = ("int8", Precision::Int8, Arc::clone(&after));
    let variants = [f32].into_iter().chain(bf16).chain(before).chain([int8]);
    let mut all: Vec<Figures> = Vec::new();
    for (name, precision, network) in variants.filter(|_| !others.is_empty()) {
        // The choice by speed may keep them in f32, which would say nothing of the ranges.
        let device = match precision {
            Precision::Bf16 | Precision::Int8 => Device::CpuWith(Isa::detect(precision)),
            Precision::F32 => Device::Cpu,
        };
        let model = spawn_blocking(move || compile(&network, precision, device)).await??;
        let evaluation = measure(model, name, BATCH, &others, &context).await?;
        if evaluation.images < others.len() {
            return Ok(Outcome::Interrupted);
        }
        let disagreements = all.first().map(|first| evaluation.disagreements(&first.evaluation));
        all.push(Figures { name, evaluation, disagreements, auto: None });
    }
    if all.is_empty() {
        return Ok(Outcome::Done);
    }
    let share = |figures: &Figures| {
        let named = figures.name.parse::<Precision>().ok();
        named.map(|precision| (precision, figures.evaluation.accuracy()))
    };
    let shares: BTreeMap<Precision, f64> = all.iter().filter_map(share).collect();
    if target.holds_accuracy() {
        target.write(&ranges, Some(&shares))?;
        eprintln!("the accuracies on {} images are there, too", others.len());
        let tolerance = after.accuracy.tolerance();
        let accuracy = Accuracy::new(shares, tolerance).map_err(anyhow::Error::msg)?;
        let network = Network { accuracy, ..Network::clone(&after) };
        let decision = spawn_blocking(move || auto::choose(&network, Device::Cpu)).await??;
        eprintln!("--precision auto takes {}: {decision}", decision.precision);
    }
    print(&evaluate::render(&all, &classes, args.format)?)?;
    Ok(Outcome::Done)
}

/// What there is to measure.
struct Read {
    network: Network,
    /// The pixels of the images that the ranges are measured on.
    chosen: Vec<Vec<u8>>,
    /// The images that are compared on.
    others: Vec<Sample>,
}

/// Reads the model and those images of the data set that are needed, on a thread that may block.
fn read(model: &ModelSpec, dataset: &Path, images: usize, compare: usize) -> anyhow::Result<Read> {
    let (file, dataset) = evaluate::open(model, Some(dataset))?;
    let network = file.network("calibrate").context("cannot use the model (--model)")?.clone();
    let (chosen, others) = split(dataset.len(), images, compare);
    let pick = |rows: &[usize]| rows.iter().map(|row| dataset.get(*row)).collect::<Result<Vec<_>, _>>();
    let (chosen, others) = pick(&chosen)
        .and_then(|chosen| Ok((chosen, pick(&others)?)))
        .context("cannot read the data set (--dataset)")?;
    let info = &network.info;
    let (chosen, others) = inference::pixels(info, &chosen)
        .and_then(|chosen| Ok((chosen, inference::samples(info, &others)?)))
        .context("the model cannot take the data set (--dataset); --compare 0 needs no true classes")?;
    Ok(Read { network, chosen, others })
}

/// The rows of a data set of `rows` images that the ranges are measured on, and those that are compared on: each at even
/// distances, and none in both unless there are no others.
fn split(rows: usize, images: usize, compare: usize) -> (Vec<usize>, Vec<usize>) {
    let spread = |of: &[usize], count: usize| -> Vec<usize> {
        let count = count.min(of.len());
        (0..count).map(|i| of[i * of.len() / count]).collect()
    };
    let all: Vec<usize> = (0..rows).collect();
    let chosen = spread(&all, images);
    let others: Vec<usize> = all.iter().copied().filter(|row| chosen.binary_search(row).is_err()).collect();
    let compared = spread(if others.is_empty() { &all } else { &others }, compare);
    (chosen, compared)
}

/// The ranges on `images`, u8 `[height, width, 3]` each; none where a signal came first.
async fn ranges(
    network: &Arc<Network>,
    images: Vec<Vec<u8>>,
    context: &Context,
) -> anyhow::Result<Option<Calibration>> {
    let (network, count) = (Arc::clone(network), images.len());
    let work = move |go_on: &mut GoOn| {
        let mut done = 0;
        let ranges = Compiled::calibrate_watched(&network, &images.concat(), |images| {
            done = images;
            go_on(images)
        })?;
        Ok((done == count).then_some(ranges))
    };
    watched("calibrate", count, context, work).await
}

/// Where the ranges go.
#[derive(Debug, PartialEq)]
enum Target {
    /// A file with nothing else in it.
    Table(PathBuf),
    /// The manifest beside weights.
    Manifest(PathBuf),
}

impl Target {
    fn of(out: Option<PathBuf>, weights: Option<&Path>) -> anyhow::Result<Self> {
        let target = match (out, weights) {
            (Some(out), _) => Self::Table(out),
            (None, Some(weights)) => Self::Manifest(Weights::manifest_path(weights)),
            (None, None) => {
                bail!("the model inside this binary has its ranges; name a file for others (--out)")
            }
        };
        check_writable(target.path(), SETTING)?;
        Ok(target)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Table(path) | Self::Manifest(path) => path,
        }
    }

    /// Whether the accuracy has a place beside the ranges.
    fn holds_accuracy(&self) -> bool {
        matches!(self, Self::Manifest(_))
    }

    /// Writes the ranges, and the accuracy by precision in place of that from before, as far as it has a place here.
    fn write(&self, ranges: &Calibration, accuracy: Option<&BTreeMap<Precision, f64>>) -> anyhow::Result<()> {
        let text = match self {
            Self::Table(_) => ranges.to_json(),
            Self::Manifest(path) => {
                let there = match std::fs::read_to_string(path) {
                    Ok(text) => Some(text),
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    Err(error) => {
                        return Err(error).with_context(|| format!("cannot read {}", path.display()));
                    }
                };
                manifest(there.as_deref(), ranges, accuracy)
                    .with_context(|| format!("cannot extend {}", path.display()))?
            }
        };
        replace(self.path(), SETTING, &text)
    }
}

/// The manifest `there`, if there is one, with these ranges, and with the accuracy by precision where it is given; its other
/// keys stay as they are, in their order.
fn manifest(
    there: Option<&str>,
    ranges: &Calibration,
    accuracy: Option<&BTreeMap<Precision, f64>>,
) -> anyhow::Result<String> {
    let mut keys: Map<String, Value> = there.map_or_else(|| Ok(Map::new()), serde_json::from_str)?;
    keys.insert("calibration".to_owned(), serde_json::from_str(&ranges.to_json())?);
    if let Some(accuracy) = accuracy {
        let shares = accuracy.iter().map(|(precision, share)| (precision.to_string(), Value::from(*share)));
        keys.insert("accuracy".to_owned(), Value::Object(shares.collect()));
    }
    Ok(serde_json::to_string_pretty(&keys)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_other_keys_of_a_manifest_stay() {
        let ranges = Calibration::parse(r#"{"stem": 2.5}"#).expect("ranges");
        assert_eq!(
            manifest(None, &ranges, None).expect("new"),
            "{\n  \"calibration\": {\n    \"stem\": 2.5\n  }\n}\n"
        );
        let there =
            r#"{"version": "2", "calibration": {"stem": 1.0, "layer1.0": 3.0}, "classes": ["a", "b"]}"#;
        let text = manifest(Some(there), &ranges, None).expect("extended");
        let keys: Value = serde_json::from_str(&text).expect("JSON");
        let expected =
            serde_json::json!({ "version": "2", "calibration": { "stem": 2.5 }, "classes": ["a", "b"] });
        assert_eq!(keys, expected);
        assert!(manifest(Some("[1]"), &ranges, None).is_err());
    }

    #[test]
    fn an_accuracy_takes_the_place_of_the_one_from_before() {
        let ranges = Calibration::parse(r#"{"stem": 2.5}"#).expect("ranges");
        let there = r#"{"accuracy": {"f32": 0.5, "bf16": 0.5}, "version": "2"}"#;
        let shares = BTreeMap::from([(Precision::F32, 0.75), (Precision::Int8, 0.7455)]);
        let text = manifest(Some(there), &ranges, Some(&shares)).expect("extended");
        let keys: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(keys["accuracy"], serde_json::json!({ "f32": 0.75, "int8": 0.7455 }));
        assert_eq!(keys["version"], "2");
        assert!(!Target::Table("ranges.json".into()).holds_accuracy());
    }

    #[test]
    fn the_model_inside_the_binary_needs_a_file_for_other_ranges() {
        let error = Target::of(None, None).expect_err("no file").to_string();
        assert!(error.contains("--out"), "{error}");
        let folder = tempfile::tempdir().expect("a folder");
        let weights = folder.path().join("my.safetensors");
        let found = Target::of(None, Some(&weights)).expect("a file");
        assert_eq!(found, Target::Manifest(folder.path().join("my.safetensors.json")));
    }

    proptest! {
        #[test]
        fn images_are_compared_on_others_where_there_are_any(rows in 1_usize..500, images in 1_usize..600, compare in 0_usize..600) {
            let (chosen, compared) = split(rows, images, compare);
            prop_assert_eq!(chosen.len(), images.min(rows));
            prop_assert!(chosen.is_sorted() && chosen.iter().all(|row| *row < rows));
            if images < rows {
                prop_assert_eq!(compared.len(), compare.min(rows - images));
                prop_assert!(compared.iter().all(|row| *row < rows && !chosen.contains(row)));
            } else {
                prop_assert_eq!(compared.len(), compare.min(rows));
            }
        }
    }
}
