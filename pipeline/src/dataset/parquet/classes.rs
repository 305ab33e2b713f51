//! The classes of a file that has both their numbers and their names: each has one of either.

use firesteel_proto::Label;
use std::collections::HashMap;

/// The classes of the rows that were read so far.
#[derive(Debug, Default)]
pub(super) struct Classes {
    names: HashMap<i64, Label>,
    numbers: HashMap<Label, i64>,
}

impl Classes {
    /// The class of a row; where number and name are null it has none.
    pub(super) fn of(&mut self, number: Option<i64>, name: Option<&str>) -> Result<Option<Label>, String> {
        let (number, name) = match (number, name) {
            (Some(number), Some(name)) => (number, name),
            (None, None) => return Ok(None),
            _ => return Err("one of label and class is null, and the other is not".to_owned()),
        };
        if let Some(known) = self.names.get(&number) {
            return match known.as_str() == name {
                true => Ok(Some(known.clone())),
                false => Err(format!("label {number} is the number of class {known}, and here of {name:?}")),
            };
        }
        let label = Label::parse("class", name).map_err(|error| error.to_string())?;
        if let Some(other) = self.numbers.get(&label) {
            return Err(format!("class {label} has label {other}, and here {number}"));
        }
        self.names.insert(number, label.clone());
        self.numbers.insert(label.clone(), number);
        Ok(Some(label))
    }
}
