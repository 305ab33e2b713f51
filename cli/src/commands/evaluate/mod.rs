//! `firesteel evaluate`: how good and how fast the model is, in each precision, over a labelled data set.
//!
//! Images are decoded once, on all cores. Each model then gets them in the same batches; the reference gets at most 64 at once.
//! The rate includes normalisation and excludes decoding.

mod figures;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use clap::Args;
use firesteel_pipeline::dataset::Dataset;
use firesteel_pipeline::inference::{
    self, Device, Evaluation, Model, ModelFile, ModelSpec, PlainResNet, Precision, PrecisionSetting, Sample,
    auto, evaluate_watched, samples,
};
use tokio::task::{JoinError, spawn_blocking};

pub(super) use self::figures::{Figures, render};
use crate::args::{DeviceArgs, OneModelArgs, precision, tell_notes};
use crate::context::{Context, Outcome};
use crate::output::{Format, print};
use crate::progress::Progress;

/// The most images that the reference gets at once: candle copies the patches of a convolution, megabytes an image.
const REFERENCE_BATCH: usize = 64;

/// The examples at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
    # the shipped model over all 10,000 images, in every precision that this build has
    firesteel evaluate

    # what does auto take here, and why?
    firesteel evaluate --images 1000 --precision auto

    # is it the same model? candle's own operations classify each image, too, which takes minutes
    firesteel evaluate --reference

    # a first look; how much faster is it with larger batches?
    firesteel evaluate --images 1000 --precision f32 --batch 256

    # a model of your own, for a program to read
    firesteel evaluate --model my.safetensors --format json | jq '.[] | {precision, accuracy, images_per_second}'

Accuracy is in percent. In the confusion matrix a row is what an image shows, a column what the model said.
`disagreements` counts the images that the reference gives another class. `auto` says whether `--precision auto` takes this one here.
The rate is that of the model alone, on all cores or on the device; a busy machine makes it smaller.";

/// Which models, over which images.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct EvaluateArgs {
    /// The numbers to compute in, with commas in between; auto is the precision that it takes elsewhere [default: all that
    /// this build and device have]
    #[arg(long, value_name = "PRECISION", value_delimiter = ',', value_parser = precision(), help_heading = "Model")]
    precision: Vec<PrecisionSetting>,
    #[command(flatten)]
    model: OneModelArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Also run the network in candle's own operations, in f32 on the processor, and count the images that each
    /// precision gives another class
    #[arg(long, help_heading = "Model")]
    reference: bool,
    /// How many images the model gets at once (the reference: 64 at most)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096),
          help_heading = "Model")]
    batch: u32,
    /// Only the first N images [default: all]
    #[arg(long, value_name = "N", help_heading = "Images")]
    images: Option<NonZeroUsize>,
    /// A Parquet file, a folder with a subfolder for each class, as for `firesteel produce` [default: the CIFAR-10 test set,
    /// 10,000 images, inside this binary]
    #[arg(long, value_name = "PATH", help_heading = "Images")]
    dataset: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    format: Format,
}

pub(crate) async fn run(args: EvaluateArgs, context: Context) -> anyhow::Result<Outcome> {
    let shutdown = context.signals.shutdown.clone();
    tokio::select! {
        outcome = evaluate(args, context) => outcome,
        // A running model stops after its batch, or with the process.
        () = shutdown.cancelled() => Ok(Outcome::Interrupted),
    }
}

async fn evaluate(args: EvaluateArgs, context: Context) -> anyhow::Result<Outcome> {
    let (model, dataset, images) = (args.model.spec()?, args.dataset, args.images);
    let asked =
        if args.precision.is_empty() { model.precision.into_iter().collect() } else { args.precision };
    let (file, samples) = joined(spawn_blocking(move || load(&model, dataset, images)).await)?;
    let (file, samples) = (Arc::new(file), Arc::new(samples));
    let named = !asked.is_empty();
    let decision = if !named || asked.contains(&PrecisionSetting::Auto) {
        let (file, device) = (Arc::clone(&file), args.device.device);
        Some(spawn_blocking(move || choose(&file, device)).await??)
    } else {
        None
    };
    let asked = asked.into_iter().filter_map(|setting| match setting {
        PrecisionSetting::Named(precision) => Some(precision),
        PrecisionSetting::Auto => decision,
    });
    let mut precisions: Vec<Precision> = if named { asked.collect() } else { Precision::ALL.to_vec() };
    precisions.sort_unstable();
    precisions.dedup();

    // The reference comes first: the others are compared with it.
    let reference = args.reference.then_some(Variant::Reference);
    let variants = reference.into_iter().chain(precisions.into_iter().map(Variant::Compiled));
    let mut models = Vec::new();
    for variant in variants {
        let (file, device) = (Arc::clone(&file), args.device.device);
        match spawn_blocking(move || variant.model(&file, device)).await? {
            Ok(model) => models.push((variant, model)),
            // A precision that the user named is an error; of all precisions those are measured that there are.
            Err(error @ inference::Error::Precision { .. }) if !named => {
                eprintln!("left out: {error}");
                continue;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut all: Vec<Figures> = Vec::with_capacity(models.len());
    for (variant, model) in models {
        let batch = variant.batch(args.batch as usize);
        let evaluation = measure(model, variant.name(), batch, &samples, &context).await?;
        if evaluation.images < samples.len() {
            return Ok(Outcome::Interrupted);
        }
        let reference = reference.and(all.first());
        let disagreements = reference.map(|reference| evaluation.disagreements(&reference.evaluation));
        let auto = decision.map(|precision| variant == Variant::Compiled(precision));
        all.push(Figures { name: variant.name(), evaluation, disagreements, auto });
    }
    let classes: Vec<String> = file.info().classes.iter().map(ToString::to_string).collect();
    print(&render(&all, &classes, args.format)?)?;
    Ok(Outcome::Done)
}

/// One of the models that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// The network in candle's own operations.
    Reference,
    /// The compiled model in this precision.
    Compiled(Precision),
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Compiled(precision) => precision.name(),
        }
    }

    /// The batch size where the user asked for `asked`.
    fn batch(self, asked: usize) -> usize {
        match self {
            Self::Reference => asked.min(REFERENCE_BATCH),
            Self::Compiled(_) => asked,
        }
    }

    fn model(self, file: &ModelFile, device: Device) -> inference::Result<Box<dyn Model>> {
        match self {
            Self::Reference => Ok(Box::new(PlainResNet::new(file.network("--reference")?)?)),
            Self::Compiled(precision) => file.compile(precision, device),
        }
    }
}

