//! `firesteel seed`: synthetic predictions → MongoDB.

use crate::args::SeedArgs;
use crate::progress::Progress;
use crate::{Context, Outcome, output};
use anyhow::Context as _;
use firesteel_pipeline::seed::{self, Existing, Stats};
use firesteel_pipeline::sink::{Layout, MongoConfig};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

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
        layout: if args.plain { Layout::Plain } else { Layout::Clustered },
        existing,
        ..seed::Config::default()
    };
    let stats = Arc::new(Stats::default());
    let done = || [stats.written.load(Ordering::Relaxed).saturating_add(stats.found.load(Ordering::Relaxed))];
    let work = seed::run(config, Arc::clone(&stats), context.signals.shutdown.clone());
    tokio::pin!(work);
    let mut progress = Progress::of("documents", &context.bars, &[("seeded", args.docs)]);
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = ticks.tick() => progress.update(&done()),
        }
    };
    progress.update(&done());
    let [reached] = done();
    let again = || format!("{reached} of {} are there; the same command with --append goes on", args.docs);
    progress.finish();
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
