//! Explains the error of a statement and suggests the name that may have been meant.

use firesteel_common::suggest::nearest;
use firesteel_engine::{Error, TableInfo};

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
}
