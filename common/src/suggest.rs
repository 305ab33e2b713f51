//! "Did you mean": the known name that is nearest to an unknown one.

/// How alike two names have to be, from 0 to 1, for one to be suggested in place of the other.
const ALIKE: f64 = 0.8;

/// The name among `known` that is most like `wanted`, if any is like it at all. Case does not matter.
///
/// Likeness is Jaro-Winkler's, which favours names that begin alike, as a name does that was typed half.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let likeness = |name: &str| strsim::jaro_winkler(&wanted, &name.to_lowercase());
    let best = known.into_iter().map(|name| (likeness(name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > ALIKE).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_nothing_far_away() {
        let tables = ["predictions", "images", "predictions_topic"];
        let options =
            ["connection", "sampleSize", "partitioner", "mode", "startingOffsets", "failOnDataLoss"];
        let settings = ["KAFKA_BOOTSTRAP", "KAFKA_PROPERTIES", "MONGODB_URI"];
        for (wanted, known, expected) in [
            ("predictionz", &tables[..], Some("predictions")),
            ("IMAGE", &tables, Some("images")),
            ("xyz", &tables, None),
            ("samplesise", &options, Some("sampleSize")),
            ("sampelSize", &options, Some("sampleSize")),
            ("startingOfsets", &options, Some("startingOffsets")),
            ("fail_on_data_loss", &options, Some("failOnDataLoss")),
            ("colour", &options, None),
            ("kafka_botstrap", &settings, Some("KAFKA_BOOTSTRAP")),
            ("MONGO_URI", &settings, Some("MONGODB_URI")),
            ("COLOUR", &settings, None),
            ("x", &[], None),
        ] {
            assert_eq!(nearest(wanted, known.iter().copied()), expected, "{wanted}");
        }
    }
}
