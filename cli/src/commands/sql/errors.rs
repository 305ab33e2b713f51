//! Explains the error of a statement and suggests the name that may have been meant.

use firesteel_engine::{Error, TableInfo};

/// The similarity, from 0 to 1, above which a name is suggested.
const LIKE: f64 = 0.7;

/// The text of the error, with the table that may have been meant.
pub(super) fn explain(error: &Error, tables: &[TableInfo]) -> String {
    let mut text = error.to_string();
    if let Some(missing) = missing_table(&text) {
        let names = tables.iter().map(|table| table.name.as_str());
        if let Some(nearest) = nearest(missing, names) {
            text.push_str(&format!("; did you mean {nearest}?"));
        } else if !tables.is_empty() {
            text.push_str("; \\d lists the tables");
        }
    }
    text
}

/// The name of the table that DataFusion did not find, without catalog and schema.
fn missing_table(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("table '")?;
    let (name, rest) = rest.split_once('\'')?;
    rest.starts_with(" not found").then(|| name.rsplit('.').next().unwrap_or(name))
}

/// The name most similar to `wanted`, where one is similar enough.
pub(super) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let like = |name: &str| strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase());
    let best = names.map(|name| (like(name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > LIKE).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_table_is_found_in_datafusions_words() {
        let told = "Error during planning: table 'datafusion.public.predictionz' not found";
        assert_eq!(missing_table(told), Some("predictionz"));
        assert_eq!(missing_table("No field named a"), None);
        assert_eq!(missing_table("table 'x' is broken"), None);
    }

    #[test]
    fn the_nearest_name_is_suggested_and_nothing_far_away() {
        let names = || ["predictions", "images", "predictions_topic"].into_iter();
        assert_eq!(nearest("predictionz", names()), Some("predictions"));
        assert_eq!(nearest("IMAGE", names()), Some("images"));
        assert_eq!(nearest("xyz", names()), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
    }
}
