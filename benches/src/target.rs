//! A figure that was asked for, beside the one that was measured.
//!
//! A busy machine misses targets, so a miss is reported and is no failure of the program. In what users read, and in
//! the JSON of every run, a target is called a goal.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What was asked for and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) at_least: Option<f64>,
    pub(crate) at_most: Option<f64>,
    pub(crate) measured: f64,
    pub(crate) met: bool,
    /// What the figures count; empty for a plain ratio, and not kept in a comparison's JSON.
    #[serde(skip)]
    pub(crate) unit: &'static str,
}

impl Target {
    pub(crate) fn at_least(what: String, wanted: f64, measured: f64) -> Self {
        Self::between(what, Some(wanted), None, measured)
    }

    pub(crate) fn at_most(what: String, wanted: f64, measured: f64) -> Self {
        Self::between(what, None, Some(wanted), measured)
    }

    pub(crate) fn within(what: String, range: (f64, f64), measured: f64) -> Self {
        Self::between(what, Some(range.0), Some(range.1), measured)
    }

    fn between(what: String, at_least: Option<f64>, at_most: Option<f64>, measured: f64) -> Self {
        let met =
            at_least.is_none_or(|bound| measured >= bound) && at_most.is_none_or(|bound| measured <= bound);
        Self { what, at_least, at_most, measured, met, unit: "" }
    }

    pub(crate) fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// The bounds as people write them.
    pub(crate) fn bounds(&self) -> String {
        match (self.at_least, self.at_most) {
            (Some(low), Some(high)) => format!("{low} to {high}"),
            (Some(low), None) => format!("≥ {low}"),
            (None, Some(high)) => format!("≤ {high}"),
            (None, None) => "–".to_owned(),
        }
    }

    /// As the JSON files of `report` and `inference` have it; those have one bound each.
    pub(crate) fn json(&self) -> Value {
        let (bound, wanted) = match self.at_least {
            Some(wanted) => ("at least", Some(wanted)),
            None => ("at most", self.at_most),
        };
        json!({
            "goal": self.what, "bound": bound, "wanted": wanted, "measured": self.measured, "unit": self.unit,
            "met": self.met,
        })
    }
}

/// The targets for a terminal; nothing where there are none.
pub(crate) fn text(targets: &[Target]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    if !targets.is_empty() {
        writeln!(text, "\ngoals")?;
    }
    for target in targets {
        let verdict = if target.met { "met" } else { "MISSED" };
        writeln!(
            text,
            "  {:<96}{:>12}{:>9.2} {:<2}  {verdict}",
            target.what,
            target.bounds(),
            target.measured,
            target.unit
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_within_its_bounds() {
        let least = |measured| Target::at_least(String::new(), 1.3, measured).met;
        let most = |measured| Target::at_most(String::new(), 1.3, measured).met;
        let within = |measured| Target::within(String::new(), (0.9, 1.1), measured).met;
        assert!(least(1.3) && !least(1.29));
        assert!(most(1.3) && !most(1.31));
        assert!(within(0.9) && within(1.1) && !within(0.89) && !within(1.11));
    }

    #[test]
    fn a_target_in_json_has_one_bound() {
        let json = Target::at_most("x".to_owned(), 150.0, 99.0).unit("ms").json();
        assert_eq!((json["bound"].as_str(), json["wanted"].as_f64()), (Some("at most"), Some(150.0)));
        assert_eq!((json["unit"].as_str(), json["met"].as_bool()), (Some("ms"), Some(true)));
    }
}
