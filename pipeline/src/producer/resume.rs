//! Whether producers may go on from what their ledger says: pure functions.

use super::ledger::{Claim, Entry};
use crate::error::{Error, Result};
use firesteel_common::ConfigField;
use firesteel_proto::ProducerId;
use std::collections::{BTreeMap, BTreeSet};

/// How producers are started now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now<'a> {
    /// Images of each producer; none for the data set once, shared among them.
    pub(super) images: Option<u64>,
    /// The digest of the data set, and those that earlier versions may have in its place.
    pub(super) digests: &'a [String],
}

impl Now<'_> {
    /// Whether all producers that share this data set are started again. Others would share it anew, and send images that were sent
    /// under other names.
    ///
    /// # Errors
    /// [`Error::Setting`] where there was an acknowledgement and the producers are others.
    pub(super) fn check_all(&self, ids: &[ProducerId], known: &BTreeMap<ProducerId, Entry>) -> Result<()> {
        if self.images.is_some() {
            return Ok(());
        }
        let is_of_this = |entry: &Entry| entry.claim.as_ref().is_some_and(|claim| self.is_of(claim));
        let before: BTreeMap<_, _> = known.iter().filter(|(_, entry)| is_of_this(entry)).collect();
        let has_sent = before.values().any(|entry| entry.acknowledged.count_below(u64::MAX) > 0);
        let now: BTreeSet<_> = ids.iter().collect();
        if !has_sent || before.keys().copied().collect::<BTreeSet<_>>() == now {
            return Ok(());
        }
        let names: Vec<String> = before.keys().map(ToString::to_string).collect();
        let reason = format!(
            "the ledger says that producers {} share this data set, and images of it were sent: name the same producers in the same \
             order, or a number of images",
            names.join(",")
        );
        Err(Error::Setting { field: ConfigField::ProducerIds, reason })
    }

    /// Whether a producer that began so would send the same images now, where `first` would be the row of its first.
    ///
    /// # Errors
    /// [`Error::Setting`] for another data set or another row.
    pub(super) fn check(&self, id: ProducerId, claim: &Claim, first: usize) -> Result<()> {
        if !self.is_of(claim) {
            let reason = format!("producer {id} has sent images of another data set ({})", claim.dataset);
            return Err(Error::Setting { field: ConfigField::ProducerDataset, reason });
        }
        if claim.row != first && self.images.is_none() {
            let reason = format!(
                "producer {id} began at image {} of the data set and would begin at {first} now: name the same producers in the same \
                 order, or a number of images",
                claim.row
            );
            return Err(Error::Setting { field: ConfigField::ProducerIds, reason });
        }
        Ok(())
    }

    fn is_of(&self, claim: &Claim) -> bool {
        self.digests.contains(&claim.dataset)
    }
}

#[cfg(test)]
mod tests {
    use super::super::claim::Token;
    use super::*;

    const A: ProducerId = ProducerId(10);
    const B: ProducerId = ProducerId(11);
    const C: ProducerId = ProducerId(12);

    fn claim(row: usize, dataset: &str) -> Claim {
        Claim { token: Token::random(), row, dataset: dataset.to_owned() }
    }

    fn reason<T: std::fmt::Debug>(result: Result<T>) -> (ConfigField, String) {
        match result.expect_err("it is refused") {
            Error::Setting { field, reason } => (field, reason),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_producer_goes_on_with_its_data_set_from_its_row_alone() {
        let digests = ["now", "former"].map(str::to_owned);
        let shared = Now { images: None, digests: &digests };
        let counted = Now { images: Some(5), digests: &digests };
        for dataset in ["now", "former"] {
            shared.check(A, &claim(7, dataset), 7).expect("as it was");
            // Each has its own images then, from the row that it began with.
            counted.check(A, &claim(7, dataset), 9).expect("a number");
        }
        for now in [shared, counted] {
            let (field, text) = reason(now.check(A, &claim(7, "other"), 7));
            assert_eq!(field, ConfigField::ProducerDataset);
            assert!(text.contains("another data set (other)") && text.contains(&A.to_string()), "{text}");
        }
        let (field, text) = reason(shared.check(A, &claim(7, "now"), 9));
        assert_eq!(field, ConfigField::ProducerIds);
        assert!(text.contains("began at image 7") && text.contains("begin at 9"), "{text}");
    }

    #[test]
    fn those_who_share_a_data_set_go_on_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger");
        let write = |lines: &[String]| std::fs::write(&path, format!("{}\n", lines.join("\n")));
        let read = || super::super::ledger::Ledger::resume(&path).expect("a ledger").1;
        let claims = [(A, claim(0, "now")), (B, claim(5, "now")), (C, claim(0, "other"))];
        let mut lines: Vec<String> = claims.iter().map(|(id, claim)| format!("claim {id} {claim}")).collect();
        let digests = ["now".to_owned()];
        let now = Now { images: None, digests: &digests };
        write(&lines).expect("written");
        // A first run that ended before anything was sent.
        now.check_all(&[A], &read()).expect("nothing was sent");
        lines.push(format!("{A}:0"));
        write(&lines).expect("written");
        now.check_all(&[A, B], &read()).expect("the same");
        for ids in [&[A][..], &[A, B, C], &[C], &[A, C]] {
            let (field, text) = reason(now.check_all(ids, &read()));
            assert_eq!(field, ConfigField::ProducerIds);
            assert!(text.contains(&format!("{A},{B}")), "{text}");
            Now { images: Some(5), ..now }.check_all(ids, &read()).expect("each has its own images");
        }
        // Another data set in the same ledger is another matter.
        let third = ["third".to_owned()];
        Now { images: None, digests: &third }.check_all(&[ProducerId(13)], &read()).expect("a new one");
    }
}
