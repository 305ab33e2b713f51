//! `firesteel dead-letters show`: one letter, and what its record is.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use firesteel_pipeline::kafka::letters::{Fetched, Fetcher, Filter, Letter, Letters, Place, Source, Span};
use firesteel_proto::{ImageRecord, Label, PredictionRecord};

use super::{Which, bytes, printable, shortened, tell_missing, time};
use crate::args::KafkaArgs;
use crate::context::{Context, Outcome};
use crate::output;

/// How much of a header or a key is shown.
const SHOWN: usize = 200;

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Which letter, by its place in the topic of letters
    #[arg(value_name = "PARTITION:OFFSET")]
    letter: Place,
    /// Whose letter
    #[arg(long, value_name = "TOPIC", default_value = "images", help_heading = "Letter")]
    topic: Which,
    /// Writes the image to a file, which is replaced where it exists
    #[arg(long, value_name = "FILE", help_heading = "Letter")]
    out: Option<PathBuf>,
    /// Writes the whole value of the record instead, whatever it is
    #[arg(long, requires = "out", help_heading = "Letter")]
    raw: bool,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// The value of a record as far as it can be had.
enum Value<'a> {
    /// All of it; none where the record had none.
    Whole(Option<&'a [u8]>),
    /// There never was a record.
    Gap,
    /// The letter has the beginning, and the rest is not to be had any more.
    Cut(String),
}

pub(super) async fn run(args: ShowArgs, context: Context) -> anyhow::Result<Outcome> {
    tokio::select! {
        shown = show(&args) => shown.map(|()| Outcome::Done),
        () = context.signals.shutdown.cancelled() => Ok(Outcome::Interrupted),
    }
}

async fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let config = args.kafka.config()?;
    let (topic, at) = (args.topic.topic(&args.kafka), args.letter);
    let only = Span { partition: at.partition, first: at.offset, last: at.offset };
    let filter = Filter { letters: vec![only], ..Filter::default() };
    let Some(mut letters) = Letters::open(&config, topic, filter).await? else {
        tell_missing(topic);
        bail!("there is no letter {at} of {topic}");
    };
    let Some(letter) = letters.next().await? else {
        let kept = match letters.ends().get(&at.partition) {
            Some((low, end)) => kept(at.partition, *low, *end),
            None => format!("there are partitions 0 to {}", letters.ends().len().saturating_sub(1)),
        };
        bail!("there is no letter {at} in {}: {kept}", letters.topic());
    };
    let fetched = match letter.is_cut() {
        true => Some(Fetcher::new(&config)?.fetch(&letter).await?),
        false => None,
    };
    let value = value(&letter, fetched.as_ref());
    output::print(&text(&letter, &value, args.topic)?)?;
    match &args.out {
        Some(path) => write(path, &value, args),
        None => Ok(()),
    }
}

fn kept(partition: i32, low: i64, end: i64) -> String {
    match end.saturating_sub(1) {
        last if last < low => format!("partition {partition} is empty"),
        last => format!("partition {partition} has offsets {low} to {last}"),
    }
}

fn value<'a>(letter: &'a Letter, fetched: Option<&'a Fetched>) -> Value<'a> {
    match fetched {
        _ if letter.facts().is_gap() => Value::Gap,
        None => Value::Whole(letter.value()),
        Some(Fetched::Whole(whole)) => Value::Whole(whole.value()),
        Some(Fetched::Gone { kept: found }) => Value::Cut(match (letter.source(), found) {
            (Some(Source { topic, at }), Some((low, end))) => {
                let kept = kept(at.partition, *low, *end);
                format!("the whole record, {topic}:{at}, is gone: retention removed it, and {kept}")
            }
            (Some(source), None) => {
                format!("the whole record, {source}, is gone: there is no such partition any more")
            }
            (None, _) => "the letter does not say where its record was".to_owned(),
        }),
        Some(Fetched::Another) => Value::Cut(
            "the whole record is gone: another is at its offset, since the topic was made anew".to_owned(),
        ),
    }
}

