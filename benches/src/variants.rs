//! The variants of one count: what the report counts, by our engine and by what a user would pick instead.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use bson::raw::RawBsonRef;
use bson::{RawDocument, doc};
use firesteel_engine::{Config, Outcome, Session, report};
use futures::StreamExt as _;
use mongodb::Database;

use crate::answer::Answer;
use crate::group::group;
use crate::statistics::{Times, time};

const COLLECTION: &str = "predictions";

/// One variant of the same count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    /// MongoDB's own aggregation: one `$group` with the keys and accumulators of the report.
    Group,
    /// Our report, its aggregation pushed down into MongoDB where the planner finds that worth it.
    Pushdown,
    /// Our report over rows that MongoDB sends.
    Rows,
    /// The Rust driver's raw batches of one cursor, two fields, counted in one loop.
    Cursor,
    /// Our report over `CACHE TABLE predictions`.
    Cached,
}

impl Variant {
    pub(crate) const ALL: [Self; 5] = [Self::Group, Self::Pushdown, Self::Rows, Self::Cursor, Self::Cached];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Group => "MongoDB, one $group",
            Self::Pushdown => "report, pushdown",
            Self::Rows => "report, no pushdown",
            Self::Cursor => "raw cursor, two fields",
            Self::Cached => "report, cached table",
        }
    }
}

/// Everything that the variants run on, over one database.
pub(crate) struct Variants {
    database: Database,
    pushdown: Session,
    rows: Session,
    cached: Session,
}

impl Variants {
    pub(crate) async fn open(uri: &str, database: &str) -> anyhow::Result<Self> {
        let config = Config::new(uri, database);
        let mut plain = config.clone();
        plain.scan.aggregate_pushdown = false;
        Ok(Self {
            database: mongodb::Client::with_uri_str(uri).await?.database(database),
            pushdown: Session::embedded(config.clone()).await?,
            rows: Session::embedded(plain).await?,
            cached: Session::embedded(config).await?,
        })
    }

    /// Loads the cache.
    pub(crate) async fn cache(&self) -> anyhow::Result<()> {
        match Box::pin(self.cached.execute("CACHE TABLE predictions")).await? {
            Outcome::Done(_) => {}
            Outcome::Rows(rows) => drop(rows.collect().await?),
        }
        Ok(())
    }

    pub(crate) async fn run(&self, variant: Variant) -> anyhow::Result<Answer> {
        let report = match variant {
            Variant::Group => group(&self.database).await?,
            Variant::Pushdown => Box::pin(report::run(&self.pushdown, None)).await?,
            Variant::Rows => Box::pin(report::run(&self.rows, None)).await?,
            Variant::Cached => Box::pin(report::run(&self.cached, None)).await?,
            Variant::Cursor => return self.cursor().await,
        };
        Answer::of(&report)
    }

    /// How the engine would read: the lines of its plan that name MongoDB.
    pub(crate) async fn plan(&self) -> anyhow::Result<String> {
        let sql = "SELECT producer_id, label, count(*), count(correct), sum(CAST(correct IS FALSE AS BIGINT)), \
                   min(produced_at), max(inferred_at) FROM predictions GROUP BY producer_id, label";
        let plan = self.pushdown.sql(sql).await?.explain().await?;
        let physical = plan.split("distributed_plan").next().unwrap_or_default();
        let line = physical.lines().map(str::trim).find(|line| line.starts_with("Mongo"));
        Ok(line.unwrap_or("no scan of MongoDB in the plan").to_owned())
    }

    async fn cursor(&self) -> anyhow::Result<Answer> {
        let find = doc! { "find": COLLECTION, "projection": { "_id": 0, "producer_id": 1, "correct": 1 } };
        let mut batches = self.database.run_cursor_command(find).batch().await?;
        let (mut documents, mut wrong, mut bytes) = (0, 0, 0);
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            for document in batch.doc_slices()? {
                let document: &RawDocument = document?.as_document().context("a document")?;
                bytes += document.get_str("producer_id")?.len();
                // An unlabelled image is neither right nor wrong.
                if let Some(RawBsonRef::Boolean(correct)) = document.get("correct")? {
                    wrong += u64::from(!correct);
                    documents += 1;
                }
            }
        }
        ensure!(bytes > 0, "the documents have no producer_id");
        Ok(Answer::Counts(documents, wrong))
    }

    pub(crate) async fn close(self) {
        for session in [self.pushdown, self.rows, self.cached] {
            session.shutdown().await;
        }
    }
}

/// The times of every variant, and the one answer that all of them gave.
pub(crate) struct Measured {
    pub(crate) times: BTreeMap<Variant, Times>,
    pub(crate) answer: Answer,
}

/// Runs the variants in turn (A B C A B C), so that what else the machine does falls on all of them alike. Nothing is
/// said about times before every answer of the warm-up and of every round agreed.
pub(crate) async fn alternate(
    variants: &Variants,
    chosen: &[Variant],
    rounds: usize,
) -> anyhow::Result<Measured> {
    let mut times: BTreeMap<Variant, Times> = BTreeMap::new();
    let mut first: Option<(Variant, Answer)> = None;
    for round in 0..=rounds {
        for &variant in chosen {
            let (answer, time) = time(variants.run(variant)).await.context(variant.name())?;
            match &first {
                None => first = Some((variant, answer)),
                Some((other, expected)) => ensure!(
                    answer.agrees(expected),
                    "{} counted {:?}, {} counted {:?}",
                    variant.name(),
                    answer.counts(),
                    other.name(),
                    expected.counts()
                ),
            }
            // Round 0 is the warm-up.
            if round > 0 {
                times.entry(variant).or_default().push(time);
            }
        }
    }
    let (_, answer) = first.context("there is no variant to measure")?;
    Ok(Measured { times, answer })
}
