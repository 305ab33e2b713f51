//! `firesteel dead-letters replay`: the records of letters once more, each once.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use firesteel_pipeline::kafka::letters::replay::{self, Config, Fate, Left, Stats, Summary};
use firesteel_pipeline::kafka::letters::{Letter, Letters};

use super::filters::{FILTERS, FilterArgs};
use super::{Which, printable, tell_missing};
use crate::args::KafkaArgs;
use crate::context::{Context, Outcome};
use crate::output;
use crate::progress::Progress;

/// How many letters that are left out are named; the others are counted.
const NAMED: usize = 20;

/// A replay says which letters it means, if only that it means all.
fn meant() -> ArgGroup {
    ArgGroup::new("meant").args(FILTERS).arg("all").required(true).multiple(true)
}

#[derive(Debug, Args)]
#[command(group = meant())]
pub(super) struct ReplayArgs {
    /// All letters, where no filter leaves any out
    #[arg(long, help_heading = "Letters")]
    all: bool,
    /// Whose letters [default: both]
    #[arg(long, value_name = "TOPIC", help_heading = "Letters")]
    topic: Option<Which>,
    #[command(flatten)]
    filters: FilterArgs,
    /// Sends nothing, and says what would be sent
    #[arg(long, help_heading = "Replay")]
    dry_run: bool,
    /// Sends the records to this topic, which has to be there [default: the one that they came from]
    #[arg(long, value_name = "TOPIC", help_heading = "Replay")]
    to: Option<String>,
    /// Leaves out records that were replayed as often already
    #[arg(long, value_name = "N", default_value_t = Config::MAX_ATTEMPTS, help_heading = "Replay",
          value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: u32,
    /// How many records a transaction has, at most
    #[arg(long, value_name = "N", default_value_t = 300, help_heading = "Replay",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    #[command(flatten)]
    kafka: KafkaArgs,
}

pub(super) async fn run(args: ReplayArgs, context: Context) -> anyhow::Result<Outcome> {
    let kafka = args.kafka.config()?;
    let mut done = 0;
    for topic in Which::topics(args.topic, &args.kafka) {
        let config = Config {
            filter: args.filters.filter(),
            to: args.to.clone(),
            max_attempts: args.max_attempts,
            batch: args.batch as usize,
            dry_run: args.dry_run,
            replication: args.kafka.kafka_replication,
            ..Config::new(kafka.clone(), topic)
        };
        let Some(wanted) = Letters::count(&kafka, topic, &config.filter).await? else {
            tell_missing(topic);
            continue;
        };
        let (stats, mut telling) = (Stats::default(), Telling { dry_run: args.dry_run, named: 0 });
        let work = replay::run(
            config,
            &stats,
            |letter, fate| telling.tell(letter, fate),
            context.signals.shutdown.clone(),
        );
        let read = || [stats.read.load(Relaxed)];
        let ended = Progress::of("letters", &context.bars, &[("read", wanted)]).follow(work, read).await;
        let summary = ended.with_context(|| match done {
            0 => format!("letters of {topic} were not all replayed; the same command goes on"),
            done => format!("{done} letters were replayed, and not all of {topic}; the same command goes on"),
        })?;
        done += summary.replayed;
        output::print(&words(&summary, topic, &args))?;
        if summary.interrupted {
            eprintln!("interrupted: what was sent is committed, and the same command goes on");
            return Ok(Outcome::Interrupted);
        }
    }
    Ok(Outcome::Done)
}

/// Says what becomes of letters: of all in a dry run, else of those that are left out for a reason that somebody may mend.
struct Telling {
    dry_run: bool,
    named: usize,
}

impl Telling {
    fn tell(&mut self, letter: &Letter, fate: &Fate) {
        let at = format!("{} {}", letter.topic(), letter.at());
        let class = printable(letter.facts().class.as_deref().unwrap_or("unknown"));
        let told = match fate {
            Fate::Replayed { to, attempt } if self.dry_run => {
                format!("{at} ({class}): to {to}, attempt {attempt}")
            }
            Fate::Left(left) if self.dry_run => format!("{at} ({class}): left out, {left}"),
            Fate::Left(Left::AlreadyReplayed) | Fate::Replayed { .. } => return,
            Fate::Left(left) => {
                self.named += 1;
                match self.named {
                    ..=NAMED => eprintln!("{at} ({class}): left out, {left}"),
                    _ if self.named == NAMED + 1 => {
                        eprintln!("further letters that are left out are only counted")
                    }
                    _ => {}
                }
                return;
            }
        };
        // Whoever reads this may have gone away, and the counts say it all once more.
        let _ = output::print(&format!("{told}\n"));
    }
}

/// The result in words.
fn words(summary: &Summary, topic: &str, args: &ReplayArgs) -> String {
    let to = args.to.as_deref().unwrap_or(topic);
    let would = if args.dry_run { "would be " } else { "" };
    let letters = if summary.replayed == 1 { "letter" } else { "letters" };
    let mut text = format!("{} {letters} of {topic} {would}replayed to {to}", summary.replayed);
    for (index, (left, count)) in summary.left.iter().enumerate() {
        let hint = match left {
            Left::TooOften => " (--max-attempts)",
            Left::Misplaced => " (--to)",
            _ => "",
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{} {count} {left}{hint}", if index == 0 { "; left out:" } else { "," });
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::collections::BTreeMap;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: ReplayArgs,
    }

    fn parse(arguments: &[&str]) -> Result<ReplayArgs, clap::Error> {
        Alone::try_parse_from(std::iter::once("replay").chain(arguments.iter().copied()))
            .map(|alone| alone.args)
    }

    #[test]
    fn a_replay_says_what_it_means() {
        let refused = parse(&["--dry-run"]).expect_err("no letters");
        assert_eq!(refused.exit_code(), 2);
        for flag in ["--class", "--letter", "--all"] {
            assert!(refused.to_string().contains(flag), "{refused}");
        }
        for arguments in [&["--all"][..], &["--class", "x"], &["--since", "2h", "--letter", "0:1"]] {
            assert!(parse(arguments).is_ok(), "{arguments:?}");
        }
    }

    #[test]
    fn the_result_says_what_was_left_out_and_what_changes_that() {
        let summary = Summary {
            replayed: 12,
            left: BTreeMap::from([(Left::AlreadyReplayed, 3), (Left::TooOften, 1)]),
            interrupted: false,
        };
        let args = parse(&["--all"]).expect("arguments");
        assert_eq!(
            words(&summary, "images", &args),
            "12 letters of images replayed to images; left out: 3 replayed before, 1 replayed too often (--max-attempts)\n"
        );
        let args = parse(&["--all", "--dry-run", "--to", "other"]).expect("arguments");
        let one = Summary { replayed: 1, ..Summary::default() };
        assert_eq!(words(&one, "images", &args), "1 letter of images would be replayed to other\n");
    }
}
