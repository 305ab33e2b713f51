//! The report by our engine, and by what a user would pick instead, side by side in one run.
//!
//! `seeded` makes the collections, once → `ways` runs every way in turn and refuses to go on where two of them count
//! differently → `measure` takes medians → `output` prints them with the goals that they met or missed. A missed goal
//! is no failure of the program: figures are for people, and a busy machine misses goals.

use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;

use crate::latency;
use crate::measure::{Bound, Goal, time};
use crate::output::{self, Section};
use crate::seeded::{self, Layout, Target};
use crate::ways::{Way, Ways, alternate};

/// Documents behind the goal for the latency.
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
    target: Target,
}

pub(crate) async fn run(args: ReportArgs) -> anyhow::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{processors} processors, {} rounds after a warm-up, all ways in turn", args.rounds);

    let mut sections = Vec::new();
    for layout in [Layout::Clustered, Layout::Plain] {
        let section = Box::pin(section(&args, layout)).await?;
        print!("{}", section.text()?);
        sections.push(section);
    }
    let small = seeded::ensure(&args.target, SMALL, Layout::Clustered).await?;
    let latency = latency::measure(&args.target.mongodb_uri, &small, SMALL, usize::from(args.small));
    let latency = Box::pin(latency).await.context("the small report")?;
    print!("{}", output::latency_text(&latency, SMALL)?);

    let mut goals: Vec<Goal> = sections.iter().flat_map(goals).collect();
    goals.push(Goal {
        what: format!("a report over {SMALL} documents on a warm engine"),
        bound: Bound::AtMost,
        wanted: 150.0,
        measured: latency.total.median() * 1e3,
        unit: "ms",
    });
    print!("{}", output::goals_text(&goals)?);
    if let Some(path) = &args.json {
        let all = serde_json::json!({
            "processors": processors,
            "rounds": args.rounds,
            "sections": sections.iter().map(Section::json).collect::<Vec<_>>(),
            "latency": output::latency_json(&latency, SMALL),
            "goals": output::goals_json(&goals),
        });
        std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn section(args: &ReportArgs, layout: Layout) -> anyhow::Result<Section> {
    let database = seeded::ensure(&args.target, args.docs, layout).await?;
    let ways = Ways::open(&args.target.mongodb_uri, &database).await?;
    let plan = ways.plan().await?.replace(&format!("{database}."), "");
    let ((), caching) = time(ways.cache()).await.context("CACHE TABLE")?;
    let measured = Box::pin(alternate(&ways, &Way::ALL, usize::from(args.rounds))).await?;
    ways.close().await;
    Ok(Section { layout, docs: args.docs, plan, caching: caching.as_secs_f64(), measured })
}

/// What was asked for, by layout.
fn goals(section: &Section) -> Vec<Goal> {
    let goal = |what: &str, way, other, wanted| Goal {
        what: format!("{what}, {} collection", section.layout.name()),
        bound: Bound::AtLeast,
        wanted,
        measured: section.ratio(way, other),
        unit: "x",
    };
    let pushdown = match section.layout {
        Layout::Clustered => 1.3,
        Layout::Plain => 1.0,
    };
    vec![
        goal("pushdown against one $group", Way::Pushdown, Way::Group, pushdown),
        goal("no pushdown against the raw cursor", Way::Rows, Way::Cursor, 1.5),
        goal("cached table against one $group", Way::Cached, Way::Group, 20.0),
    ]
}
