//! What was to be reached, computed from the results of one run.

use super::results::{Measured, Size};
use super::systems::System;
use crate::statistics::quotient;
use crate::target::Target;

/// Documents from which on time has to grow in proportion.
const LINEAR_FROM: u64 = 100_000;
const SMALL: u64 = 4_000;
const LARGE: u64 = 5_000_000;

/// The targets that the sizes of a run can say something about.
pub(super) fn targets(sizes: &[Size]) -> Vec<Target> {
    let mut targets = Vec::new();
    for size in sizes {
        let wall = |one: &Measured| one.wall.median;
        let peak = |one: &Measured| one.peak_bytes.median;
        // Whether pushing down or reading is faster depends on where MongoDB runs; a user takes the faster.
        let faster = |variants: [System; 2]| {
            let found = variants.into_iter().filter_map(|variant| find(size, variant));
            found.min_by(|one, other| wall(one).total_cmp(&wall(other)))
        };
        let cold = faster([System::FiresteelCold, System::FiresteelColdRows]);
        let warm = faster([System::ClusterPushdown, System::ClusterRows]);
        let count = documents(size.documents);
        if let (Some(ours), Some(spark)) = (cold, find(size, System::SparkCold)) {
            let what = format!("{} against spark-submit, cold, {count}", ours.name());
            let wanted = match size.documents {
                SMALL => Some(15.0),
                LARGE => Some(10.0),
                _ => None,
            };
            if let Some(wanted) = wanted {
                let ratio = quotient(wall(spark), wall(ours));
                targets.push(Target::at_least(format!("{what}: times as fast"), wanted, ratio));
            }
            if size.documents == LARGE {
                let ratio = quotient(peak(spark), peak(ours));
                targets.push(Target::at_least(format!("{what}: Spark's peak memory / ours"), 8.0, ratio));
            }
        }
        if let (Some(ours), Some(spark), LARGE) = (warm, find(size, System::SparkWarm), size.documents) {
            let what = format!("{} against Spark, warm, {count}", ours.name());
            let ratio = quotient(wall(spark), wall(ours));
            targets.push(Target::at_least(format!("{what}: times as fast"), 5.0, ratio));
            let ratio = quotient(peak(spark), peak(ours));
            targets.push(Target::at_least(format!("{what}: Spark's peak memory / ours"), 8.0, ratio));
        }
    }
    for system in
        [System::FiresteelCold, System::FiresteelColdRows, System::ClusterPushdown, System::ClusterRows]
    {
        let points: Vec<(f64, f64)> = sizes
            .iter()
            .filter(|size| size.documents >= LINEAR_FROM)
            .filter_map(|size| Some((size.documents as f64, find(size, system)?)))
            .map(|(documents, one)| (documents, one.wall.median))
            .collect();
        let Some(slope) = slope(&points) else { continue };
        let what = format!("{}: log–log slope of time over documents", system.name());
        targets.push(Target::within(what, (0.9, 1.1), slope));
        let peak = |size: Option<&Size>| Some(find(size?, system)?.peak_bytes.median);
        let first =
            sizes.iter().filter(|size| size.documents >= LINEAR_FROM).min_by_key(|size| size.documents);
        let last = sizes.iter().max_by_key(|size| size.documents);
        if let (Some(first), Some(last)) = (peak(first), peak(last)) {
            let growth = quotient(last, first);
            let what = format!("{}: growth of peak memory over the same", system.name());
            targets.push(Target::at_most(what, 1.5, growth));
        }
    }
    targets
}

fn find(size: &Size, system: System) -> Option<&Measured> {
    size.find(&system.name(), system.start())
}

/// The slope of the line of least squares through the logarithms; `None` with fewer than two distinct sizes.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|(x, _)| *x), mean(|(_, y)| *y));
    let spread: f64 = logs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let together: f64 = logs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    (spread > 0.0).then(|| together / spread)
}

/// A number of documents in words.
pub(super) fn documents(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{} documents", grouped(count)),
        _ if count.is_multiple_of(1_000_000) => format!("{} million documents", count / 1_000_000),
        _ => format!("{} documents", grouped(count)),
    }
}

fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_the_power_of_growth() {
        let points = |power: f64| [1e5_f64, 1e6, 5e6].map(|x| (x, 3.0 * x.powf(power)));
        assert!((slope(&points(1.0)).unwrap() - 1.0).abs() < 1e-9);
        assert!((slope(&points(0.5)).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(slope(&[(10.0, 1.0)]), None);
        assert_eq!(slope(&[]), None);
    }

    #[test]
    fn numbers_in_words() {
        assert_eq!(documents(4_000), "4,000 documents");
        assert_eq!(documents(5_000_000), "5 million documents");
        assert_eq!(documents(1_234_567), "1,234,567 documents");
        assert_eq!(documents(7), "7 documents");
    }
}
