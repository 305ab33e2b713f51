//! "Did you mean": what to say of a name that there is not.

use firesteel_common::suggest;

/// The message about a table option that there is not: the nearest name, where one is near at all, and all names.
pub(crate) fn unknown_option<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let meant = match suggest::nearest(name, known.clone()) {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => String::new(),
    };
    let names: Vec<&str> = known.collect();
    format!("there is no such option{meant}; there are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_nothing_far_away() {
        let known = ["partitioner", "mode"];
        for (name, expected) in [
            (
                "partitoner",
                "there is no such option; did you mean `partitioner`?; there are partitioner, mode",
            ),
            ("Mode", "there is no such option; did you mean `mode`?; there are partitioner, mode"),
            ("colour", "there is no such option; there are partitioner, mode"),
        ] {
            assert_eq!(unknown_option(name, known.iter().copied()), expected);
        }
    }
}
