//! The names that a model gives, and what a true label means among them.

use super::model::ModelInfo;
use firesteel_proto::Label;
use std::collections::BTreeMap;

/// The classes of a model by name, and the other names by which a true label may mean one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    classes: BTreeMap<Label, usize>,
    aliases: BTreeMap<Label, Label>,
}

impl Vocabulary {
    /// The vocabulary of a model whose outputs are `classes`, in this order; `aliases` are other names of some of them.
    #[must_use]
    pub fn new(classes: impl IntoIterator<Item = Label>, aliases: BTreeMap<Label, Label>) -> Self {
        Self { classes: classes.into_iter().zip(0..).collect(), aliases }
    }

    /// The number and the name of the class that a true label means; `None` where the model has no such class.
    #[must_use]
    pub fn class(&self, label: &Label) -> Option<(usize, &Label)> {
        let name = self.aliases.get(label).unwrap_or(label);
        self.classes.get_key_value(name).map(|(name, number)| (*number, name))
    }
}

impl From<&ModelInfo> for Vocabulary {
    fn from(info: &ModelInfo) -> Self {
        Self::new(info.classes.iter().cloned(), info.aliases.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_means_the_class_of_its_name_or_of_its_alias() {
        let label = |name| Label::parse("label", name).expect("a label");
        let classes = ["airplane", "cat"].map(label);
        let aliases = BTreeMap::from([(label("plane"), label("airplane"))]);
        let vocabulary = Vocabulary::new(classes, aliases);
        let class = |name| vocabulary.class(&label(name)).map(|(number, name)| (number, name.to_string()));
        assert_eq!(class("airplane"), Some((0, "airplane".to_owned())));
        assert_eq!(class("plane"), Some((0, "airplane".to_owned())));
        assert_eq!(class("cat"), Some((1, "cat".to_owned())));
        assert_eq!(class("Plane"), None);
        assert_eq!(class("unicorn"), None);
        assert_eq!(Vocabulary::default().class(&label("cat")), None);
    }
}
