//! Ranges of the activations, for int8: a table that ships beside the weights, or is measured on given images.
//!
//! An activation after ReLU is stored as `round(x / scale)` in 0..=255 with `scale = range / 255`. The largest value
//! seen would be a wasteful range where outliers are rare, so the range is the one that loses least in the square
//! over the images of the calibration, between rounding all values and clipping the largest.

use std::collections::BTreeMap;

/// Ranges by tensor, named as in the weights: "stem", "layer1.0.conv1" (after its ReLU), "layer1.0" (the block).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibration {
    ranges: BTreeMap<String, f32>,
}

impl Calibration {
    /// Reads `{"stem": 3.5, …}`.
    ///
    /// # Errors
    /// What is wrong with the text: no such object, or a range that is not positive.
    pub fn parse(json: &str) -> Result<Self, String> {
        let ranges: BTreeMap<String, f32> = serde_json::from_str(json)
            .map_err(|e| format!("the calibration is not a table of ranges: {e}"))?;
        match ranges.iter().find(|(_, range)| !(range.is_finite() && **range > 0.0)) {
            Some((name, range)) => Err(format!("the calibration has range {range} for {name}")),
            None => Ok(Self { ranges }),
        }
    }

    /// The table as JSON, one tensor a line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let lines: Vec<String> =
            self.ranges.iter().map(|(name, range)| format!("  {name:?}: {range}")).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }

    /// The range of tensor `name`.
    #[must_use]
    pub fn range(&self, name: &str) -> Option<f32> {
        self.ranges.get(name).copied()
    }
}

/// Bins of a histogram.
const BINS: usize = 4_096;

/// Collects values tensor by tensor, and decides on the ranges.
#[derive(Debug, Default)]
pub(super) struct Observer {
    histograms: BTreeMap<String, Histogram>,
}

#[derive(Debug)]
struct Histogram {
    /// Upper end of the last bin.
    end: f32,
    counts: Vec<u64>,
}

impl Observer {
    /// Counts the values of tensor `name`; those that are not positive say nothing about its range.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bins")]
    pub(super) fn observe(&mut self, name: &str, values: impl Iterator<Item = f32>) {
        let histogram = self
            .histograms
            .entry(name.to_owned())
            .or_insert_with(|| Histogram { end: 1.0 / 1024.0, counts: vec![0; BINS] });
        for value in values.filter(|v| *v > 0.0 && v.is_finite()) {
            while value >= histogram.end {
                histogram.double();
            }
            let bin = (value / histogram.end * BINS as f32) as usize;
            histogram.counts[bin.min(BINS - 1)] += 1;
        }
    }

    /// The ranges.
    pub(super) fn finish(self) -> Calibration {
        let ranges = self.histograms.into_iter().map(|(name, histogram)| (name, histogram.range())).collect();
        Calibration { ranges }
    }
}

impl Histogram {
    /// Twice the end, in as many bins.
    fn double(&mut self) {
        let merged: Vec<u64> = self.counts.chunks_exact(2).map(|pair| pair[0] + pair[1]).collect();
        self.counts = merged;
        self.counts.resize(BINS, 0);
        self.end *= 2.0;
    }

    /// The range with the smallest squared error.
    #[expect(clippy::cast_precision_loss, reason = "counts and bins far below 2^52")]
    fn range(&self) -> f32 {
        let bin = f64::from(self.end) / BINS as f64;
        let Some(last) = self.counts.iter().rposition(|count| *count > 0) else { return 1.0 };
        let loss = |bins: usize| {
            let range = bins as f64 * bin;
            // An error that is uniform within a step has a mean square of step² / 12.
            let rounding = (range / 255.0).powi(2) / 12.0;
            let per_bin = self.counts.iter().enumerate().take(last + 1).map(|(i, count)| {
                let value = (i as f64 + 0.5) * bin;
                *count as f64 * if i < bins { rounding } else { (value - range).powi(2) + rounding }
            });
            per_bin.sum::<f64>()
        };
        let smallest = (last / 8).max(1);
        let best = (smallest..=last + 1).min_by(|a, b| loss(*a).total_cmp(&loss(*b))).unwrap_or(last + 1);
        (best as f64 * bin) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_its_json() {
        let mut observer = Observer::default();
        observer.observe("b", [0.1, 5.0, -3.0].into_iter());
        observer.observe("a", [0.25; 10].into_iter());
        let table = observer.finish();
        assert_eq!(Calibration::parse(&table.to_json()).unwrap(), table);
        assert!(table.range("b").is_some_and(|r| (4.9..5.1).contains(&r)));
        assert!(Calibration::parse("{\"a\": 0}").is_err());
        assert!(Calibration::parse("[]").is_err());
    }

    #[test]
    fn a_lone_outlier_is_clipped() {
        let mut observer = Observer::default();
        observer.observe("a", (0..1_000_000).map(|i| (i % 1000) as f32 / 1000.0));
        observer.observe("a", [4.0].into_iter());
        let range = observer.finish().range("a").unwrap();
        assert!((0.9..3.0).contains(&range), "{range}");
    }
}
