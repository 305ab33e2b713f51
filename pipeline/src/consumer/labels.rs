//! Where a true label meets the classes of the model: a producer may know them by other names, or know classes that the model
//! does not.

use crate::inference::Vocabulary;
use firesteel_proto::Label;
use prometheus::IntCounter;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Labels that are warned of, each once; the next one is the last to be heard of.
const WARNINGS: usize = 100;

/// The name that a true label has in a model, and whether the model can give it. Where the model's classes are not known, the
/// label stays, and the model may have it.
pub(super) fn canonical(label: &Label, vocabulary: Option<&Vocabulary>) -> (Label, bool) {
    match vocabulary.map(|vocabulary| vocabulary.class(label)) {
        Some(Some((_, class))) => (class.clone(), true),
        Some(None) => (label.clone(), false),
        None => (label.clone(), true),
    }
}

/// The labels that no model had a class for. Their images are labelled, and what the model says of them counts as wrong.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    warned: Mutex<BTreeSet<Label>>,
}

impl Unknown {
    /// Counts an image with the label that `model` has no class for, and warns of it if it is the first one.
    pub(super) fn count(&self, label: &Label, model: &str, counter: &IntCounter) {
        counter.inc();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() > WARNINGS || !warned.insert(label.clone()) {
            return;
        }
        let last = warned.len() > WARNINGS;
        tracing::warn!(
            %label, model, "the model has no class of this name: what it says of such images counts as wrong{}",
            if last { "; further labels are not told" } else { "" },
        );
    }

    #[cfg(test)]
    fn warned(&self) -> usize {
        self.warned.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn label(name: &str) -> Label {
        Label::parse("label", name).expect("a label")
    }

    #[test]
    fn an_alias_becomes_the_class_and_everything_else_stays() {
        let aliases = BTreeMap::from([(label("plane"), label("airplane"))]);
        let vocabulary = Vocabulary::new([label("airplane")], aliases);
        let known = |name| canonical(&label(name), Some(&vocabulary));
        assert_eq!(known("plane"), (label("airplane"), true));
        assert_eq!(known("airplane"), (label("airplane"), true));
        assert_eq!(known("unicorn"), (label("unicorn"), false));
        assert_eq!(canonical(&label("plane"), None), (label("plane"), true));
    }

    #[test]
    fn every_image_is_counted_and_every_label_told_once() {
        let (unknown, counter) = (Unknown::default(), IntCounter::new("c", "c").expect("a counter"));
        for image in 0..1_000 {
            unknown.count(&label(&format!("label {}", image % 7)), "m", &counter);
        }
        assert_eq!((counter.get(), unknown.warned()), (1_000, 7));
        for image in 0..1_000 {
            unknown.count(&label(&format!("other {image}")), "m", &counter);
        }
        assert_eq!((counter.get(), unknown.warned()), (2_000, WARNINGS + 1));
    }
}
