//! Which letters are meant: pure functions over what a letter says.

use super::letter::Letter;
use crate::kafka::Stretches;
use crate::kafka::Watermarks;
use firesteel_proto::Timestamp;
use std::fmt;
use std::str::FromStr;

/// Offsets of one partition, the first and the last included: written `3`, `3:17`, `3:10..20`, `3:10..` or `3:..20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
}

impl Span {
    /// Whether it holds `offset` of `partition`.
    #[must_use]
    pub fn holds(&self, partition: i32, offset: i64) -> bool {
        self.partition == partition && (self.first..=self.last).contains(&offset)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, first, last } = self;
        match (first, last) {
            (0, &i64::MAX) => write!(f, "{partition}"),
            (first, &i64::MAX) => write!(f, "{partition}:{first}.."),
            (first, last) if first == last => write!(f, "{partition}:{first}"),
            (first, last) => write!(f, "{partition}:{first}..{last}"),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = || {
            let (partition, offsets) = text.split_once(':').unwrap_or((text, ".."));
            let (first, last) = match offsets.split_once("..") {
                Some((first, last)) => (
                    if first.is_empty() { 0 } else { first.parse().ok()? },
                    if last.is_empty() { i64::MAX } else { last.parse().ok()? },
                ),
                None => (offsets.parse().ok()?, offsets.parse().ok()?),
            };
            let span = Self { partition: partition.parse().ok()?, first, last };
            (span.partition >= 0 && span.first >= 0 && span.first <= span.last).then_some(span)
        };
        span().ok_or_else(|| {
            "expected PARTITION, PARTITION:OFFSET or PARTITION:FIRST..LAST, such as 3, 3:17 or 3:10..20"
                .to_owned()
        })
    }
}

/// Which letters are meant. A list that is empty, and a bound that is none, leave all; what is given has to hold all at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one of these classes.
    pub classes: Vec<String>,
    /// Not older than this, by Kafka's timestamp of the letter.
    pub since: Option<Timestamp>,
    /// Older than this.
    pub until: Option<Timestamp>,
    /// Of one of these producers. A letter that was cut has none.
    pub producers: Vec<String>,
    /// Of a record in one of these places of its topic.
    pub sources: Vec<Span>,
    /// In one of these places of the topic of letters.
    pub letters: Vec<Span>,
}

impl Filter {
    /// Whether it leaves all letters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a letter is meant.
    #[must_use]
    pub fn admits(&self, letter: &Letter) -> bool {
        let any = |list: &[String], value: Option<&str>| {
            list.is_empty() || value.is_some_and(|value| list.iter().any(|wanted| wanted == value))
        };
        let at = letter.at();
        let time = letter.timestamp();
        any(&self.classes, letter.facts().class.as_deref())
            && any(&self.producers, letter.producer())
            && self.since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| time.is_some_and(|time| time < until))
            && (self.letters.is_empty()
                || self.letters.iter().any(|span| span.holds(at.partition, at.offset)))
            && (self.sources.is_empty() || self.sources.iter().any(|span| touches(span, letter)))
    }

    /// What has to be read of a topic of letters that begins and ends so.
    pub(super) fn narrow(&self, ends: &Watermarks) -> Stretches {
        let stretch = |(&partition, &(low, end)): (&i32, &(i64, i64))| {
            if self.letters.is_empty() {
                return Some((partition, (low, end)));
            }
            let spans = || self.letters.iter().filter(|span| span.partition == partition);
            let first = spans().map(|span| span.first).min()?;
            let last = spans().map(|span| span.last).max()?;
            Some((partition, (low.max(first), end.min(last.saturating_add(1)))))
        };
        ends.iter().filter_map(stretch).filter(|(_, (start, end))| start < end).collect()
    }
}

