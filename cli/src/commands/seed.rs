//! `firesteel seed`: synthetic predictions → MongoDB.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use clap::Args;
use firesteel_pipeline::seed::{self, Existing, Stats};
use firesteel_pipeline::sink::{Layout, MongoConfig};

use crate::args::MongoArgs;
use crate::context::{Context, Outcome};
use crate::output;
use crate::progress::Progress;

/// Which predictions, and into which collection.
#[derive(Debug, Args)]
#[command(next_help_heading = "Predictions")]
pub(crate) struct SeedArgs {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) docs: u64,
    /// Which: another seed makes other producers with other predictions
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Of how many producers, who take turns
    #[arg(long, value_name = "P", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) producers: u32,
    /// The share of images whose true class is not known, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(crate) unlabelled: f64,
    /// The collection
    #[arg(long, value_name = "NAME", default_value = "predictions", help_heading = "MongoDB")]
    pub(crate) collection: String,
    /// Makes a collection that is not clustered on `_id`, as MongoDB does unasked; for comparisons
    #[arg(long, help_heading = "MongoDB")]
    pub(crate) plain: bool,
    /// Drops what the collection holds first
    #[arg(long, help_heading = "MongoDB", conflicts_with = "append")]
    pub(crate) drop: bool,
    /// Adds to what the collection holds; a document that is there already is left as it is
    #[arg(long, help_heading = "MongoDB")]
    pub(crate) append: bool,
    #[command(flatten)]
    pub(crate) mongo: MongoArgs,
}

pub(crate) async fn run(args: SeedArgs, context: Context) -> anyhow::Result<Outcome> {
    let existing = match (args.drop, args.append) {
        (true, _) => Existing::Drop,
        (false, true) => Existing::Append,
        (false, false) => Existing::Refuse,
    };
    let config = seed::Config {
        mongo: MongoConfig { collection: args.collection.clone(), ..args.mongo.sink() },
        docs: args.docs,
        seed: args.seed,
        producers: args.producers,
        unlabelled: args.unlabelled,
        layout: if args.plain { Layout::Plain } else { Layout::Clustered },
        existing,
        ..seed::Config::default()
    };
    let stats = Arc::new(Stats::default());
    let done = || [stats.written.load(Ordering::Relaxed).saturating_add(stats.found.load(Ordering::Relaxed))];
    let work = seed::run(config, Arc::clone(&stats), context.signals.shutdown.clone());
    let result = Progress::of("documents", &context.bars, &[("seeded", args.docs)]).follow(work, done).await;
    let [reached] = done();
    let again = || format!("{reached} of {} are there; the same command with --append goes on", args.docs);
    let summary = match result {
        Err(error) if reached > 0 => return Err(error).with_context(again),
        result => result?,
    };
    let namespace = format!("{}.{}", args.mongo.mongodb_database, args.collection);
    if reached < args.docs {
        eprintln!("interrupted: {}", again());
        return Ok(Outcome::Interrupted);
    }
    let found = match summary.found {
        0 => String::new(),
        found => format!(", {found} were there already"),
    };
    output::print(&format!(
        "{} documents written to {namespace}{found}: {} producers, seed {}, {:.1} s\n",
        summary.written,
        summary.producers.len(),
        args.seed,
        summary.elapsed.as_secs_f64()
    ))?;
    Ok(Outcome::Done)
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0 to 1".to_owned()),
    }
}
