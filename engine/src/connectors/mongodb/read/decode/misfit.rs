//! What does not fit into its column, or would not come out of it as it was.

use arrow::datatypes::DataType;
use bson::spec::ElementType;

/// The first value of a document that does not fit.
#[derive(Debug)]
pub(super) struct Misfit {
    /// The names on the way to it, the innermost first.
    path: Vec<String>,
    pub(super) reason: Reason,
    /// Whether it is in a column that is written back.
    pub(super) written: bool,
}

#[derive(Debug)]
pub(super) enum Reason {
    /// A value of another type.
    Other { expected: DataType, found: ElementType },
    /// No value, or a null, where there has to be one.
    Missing { expected: DataType, null: bool },
    /// Bytes that are not valid BSON.
    Damaged(String),
    /// A value that fits, but would be written back as another one.
    Changed(String),
}

impl Misfit {
    pub(super) fn new(reason: Reason) -> Box<Self> {
        Box::new(Self { path: Vec::new(), reason, written: false })
    }

    pub(super) fn other(expected: DataType, found: ElementType) -> Box<Self> {
        Self::new(Reason::Other { expected, found })
    }

    pub(super) fn damaged(error: &dyn std::error::Error) -> Box<Self> {
        Self::new(Reason::Damaged(error.to_string()))
    }

    pub(super) fn changed(how: impl Into<String>) -> Box<Self> {
        Self::new(Reason::Changed(how.into()))
    }

    /// The same, in a column that is written back.
    pub(super) fn in_written(mut self: Box<Self>) -> Box<Self> {
        self.written = true;
        self
    }

    /// The same, seen from the outside of `name`.
    pub(super) fn inside(mut self: Box<Self>, name: &str) -> Box<Self> {
        self.path.push(name.to_owned());
        self
    }

    /// Such as `items[].price`.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for name in self.path.iter().rev() {
            if !path.is_empty() && name != "[]" {
                path.push('.');
            }
            path.push_str(name);
        }
        path
    }
}

/// Keeps the first misfit of several; one in a column that is written back goes before others.
pub(super) fn keep_first(fits: &mut Result<(), Box<Misfit>>, misfit: Box<Misfit>) {
    if fits.as_ref().map_or_else(|kept| misfit.written && !kept.written, |()| true) {
        *fits = Err(misfit);
    }
}
