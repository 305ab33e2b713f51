//! `firesteel dead-letters list`: the newest letters as rows, and all of them counted by class.
//!
//! Letters of several partitions come in no order, so the newest are kept until all are read: `--limit` bounds the memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use firesteel_pipeline::kafka::letters::{Letter, Letters};
use serde::Serialize;

use super::filters::FilterArgs;
use super::{Which, printable, shortened, tell_missing, time};
use crate::args::KafkaArgs;
use crate::context::{Context, Outcome};
use crate::output::{self, Format, grid, quoted};

/// How much of an error message a table shows.
const SHOWN: usize = 60;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// How to print them
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "List")]
    format: Format,
    /// Prints how many letters each class has, and no letter
    #[arg(long, help_heading = "List")]
    summary: bool,
    /// The most letters: the newest are shown
    #[arg(long, value_name = "N", default_value_t = 1_000, help_heading = "List",
          value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Whose letters [default: both]
    #[arg(long, value_name = "TOPIC", help_heading = "Letters")]
    topic: Option<Which>,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// A letter as it is listed.
#[derive(Debug, Clone, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: String,
    class: Option<String>,
    message: Option<String>,
    source_topic: Option<String>,
    source_partition: Option<i32>,
    source_offset: Option<i64>,
    /// Of a gap: the offset behind the last record that was lost.
    source_end: Option<i64>,
    producer_id: Option<String>,
    attempts: Option<u32>,
    replays: Option<u32>,
    size: Option<u64>,
    cut: bool,
}

impl Row {
    fn of(letter: &Letter) -> Self {
        let (facts, at) = (letter.facts(), letter.at());
        Self {
            topic: letter.topic().to_owned(),
            partition: at.partition,
            offset: at.offset,
            timestamp: time(letter.timestamp()),
            class: facts.class.clone(),
            message: facts.message.clone(),
            source_topic: facts.topic.clone(),
            source_partition: facts.partition,
            source_offset: facts.offset,
            source_end: facts.end,
            producer_id: letter.producer().map(str::to_owned),
            attempts: facts.attempts,
            replays: facts.replays,
            size: letter.size(),
            cut: letter.is_cut(),
        }
    }

    /// Where the record was; of a gap, the first and the last offset.
    fn source(&self) -> String {
        let number = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        let topic = self.source_topic.as_deref().unwrap_or("?");
        let partition = number(self.source_partition.map(i64::from));
        let last = self.source_end.map(|end| format!("..{}", end.saturating_sub(1))).unwrap_or_default();
        printable(&format!("{topic}:{partition}:{}{last}", number(self.source_offset)))
    }

    fn cells(&self) -> Vec<String> {
        let text = |text: &Option<String>| printable(text.as_deref().unwrap_or_default());
        let count = |count: Option<u32>| count.map(|count| count.to_string()).unwrap_or_default();
        let size = self.size.map(|size| if self.cut { format!("{size}, cut") } else { size.to_string() });
        vec![
            self.timestamp.clone(),
            self.topic.clone(),
            format!("{}:{}", self.partition, self.offset),
            text(&self.class),
            self.source(),
            text(&self.producer_id),
            count(self.attempts),
            count(self.replays),
            size.unwrap_or_default(),
            shortened(&text(&self.message), SHOWN),
        ]
    }
}

/// What was read so far: the newest letters, and the counts of all.
#[derive(Debug, Default)]
struct Found {
    newest: BTreeMap<(i64, String, i32, i64), Row>,
    classes: BTreeMap<String, u64>,
    letters: u64,
    /// Records that letters describe as gone.
    lost: u64,
}

impl Found {
    fn take(&mut self, letter: &Letter, limit: usize) {
        let row = Row::of(letter);
        self.letters += 1;
        *self.classes.entry(row.class.clone().unwrap_or_else(|| "unknown".to_owned())).or_default() += 1;
        let gap = row.source_offset.zip(row.source_end).map_or(0, |(first, end)| end.saturating_sub(first));
        self.lost = self.lost.saturating_add(gap.try_into().unwrap_or(0));
        let at = letter.at();
        let when = letter.timestamp().map_or(i64::MIN, |time| time.0);
        self.newest.insert((when, row.topic.clone(), at.partition, at.offset), row);
        if self.newest.len() > limit {
            self.newest.pop_first();
        }
    }

    /// The counts in one line.
    fn words(&self) -> String {
        let classes: Vec<String> =
            self.classes.iter().map(|(class, count)| format!("{} {count}", printable(class))).collect();
        let mut text = match self.letters {
            0 => "no letters".to_owned(),
            1 => format!("1 letter: {}", classes.join(", ")),
            letters => format!("{letters} letters: {}", classes.join(", ")),
        };
        if self.lost > 0 {
            text.push_str(&format!("; {} records are gone unread", self.lost));
        }
        let hidden = self.letters.saturating_sub(self.newest.len() as u64);
        if hidden > 0 {
            text.push_str(&format!("; {hidden} older ones are not shown (--limit)"));
        }
        text
    }
}