/// Whether the record of a letter, or any record of its gap, is in a span.
fn touches(span: &Span, letter: &Letter) -> bool {
    let Some(source) = letter.source() else { return false };
    let last = letter.facts().end.map_or(source.at.offset, |end| end.saturating_sub(1));
    span.partition == source.at.partition && source.at.offset <= span.last && span.first <= last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::letters::Place;
    use crate::kafka::letters::letter::tests::letter;

    fn span(text: &str) -> Span {
        text.parse().expect("a span")
    }

    fn at(partition: i32, offset: i64) -> Letter {
        letter(Place { partition, offset }, &[], &[])
    }

    #[test]
    fn a_span_is_read_as_it_is_written() {
        for (text, partition, first, last) in [
            ("3", 3, 0, i64::MAX),
            ("3:17", 3, 17, 17),
            ("0:10..20", 0, 10, 20),
            ("0:10..", 0, 10, i64::MAX),
            ("0:0..20", 0, 0, 20),
        ] {
            assert_eq!(span(text), Span { partition, first, last }, "{text}");
            assert_eq!(span(text).to_string(), text);
        }
        assert_eq!(span("0:..20"), span("0:0..20"));
        for text in ["", ":", "x", "1:", "1:x", "1:5..3", "-1", "1:-5", "1..2", "1:1..2..3"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_condition_has_to_hold() {
        let found = at(1, 4);
        assert!(Filter::default().admits(&found) && Filter::default().is_empty());
        let classes =
            |class: &str| Filter { classes: vec!["other".to_owned(), class.to_owned()], ..Filter::default() };
        let producers = |id: &str| Filter { producers: vec![id.to_owned()], ..Filter::default() };
        let since = |millis| Filter { since: Some(Timestamp(millis)), ..Filter::default() };
        let until = |millis| Filter { until: Some(Timestamp(millis)), ..Filter::default() };
        let sources = |text| Filter { sources: vec![span("0"), span(text)], ..Filter::default() };
        let letters = |text| Filter { letters: vec![span(text)], ..Filter::default() };
        for (filter, admitted) in [
            (classes("size"), true),
            (classes("siz"), false),
            (producers("0000002a"), true),
            (producers("0000002b"), false),
            // From the first, inclusive, to the second, exclusive.
            (since(1_004), true),
            (since(1_005), false),
            (until(1_005), true),
            (until(1_004), false),
            (sources("3:17"), true),
            (sources("3:10..16"), false),
            (sources("4"), false),
            (letters("1:..4"), true),
            (letters("1:5.."), false),
            (letters("2"), false),
            (Filter { until: Some(Timestamp(1_000)), ..classes("size") }, false),
        ] {
            assert_eq!(filter.admits(&found), admitted, "{filter:?}");
        }
    }

    #[test]
    fn a_gap_is_found_by_any_of_its_offsets() {
        let gap = letter(Place { partition: 0, offset: 0 }, &[], &[("source.end", "40")]);
        for (text, admitted) in
            [("3:39", true), ("3:20..22", true), ("3:..17", true), ("3:40", false), ("3:16", false)]
        {
            let filter = Filter { sources: vec![span(text)], ..Filter::default() };
            assert_eq!(filter.admits(&gap), admitted, "{text}");
        }
    }

    #[test]
    fn only_what_may_hold_a_letter_is_read() {
        let ends = Watermarks::from([(0, (0, 10)), (1, (5, 9)), (2, (3, 3))]);
        let all = Stretches::from([(0, (0, 10)), (1, (5, 9))]);
        assert_eq!(Filter::default().narrow(&ends), all);
        let filter = |texts: &[&str]| Filter {
            letters: texts.iter().map(|text| span(text)).collect(),
            ..Filter::default()
        };
        assert_eq!(filter(&["1:2..6"]).narrow(&ends), Stretches::from([(1, (5, 7))]));
        assert_eq!(filter(&["0:8..", "0:3"]).narrow(&ends), Stretches::from([(0, (3, 10))]));
        assert_eq!(filter(&["1:9", "2", "7"]).narrow(&ends), Stretches::new());
    }
}