/// Reads the model and opens the data set, on a thread that may block; tells what of it is left out.
pub(super) fn open(model: &ModelSpec, dataset: Option<&Path>) -> anyhow::Result<(ModelFile, Dataset)> {
    let file = model.open().context("cannot use the model (--model)")?;
    let dataset = Dataset::load(dataset).context("cannot use the data set (--dataset)")?;
    tell_notes(&dataset);
    Ok((file, dataset))
}

/// The precision that `auto` takes, and says why.
fn choose(file: &ModelFile, device: Device) -> inference::Result<Precision> {
    let Ok(network) = file.network("auto") else { return file.resolve(PrecisionSetting::Auto, device) };
    let decision = auto::choose(network, device)?;
    eprintln!("--precision auto takes {}: {decision}", decision.precision);
    Ok(decision.precision)
}

/// Reads the model and the images, on a thread that may block.
fn load(
    model: &ModelSpec,
    dataset: Option<PathBuf>,
    images: Option<NonZeroUsize>,
) -> anyhow::Result<(ModelFile, Vec<Sample>)> {
    let (file, dataset) = open(model, dataset.as_deref())?;
    let wanted = images.map_or(dataset.len(), NonZeroUsize::get);
    if wanted > dataset.len() {
        bail!("--images is {wanted}, and the data set (--dataset) has {}", dataset.len());
    }
    let wanted = dataset.first(wanted).context("cannot read the data set (--dataset)")?;
    let samples = samples(file.info(), &wanted).context("the model cannot take the data set (--dataset)")?;
    Ok((file, samples))
}

/// Runs one model over all images. A signal ends it after the batch under way.
pub(super) async fn measure(
    mut model: Box<dyn Model>,
    name: &'static str,
    batch: usize,
    samples: &Arc<Vec<Sample>>,
    context: &Context,
) -> anyhow::Result<Evaluation> {
    let all = Arc::clone(samples);
    let work = move |go_on: &mut GoOn| evaluate_watched(model.as_mut(), &all, batch, go_on);
    watched(name, samples.len(), context, work).await
}

/// Told how many images are done, answers whether to go on.
pub(super) type GoOn = dyn FnMut(usize) -> bool + Send;

/// Runs `work` over so many images on a thread that may block, and shows how far it is. A signal ends it where it next asks.
pub(super) async fn watched<T: Send + 'static>(
    name: &'static str,
    images: usize,
    context: &Context,
    work: impl FnOnce(&mut GoOn) -> inference::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let progress = Progress::new(&context.bars, &[(name, images as u64)]);
    let done = Arc::new(AtomicU64::new(0));
    let (counter, stop) = (Arc::clone(&done), context.signals.shutdown.clone());
    let mut go_on = move |images: usize| {
        counter.store(images as u64, Ordering::Relaxed);
        !stop.is_cancelled()
    };
    let work = spawn_blocking(move || work(&mut go_on));
    let ended = progress.follow(work, || [done.load(Ordering::Relaxed)]).await;
    joined(ended.map(|ended| ended.map_err(anyhow::Error::from)))
}

pub(super) fn joined<T>(ended: Result<anyhow::Result<T>, JoinError>) -> anyhow::Result<T> {
    ended.context("the model's thread died")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_images_than_there_are_is_an_error() {
        let error =
            load(&ModelSpec::default(), None, NonZeroUsize::new(10_001)).expect_err("too many").to_string();
        assert!(error.contains("10001") && error.contains("10000"), "{error}");
    }
}