pub(super) async fn run(args: ListArgs, context: Context) -> anyhow::Result<Outcome> {
    let config = args.kafka.config()?;
    let limit = if args.summary { 0 } else { args.limit as usize };
    let mut found = Found::default();
    for topic in Which::topics(args.topic, &args.kafka) {
        let Some(mut letters) = Letters::open(&config, topic, args.filters.filter()).await? else {
            tell_missing(topic);
            continue;
        };
        loop {
            let letter = tokio::select! {
                letter = letters.next() => letter?,
                () = context.signals.shutdown.cancelled() => return Ok(Outcome::Interrupted),
            };
            match letter {
                Some(letter) => found.take(&letter, limit),
                None => break,
            }
        }
    }
    if args.summary {
        output::print(&summary(&found.classes, args.format)?)?;
    } else {
        output::print(&rows(&found.newest.values().cloned().collect::<Vec<_>>(), args.format)?)?;
        eprintln!("{}", found.words());
    }
    Ok(Outcome::Done)
}

fn rows(rows: &[Row], format: Format) -> anyhow::Result<String> {
    const HEADER: [&str; 10] =
        ["time", "topic", "letter", "class", "source", "producer", "attempts", "replays", "size", "message"];
    Ok(match format {
        Format::Table if rows.is_empty() => String::new(),
        Format::Table => grid(&HEADER, rows.iter().map(Row::cells))? + "\n",
        Format::Json => serde_json::to_string_pretty(rows)? + "\n",
        Format::Csv => {
            let mut text = String::from(
                "topic,partition,offset,timestamp,class,message,source_topic,source_partition,source_offset,source_end,\
                 producer_id,attempts,replays,size,cut\n",
            );
            for row in rows {
                let words = |text: &Option<String>| quoted(text.as_deref().unwrap_or_default());
                writeln!(
                    text,
                    "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
                    quoted(&row.topic),
                    row.partition,
                    row.offset,
                    row.timestamp,
                    words(&row.class),
                    words(&row.message),
                    words(&row.source_topic),
                    number(row.source_partition),
                    number(row.source_offset),
                    number(row.source_end),
                    words(&row.producer_id),
                    number(row.attempts),
                    number(row.replays),
                    number(row.size),
                    row.cut,
                )?;
            }
            text
        }
    })
}

fn number(number: Option<impl ToString>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn summary(classes: &BTreeMap<String, u64>, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Table => {
            let rows = classes.iter().map(|(class, count)| vec![printable(class), count.to_string()]);
            grid(&["class", "letters"], rows)? + "\n"
        }
        Format::Json => serde_json::to_string_pretty(classes)? + "\n",
        Format::Csv => classes.iter().fold("class,letters\n".to_owned(), |text, (class, count)| {
            text + &format!("{},{count}\n", quoted(class))
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            topic: "images.dead-letter".to_owned(),
            partition: 1,
            offset: 4,
            timestamp: "2026-11-18T09:06:40.123Z".to_owned(),
            class: Some("size".to_owned()),
            message: Some("too large, \u{1b}[2Jvery".to_owned()),
            source_topic: Some("images".to_owned()),
            source_partition: Some(3),
            source_offset: Some(17),
            source_end: None,
            producer_id: Some("0000002a".to_owned()),
            attempts: Some(20),
            replays: None,
            size: Some(70_000),
            cut: true,
        }
    }

    #[test]
    fn a_row_is_for_people_and_for_programs() {
        let cells = row().cells().join(" | ");
        assert_eq!(
            cells,
            "2026-11-18T09:06:40.123Z | images.dead-letter | 1:4 | size | images:3:17 | 0000002a | 20 |  | 70000, cut | \
             too large, \\u{1b}[2Jvery"
        );
        let json: serde_json::Value =
            serde_json::from_str(&rows(&[row()], Format::Json).expect("rows")).expect("JSON");
        assert_eq!((&json[0]["source_offset"], &json[0]["replays"]), (&17.into(), &serde_json::Value::Null));
        let csv = rows(&[row()], Format::Csv).expect("rows");
        assert!(csv.ends_with("images,3,17,,0000002a,20,,70000,true\n"), "{csv}");
        assert_eq!(rows(&[], Format::Json).expect("rows"), "[]\n");
    }

    #[test]
    fn a_gap_shows_what_is_gone() {
        let gap = Row {
            class: Some("data-loss".to_owned()),
            source_end: Some(40),
            size: None,
            cut: false,
            ..row()
        };
        assert_eq!(gap.source(), "images:3:17..39");
    }

    #[test]
    fn counts_are_told_with_what_is_not_shown() {
        let mut found = Found { letters: 5, lost: 23, ..Found::default() };
        found.classes = BTreeMap::from([("data-loss".to_owned(), 1), ("size".to_owned(), 4)]);
        assert_eq!(
            found.words(),
            "5 letters: data-loss 1, size 4; 23 records are gone unread; 5 older ones are not shown (--limit)"
        );
        assert_eq!(
            summary(&found.classes, Format::Csv).expect("counts"),
            "class,letters\ndata-loss,1\nsize,4\n"
        );
        assert_eq!(Found::default().words(), "no letters");
    }
}