fn text(letter: &Letter, value: &Value<'_>, which: Which) -> anyhow::Result<String> {
    let facts = letter.facts();
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{name:<10}{value}");
    line("letter", format!("{} of {}, written {}", letter.at(), letter.topic(), time(letter.timestamp())))?;
    line("class", printable(facts.class.as_deref().unwrap_or("unknown")))?;
    line("message", printable(facts.message.as_deref().unwrap_or_default()))?;
    let source =
        letter.source().map_or_else(|| "unknown".to_owned(), |source| printable(&source.to_string()));
    match (facts.end, facts.offset) {
        (Some(end), Some(first)) => {
            let (last, lost) = (end.saturating_sub(1), end.saturating_sub(first));
            line("source", format!("{source} to offset {last}: {lost} records, gone before they were read"))?;
        }
        _ => line("source", source)?,
    }
    if let Some(attempts) = facts.attempts {
        line("attempts", attempts.to_string())?;
    }
    match facts.replays {
        Some(replays) => line("replays", replays.to_string())?,
        None => line("replays", "known by the whole record alone".to_owned())?,
    }
    if let Some(key) = letter.key() {
        line("key", shortened(&bytes(key), SHOWN))?;
    }
    for (index, header) in letter.headers().iter().enumerate() {
        let name = printable(header.name);
        let shown = header.value.map_or_else(|| "(none)".to_owned(), |value| shortened(&bytes(value), SHOWN));
        line(if index == 0 { "headers" } else { "" }, format!("{name} = {shown}"))?;
    }
    line("record", record(letter, value, which))?;
    Ok(text)
}

/// What the record is, in words.
fn record(letter: &Letter, value: &Value<'_>, which: Which) -> String {
    let value = match value {
        Value::Gap => return "none: the letter describes records that are gone".to_owned(),
        Value::Cut(why) => {
            let (has, of) = (letter.value().map_or(0, <[u8]>::len), letter.size().unwrap_or(0));
            return format!("the first {has} of {of} bytes; {}", printable(why));
        }
        Value::Whole(None) => return "it has no value".to_owned(),
        Value::Whole(Some(value)) => *value,
    };
    let fetched = if letter.is_cut() { ", fetched from its source" } else { "" };
    let size = format!("{} bytes{fetched}", value.len());
    match which {
        Which::Images => match ImageRecord::decode(value) {
            Ok(image) => format!(
                "image {} {}, {} bytes of {:?}, produced {}; {size}",
                image.id,
                labelled(image.label.as_ref()),
                image.data.len(),
                image.encoding,
                time(Some(image.produced_at)),
            ),
            Err(error) => format!("no image ({}); {size}", printable(&error.to_string())),
        },
        Which::Predictions => match PredictionRecord::decode(value) {
            Ok(prediction) => format!(
                "prediction {}: an image {} is taken for {} with {:.3} by {}, inferred {}; {size}",
                prediction.id,
                labelled(prediction.label.as_ref()),
                printable(prediction.predicted.as_str()),
                prediction.confidence,
                printable(&prediction.model),
                time(Some(prediction.inferred_at)),
            ),
            Err(error) => format!("no prediction ({}); {size}", printable(&error.to_string())),
        },
    }
}

fn labelled(label: Option<&Label>) -> String {
    label.map_or_else(
        || "without a label".to_owned(),
        |label| format!("labelled {}", printable(label.as_str())),
    )
}

fn write(path: &Path, value: &Value<'_>, args: &ShowArgs) -> anyhow::Result<()> {
    let value = match value {
        Value::Whole(Some(value)) => *value,
        Value::Whole(None) => bail!("the record of letter {} has no value to write", args.letter),
        Value::Gap => bail!("letter {} has no record: it describes records that are gone", args.letter),
        Value::Cut(why) => bail!("letter {} has only the beginning of its record: {why}", args.letter),
    };
    let image;
    let (what, written): (_, &[u8]) = match (args.raw, args.topic) {
        (true, _) => ("record", value),
        (false, Which::Predictions) => bail!("a prediction holds no image: --raw writes the record"),
        (false, Which::Images) => {
            image = ImageRecord::decode(value)
                .context("no image can be taken out of the record: --raw writes all of it")?;
            ("image", &image.data)
        }
    };
    std::fs::write(path, written).with_context(|| format!("cannot write {} (--out)", path.display()))?;
    eprintln!("{} bytes of the {what} are in {}", written.len(), path.display());
    Ok(())
}
