//! The report by our engine, and by what a user would pick instead, side by side in one run.
//!
//! `seeded` makes the collections, once → `variants` runs every variant in turn and refuses to go on where two of them
//! count differently → `statistics` takes medians → `output` prints them, and `target` what they met or missed.

use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;

use crate::latency;
use crate::output::{self, Section};
use crate::seeded::{self, Layout, ServerArgs};
use crate::statistics::time;
use crate::target::{self, Target};
use crate::variants::{Variant, Variants, alternate};

/// Documents behind the target for the latency.
const SMALL: u64 = 4_000;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Documents in each collection
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    docs: u64,
    /// Rounds that count, after one that warms up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Small reports for the latency
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    small: u16,
    /// Also writes everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: ReportArgs) -> anyhow::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{processors} processors, {} rounds after a warm-up, all variants in turn", args.rounds);

    let mut sections = Vec::new();
    for layout in [Layout::Clustered, Layout::Plain] {
        let section = Box::pin(section(&args, layout)).await?;
        print!("{}", section.text()?);
        sections.push(section);
    }
    let small = seeded::ensure(&args.server, SMALL, Layout::Clustered).await?;
    let latency = latency::measure(&args.server.mongodb_uri, &small, SMALL, usize::from(args.small));
    let latency = Box::pin(latency).await.context("the small report")?;
    print!("{}", output::latency_text(&latency, SMALL)?);

    let mut targets: Vec<Target> = sections.iter().flat_map(targets).collect();
    let what = format!("a report over {SMALL} documents on a warm engine");
    targets.push(Target::at_most(what, 150.0, latency.total.median() * 1e3).unit("ms"));
    print!("{}", target::text(&targets)?);
    if let Some(path) = &args.json {
        let all = serde_json::json!({
            "processors": processors,
            "rounds": args.rounds,
            "sections": sections.iter().map(Section::json).collect::<Vec<_>>(),
            "latency": output::latency_json(&latency, SMALL),
            "goals": targets.iter().map(Target::json).collect::<Vec<_>>(),
        });
        std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn section(args: &ReportArgs, layout: Layout) -> anyhow::Result<Section> {
    eprintln!("{} documents, {}: seeding, unless they are there", args.docs, layout.name());
    let database = seeded::ensure(&args.server, args.docs, layout).await?;
    let variants = Variants::open(&args.server.mongodb_uri, &database).await?;
    let plan = variants.plan().await?.replace(&format!("{database}."), "");
    let ((), caching) = time(variants.cache()).await.context("CACHE TABLE")?;
    let measured = Box::pin(alternate(&variants, &Variant::ALL, usize::from(args.rounds))).await?;
    variants.close().await;
    Ok(Section { layout, docs: args.docs, plan, caching: caching.as_secs_f64(), measured })
}

/// What was asked for, by layout.
fn targets(section: &Section) -> Vec<Target> {
    let target = |what: &str, variant, other, wanted| {
        let what = format!("{what}, {} collection", section.layout.name());
        Target::at_least(what, wanted, section.ratio(variant, other)).unit("x")
    };
    let pushdown = match section.layout {
        Layout::Clustered => 1.3,
        Layout::Plain => 1.0,
    };
    vec![
        target("pushdown against one $group", Variant::Pushdown, Variant::Group, pushdown),
        target("no pushdown against the raw cursor", Variant::Rows, Variant::Cursor, 1.5),
        target("cached table against one $group", Variant::Cached, Variant::Group, 20.0),
    ]
}
