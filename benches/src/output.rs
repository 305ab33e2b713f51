//! What a run prints: tables for people, JSON for programs.

use serde_json::{Value, json};
use std::fmt::Write as _;

use crate::latency::{Latency, PARTS};
use crate::seeded::Layout;
use crate::statistics::{Times, quotient};
use crate::variants::{Measured, Variant};

/// What was measured over one layout.
pub(crate) struct Section {
    pub(crate) layout: Layout,
    pub(crate) docs: u64,
    pub(crate) plan: String,
    pub(crate) caching: f64,
    pub(crate) measured: Measured,
}

impl Section {
    pub(crate) fn median(&self, variant: Variant) -> f64 {
        self.measured.times.get(&variant).map_or(0.0, Times::median)
    }

    /// How many times as fast as `other` a variant is, by their medians.
    pub(crate) fn ratio(&self, variant: Variant, other: Variant) -> f64 {
        quotient(self.median(other), self.median(variant))
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self, seconds: f64) -> f64 {
        quotient(self.docs as f64, seconds)
    }

    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        writeln!(text, "\n{} documents, {} collection", self.docs, self.layout.name())?;
        writeln!(text, "  {}", self.plan)?;
        let head = ["", "median", "min", "max", "million docs/s", "x $group", "x cursor"];
        writeln!(
            text,
            "{:<24}{:>10}{:>10}{:>10}{:>16}{:>10}{:>10}",
            head[0], head[1], head[2], head[3], head[4], head[5], head[6]
        )?;
        for (variant, times) in &self.measured.times {
            let figures = times.figures();
            writeln!(
                text,
                "{:<24}{:>8.3} s{:>8.3} s{:>8.3} s{:>16.2}{:>10.2}{:>10.2}",
                variant.name(),
                figures.median,
                figures.min,
                figures.max,
                self.rate(figures.median) / 1e6,
                self.ratio(*variant, Variant::Group),
                self.ratio(*variant, Variant::Cursor),
            )?;
        }
        let (documents, wrong) = self.measured.answer.counts();
        writeln!(text, "  CACHE TABLE took {:.2} s", self.caching)?;
        writeln!(
            text,
            "  every variant, in every round, counted {documents} documents, {wrong} of them wrong"
        )?;
        Ok(text)
    }

    pub(crate) fn json(&self) -> Value {
        let variants = self.measured.times.iter().map(|(variant, times)| {
            let figures = times.figures();
            json!({
                "way": variant.name(), "median_seconds": figures.median, "min_seconds": figures.min,
                "max_seconds": figures.max, "seconds": figures.rounds,
                "documents_per_second": self.rate(figures.median),
            })
        });
        let (documents, wrong) = self.measured.answer.counts();
        json!({
            "layout": self.layout.name(), "documents": documents, "wrong": wrong, "plan": self.plan,
            "cache_seconds": self.caching, "ways": variants.collect::<Vec<_>>(),
        })
    }
}

pub(crate) fn latency_text(latency: &Latency, docs: u64) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let rounds = latency.total.seconds().len();
    writeln!(text, "\nlatency of a report over {docs} documents, warm, {rounds} times")?;
    let mut line = |name: &str, times: &Times| {
        let [median, low, high] = [0.5, 0.0, 0.95].map(|quantile| times.quantile(quantile) * 1e3);
        writeln!(text, "{name:<32}{median:>9.1} ms   min {low:.1}, 95 % within {high:.1}")
    };
    line("in all", &latency.total)?;
    line("  asking whether MongoDB answers", &latency.opening)?;
    for ((name, _), times) in PARTS.iter().zip(&latency.parts) {
        line(&format!("  {name}"), times)?;
    }
    Ok(text)
}

pub(crate) fn latency_json(latency: &Latency, docs: u64) -> Value {
    let part = |times: &Times| json!({ "median_seconds": times.median(), "min_seconds": times.quantile(0.0), "p95_seconds": times.quantile(0.95) });
    let parts = PARTS.iter().zip(&latency.parts).map(|((name, _), times)| ((*name).to_owned(), part(times)));
    let mut parts: serde_json::Map<String, Value> = parts.collect();
    parts.insert("asking whether MongoDB answers".to_owned(), part(&latency.opening));
    json!({ "documents": docs, "total": part(&latency.total), "parts": parts })
}
