//! `firesteel evaluate`: how good and how fast the model is, in each precision, over a labelled data set.
//!
//! Images are decoded once, on all cores, and each model then gets them in the same batches, the reference at most 64 at
//! once. The rate is that of the model: decoding is not in it, normalisation is.

use crate::args::{DeviceArgs, Format, precision};
use crate::output::{grid, percent, print, quoted};
use crate::progress::Progress;
use crate::{Context, Outcome};
use anyhow::{Context as _, bail};
use clap::Args;
use firesteel_pipeline::dataset::Dataset;
use firesteel_pipeline::inference::{
    self, Device, Evaluation, Model, Network, PlainResNet, Precision, Sample, Weights, compile,
    evaluate_watched, samples,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::{JoinError, spawn_blocking};
use tokio_util::sync::CancellationToken;

/// The name of the reference among the precisions.
const REFERENCE: &str = "reference";
/// The most that it gets at once: candle copies the patches of a convolution, megabytes an image.
const REFERENCE_BATCH: usize = 64;

/// Behind `--help`.
const EXAMPLES: &str = "\
Examples:
    # the shipped model over all 10,000 images, in every precision that this build has
    firesteel evaluate

    # is it the same model? candle's own operations classify each image, too, which takes minutes
    firesteel evaluate --reference

    # a first look; how much faster is it with larger batches?
    firesteel evaluate --images 1000 --precision f32 --batch 256

    # weights of your own, for a program to read
    firesteel evaluate --weights my.safetensors --format json | jq '.[] | {precision, accuracy, images_per_second}'

Accuracy is in percent. In the confusion matrix a row is what an image shows, a column what the model said.
`disagreements` counts the images that the reference gives another class.
The rate is that of the model alone, on all cores or on the device; a busy machine makes it smaller.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct EvaluateArgs {
    /// The numbers to compute in, with commas in between [default: all that this build and device have]
    #[arg(long, value_name = "PRECISION", value_delimiter = ',', value_parser = precision(), help_heading = "Model")]
    precision: Vec<Precision>,
    /// ResNet-18 weights as safetensors [default: the CIFAR-10 model inside this binary]
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_WEIGHTS", help_heading = "Model")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    on: DeviceArgs,
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
    /// A Parquet file with columns `name`, `label`, `class` and `jpeg` [default: the CIFAR-10 test set, 10,000 images,
    /// inside this binary]
    #[arg(long, value_name = "FILE", help_heading = "Images")]
    dataset: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    format: Format,
}

/// One model's figures.
struct Figures {
    /// Its precision, or that it is the reference.
    name: &'static str,
    evaluation: Evaluation,
    /// Images that the reference gives another class, if there is one.
    disagreements: Option<usize>,
}

pub(crate) async fn run(args: EvaluateArgs, context: Context) -> anyhow::Result<Outcome> {
    let shutdown = context.signals.shutdown.clone();
    tokio::select! {
        outcome = evaluate(args, context) => outcome,
        // What still computes stops after its batch, or with the process.
        () = shutdown.cancelled() => Ok(Outcome::Interrupted),
    }
}

async fn evaluate(args: EvaluateArgs, context: Context) -> anyhow::Result<Outcome> {
    let (weights, dataset, images) = (args.weights, args.dataset, args.images);
    let (network, samples) = joined(spawn_blocking(move || load(weights, dataset, images)).await)?;
    let (network, samples) = (Arc::new(network), Arc::new(samples));
    let named = !args.precision.is_empty();
    let mut precisions = if named { args.precision } else { Precision::ALL.to_vec() };
    precisions.sort_unstable();
    precisions.dedup();

    // The reference comes first: the others are compared with it.
    let wanted = args.reference.then_some(None).into_iter().chain(precisions.into_iter().map(Some));
    let mut models = Vec::new();
    for wanted in wanted {
        let (network, device) = (Arc::clone(&network), args.on.device);
        match spawn_blocking(move || model(&network, wanted, device)).await? {
            Ok(model) => models.push((wanted, model)),
            // Whoever asked for it is told; the others get what there is.
            Err(error @ inference::Error::Precision { .. }) if !named => {
                eprintln!("left out: {error}");
                continue;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut all: Vec<Figures> = Vec::with_capacity(models.len());
    for (wanted, model) in models {
        let batch = match wanted {
            Some(_) => args.batch as usize,
            None => REFERENCE_BATCH.min(args.batch as usize),
        };
        let watched = Watched { done: Arc::default(), stop: context.signals.shutdown.clone() };
        let name = wanted.map_or(REFERENCE, Precision::name);
        let evaluation = measure(model, &samples, batch, watched, name, &context).await?;
        if evaluation.images < samples.len() {
            return Ok(Outcome::Interrupted);
        }
        let reference = all.first().filter(|first| first.name == REFERENCE);
        let disagreements = reference.map(|reference| evaluation.disagreements(&reference.evaluation));
        all.push(Figures { name, evaluation, disagreements });
    }
    let classes = &network.info.classes;
    print(&match args.format {
        Format::Table => table(&all, classes)?,
        Format::Json => format!("{:#}\n", json(&all, classes)),
        Format::Csv => csv(&all, classes)?,
    })?;
    Ok(Outcome::Done)
}

/// The model in this precision, or the reference.
fn model(
    network: &Network,
    precision: Option<Precision>,
    device: Device,
) -> inference::Result<Box<dyn Model>> {
    match precision {
        Some(precision) => compile(network, precision, device),
        None => Ok(Box::new(PlainResNet::new(network)?)),
    }
}

/// Reads the model and the images, on a thread that may block.
fn load(
    weights: Option<PathBuf>,
    dataset: Option<PathBuf>,
    images: Option<NonZeroUsize>,
) -> anyhow::Result<(Network, Vec<Sample>)> {
    let read = || Network::read(Weights::load(weights.as_deref())?);
    let network = read().context("cannot use the model (--weights)")?;
    let dataset = Dataset::load(dataset.as_deref()).context("cannot use the data set (--dataset)")?;
    let there = dataset.images();
    let wanted = match images.map(NonZeroUsize::get) {
        None => there,
        Some(count) => match there.get(..count) {
            Some(first) => first,
            None => bail!("--images is {count}, and the data set (--dataset) has {}", there.len()),
        },
    };
    let samples = samples(&network.info, wanted).context("the model cannot take the data set (--dataset)")?;
    Ok((network, samples))
}

/// What a running evaluation and this command tell each other.
struct Watched {
    done: Arc<AtomicU64>,
    stop: CancellationToken,
}

async fn measure(
    mut model: Box<dyn Model>,
    samples: &Arc<Vec<Sample>>,
    batch: usize,
    Watched { done, stop }: Watched,
    name: &'static str,
    context: &Context,
) -> anyhow::Result<Evaluation> {
    let mut progress = Progress::new(&context.bars, &[(name, samples.len() as u64)]);
    let (all, told) = (Arc::clone(samples), Arc::clone(&done));
    let mut work = spawn_blocking(move || {
        evaluate_watched(model.as_mut(), &all, batch, |images| {
            told.store(images as u64, Ordering::Relaxed);
            !stop.is_cancelled()
        })
    });
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let evaluated = loop {
        tokio::select! {
            evaluated = &mut work => break evaluated,
            _ = ticks.tick() => progress.update(&[done.load(Ordering::Relaxed)]),
        }
    };
    progress.update(&[done.load(Ordering::Relaxed)]);
    progress.finish();
    joined(evaluated.map(|evaluated| evaluated.map_err(anyhow::Error::from)))
}

fn joined<T>(ended: Result<anyhow::Result<T>, JoinError>) -> anyhow::Result<T> {
    ended.context("the evaluation died")?
}

/// A share in percent; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of images")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

impl Figures {
    fn accuracy(&self) -> f64 {
        share(self.evaluation.correct as u64, self.evaluation.images as u64)
    }

    /// The disagreements as a table has them: nothing where nothing was compared.
    fn compared(&self) -> String {
        self.disagreements.map(|images| images.to_string()).unwrap_or_default()
    }

    /// Images of each class, and how many of them were named rightly.
    fn classes(&self) -> impl Iterator<Item = (u64, u64)> {
        let rows = self.evaluation.confusion.iter().enumerate();
        rows.map(|(class, row)| (row.iter().sum::<u64>(), row.get(class).copied().unwrap_or_default()))
    }
}

fn json(all: &[Figures], classes: &[String]) -> Value {
    let figures = all.iter().map(|figures| {
        let Evaluation { model, images, correct, confusion, predicted: _, time, batch } = &figures.evaluation;
        let of_class = |(name, (total, correct)): (&String, (u64, u64))| {
            json!({ "class": name, "total": total, "correct": correct, "accuracy": share(correct, total) })
        };
        json!({
            "precision": figures.name,
            "accuracy": figures.accuracy(),
            "images_per_second": figures.evaluation.images_per_second(),
            "batch": batch,
            "model": model,
            "images": images,
            "correct": correct,
            "disagreements": figures.disagreements,
            "seconds": time.as_secs_f64(),
            "classes": classes.iter().zip(figures.classes()).map(of_class).collect::<Vec<_>>(),
            "confusion": confusion,
        })
    });
    figures.collect()
}

fn table(all: &[Figures], classes: &[String]) -> anyhow::Result<String> {
    let mut text = String::from("Accuracy and Rate by Precision:\n");
    let compared = all.iter().any(|figures| figures.disagreements.is_some());
    let rows = all.iter().map(|figures| {
        let Evaluation { model, images, correct, batch, .. } = &figures.evaluation;
        let mut row = vec![
            figures.name.to_owned(),
            percent(figures.accuracy()),
            format!("{:.1}", figures.evaluation.images_per_second()),
            batch.to_string(),
            images.to_string(),
            correct.to_string(),
            model.clone(),
        ];
        if compared {
            row.push(figures.compared());
        }
        row
    });
    let mut header = vec!["precision", "accuracy", "images/s", "batch", "images", "correct", "model"];
    if compared {
        header.push("disagreements");
    }
    writeln!(text, "{}", grid(&header, rows)?)?;

    writeln!(text, "\nAccuracy by Class:")?;
    let names = all.iter().map(|figures| figures.name);
    let header: Vec<&str> = ["class", "total"].into_iter().chain(names).collect();
    let mut rows: Vec<Vec<String>> = classes.iter().map(|class| vec![class.clone()]).collect();
    for (index, figures) in all.iter().enumerate() {
        for (row, (total, correct)) in rows.iter_mut().zip(figures.classes()) {
            if index == 0 {
                row.push(total.to_string());
            }
            row.push(percent(share(correct, total)));
        }
    }
    writeln!(text, "{}", grid(&header, rows.into_iter())?)?;

    for figures in all {
        writeln!(text, "\nConfusion in {} (rows: what it is, columns: what was said):", figures.name)?;
        let header: Vec<&str> = std::iter::once("class").chain(classes.iter().map(String::as_str)).collect();
        let rows = classes.iter().zip(&figures.evaluation.confusion);
        let rows = rows.map(|(class, row)| {
            std::iter::once(class.clone()).chain(row.iter().map(u64::to_string)).collect::<Vec<_>>()
        });
        writeln!(text, "{}", grid(&header, rows)?)?;
    }
    Ok(text)
}

/// Three blocks with a header each and an empty line in between.
fn csv(all: &[Figures], classes: &[String]) -> anyhow::Result<String> {
    let mut text =
        String::from("precision,accuracy,images_per_second,batch,images,correct,model,disagreements\n");
    for figures in all {
        let Evaluation { model, images, correct, batch, .. } = &figures.evaluation;
        let (accuracy, rate) = (figures.accuracy(), figures.evaluation.images_per_second());
        let model = quoted(model);
        let disagreements = figures.compared();
        writeln!(
            text,
            "{},{accuracy},{rate},{batch},{images},{correct},{model},{disagreements}",
            figures.name
        )?;
    }
    text.push_str("\nprecision,class,total,correct,accuracy\n");
    for figures in all {
        for (class, (total, correct)) in classes.iter().zip(figures.classes()) {
            let (class, accuracy) = (quoted(class), share(correct, total));
            writeln!(text, "{},{class},{total},{correct},{accuracy}", figures.name)?;
        }
    }
    text.push_str("\nprecision,class,predicted,images\n");
    for figures in all {
        for (class, row) in classes.iter().zip(&figures.evaluation.confusion) {
            for (predicted, images) in classes.iter().zip(row) {
                writeln!(text, "{},{},{},{images}", figures.name, quoted(class), quoted(predicted))?;
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> (Vec<Figures>, Vec<String>) {
        let evaluation = |name: &str, confusion: [[u64; 2]; 2]| Evaluation {
            model: format!("m/{name}"),
            images: 8,
            correct: usize::try_from(confusion[0][0] + confusion[1][1]).expect("few"),
            confusion: confusion.map(Vec::from).to_vec(),
            predicted: Vec::new(),
            time: Duration::from_millis(500),
            batch: 4,
        };
        let all = vec![
            Figures { name: "f32", evaluation: evaluation("f32", [[5, 0], [1, 2]]), disagreements: None },
            Figures {
                name: "int8",
                evaluation: evaluation("int8", [[4, 1], [1, 2]]),
                disagreements: Some(1),
            },
        ];
        (all, ["cat", "a,dog"].map(str::to_owned).to_vec())
    }

    #[test]
    fn json_has_what_the_contract_names() {
        let (all, classes) = figures();
        let json = json(&all, &classes);
        assert_eq!(json.as_array().map(Vec::len), Some(2));
        assert_eq!(json[0]["precision"], "f32");
        assert_eq!(json[0]["accuracy"], 87.5);
        assert_eq!(json[0]["images_per_second"], 16.0);
        assert_eq!(json[0]["batch"], 4);
        assert_eq!((&json[0]["disagreements"], &json[1]["disagreements"]), (&json!(null), &json!(1)));
        assert_eq!(json[1]["confusion"], json!([[4, 1], [1, 2]]));
        let class = json!({ "class": "cat", "total": 5, "correct": 4, "accuracy": 80.0 });
        assert_eq!(json[1]["classes"][0], class);
    }

    #[test]
    fn tables_and_csv_hold_the_same() {
        let (all, classes) = figures();
        let text = table(&all, &classes).expect("a table");
        let cells =
            |line: &str| line.split('|').map(str::trim).map(str::to_owned).collect::<Vec<_>>().join("|");
        let lines: Vec<String> = text.lines().map(cells).collect();
        for expected in [
            "|precision|accuracy|images/s|batch|images|correct|model|disagreements|",
            "|f32|87.50 %|16.0|4|8|7|m/f32||",
            "|int8|75.00 %|16.0|4|8|6|m/int8|1|",
            "|class|total|f32|int8|",
            "|cat|5|100.00 %|80.00 %|",
            "|a,dog|3|66.67 %|66.67 %|",
            "|cat|4|1|",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected} in {text}");
        }
        let text = csv(&all, &classes).expect("text");
        for expected in [
            "f32,87.5,16,4,8,7,m/f32,",
            "int8,75,16,4,8,6,m/int8,1",
            "int8,cat,5,4,80",
            "int8,cat,\"a,dog\",1",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} in {text}");
        }
        assert_eq!(share(0, 0), 0.0);
    }

    #[test]
    fn more_images_than_there_are_is_an_error() {
        let error = load(None, None, NonZeroUsize::new(10_001)).expect_err("too many").to_string();
        assert!(error.contains("10001") && error.contains("10000"), "{error}");
    }
}
