//! The ways to count: what the report counts, by our engine and by what a user would pick instead.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use bson::{RawDocument, doc};
use firesteel_engine::bench;
use firesteel_engine::report::{self, Report};
use firesteel_engine::{Config, Outcome, Session};
use futures::StreamExt as _;
use mongodb::Database;

const COLLECTION: &str = "predictions";

/// One way to the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
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

impl Way {
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

/// What a way counted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Report(Box<Report>),
    /// The cursor's: documents, and those that are not correct.
    Counts {
        documents: u64,
        wrong: u64,
    },
}

impl Answer {
    /// Whether both counted the same.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Report(one), Self::Report(other)) => one == other,
            _ => self.counts() == other.counts(),
        }
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        match self {
            Self::Report(report) => {
                let wrong = report.producers.iter().map(|row| row.wrong_inference_count).sum();
                (report.totals.images, wrong)
            }
            Self::Counts { documents, wrong } => (*documents, *wrong),
        }
    }
}

/// Everything that the ways run on, over one database.
pub(crate) struct Ways {
    database: Database,
    pushdown: Session,
    rows: Session,
    cached: Session,
}

impl Ways {
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

    pub(crate) async fn run(&self, way: Way) -> anyhow::Result<Answer> {
        let mut report = match way {
            Way::Group => bench::group(&self.database).await?,
            Way::Pushdown => Box::pin(report::run(&self.pushdown, None)).await?,
            Way::Rows => Box::pin(report::run(&self.rows, None)).await?,
            Way::Cached => Box::pin(report::run(&self.cached, None)).await?,
            Way::Cursor => return self.cursor().await,
        };
        // The time is the one thing in which the same reports differ.
        report.totals.job_seconds = 0.0;
        Ok(Answer::Report(Box::new(report)))
    }

    /// How the engine would read: the lines of its plan that name MongoDB.
    pub(crate) async fn plan(&self) -> anyhow::Result<String> {
        let sql = "SELECT producer_id, label, count(*), sum(CASE WHEN correct THEN 0 ELSE 1 END), min(produced_at), \
                   max(inferred_at) FROM predictions GROUP BY producer_id, label";
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
                wrong += u64::from(!document.get_bool("correct")?);
                documents += 1;
            }
        }
        ensure!(bytes > 0, "the documents have no producer_id");
        Ok(Answer::Counts { documents, wrong })
    }

    pub(crate) async fn close(self) {
        for session in [self.pushdown, self.rows, self.cached] {
            session.shutdown().await;
        }
    }
}

/// The times of every way, and the one answer that all of them gave.
pub(crate) struct Measured {
    pub(crate) times: BTreeMap<Way, crate::measure::Times>,
    pub(crate) answer: Answer,
}

/// Runs the ways in turn (A B C A B C), so that what else the machine does falls on all of them alike. Nothing is said
/// about times before every answer of the warm-up and of every round agreed.
pub(crate) async fn alternate(ways: &Ways, chosen: &[Way], rounds: usize) -> anyhow::Result<Measured> {
    let mut times: BTreeMap<Way, crate::measure::Times> = BTreeMap::new();
    let mut first: Option<(Way, Answer)> = None;
    for round in 0..=rounds {
        for &way in chosen {
            let (answer, time) = crate::measure::time(ways.run(way)).await.context(way.name())?;
            match &first {
                None => first = Some((way, answer)),
                Some((other, expected)) => ensure!(
                    answer.agrees(expected),
                    "{} counted {:?}, {} counted {:?}",
                    way.name(),
                    answer.counts(),
                    other.name(),
                    expected.counts()
                ),
            }
            // Round 0 is the warm-up.
            if round > 0 {
                times.entry(way).or_default().push(time);
            }
        }
    }
    let (_, answer) = first.context("there is no way to measure")?;
    Ok(Measured { times, answer })
}
