//! The columns of documents: those of a collection, and those inside a column of documents.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Fields};
use arrow::error::Result as ArrowResult;
use bson::spec::ElementType;

use super::elements::Elements;
use super::exact::{self, Written};
use super::misfit::{Misfit, Reason, keep_first};
use super::values::Values;

/// Columns of one length.
pub(super) struct Record {
    columns: Vec<Column>,
    /// The names of the fields of the last document, and which columns they are.
    layout: Vec<(Box<[u8]>, Option<usize>)>,
    rows: usize,
}

struct Column {
    name: String,
    values: Values,
    data_type: DataType,
    nullable: bool,
    /// How its values are written back, where they are.
    written: Option<Written>,
    /// How many rows have a value or a null.
    filled: usize,
}

impl Record {
    /// Columns for about `rows` rows; `None` where a type has no builder.
    pub(super) fn of(fields: &Fields, rows: usize) -> Option<Self> {
        let column = |field: &arrow::datatypes::FieldRef| {
            Some(Column {
                name: field.name().clone(),
                values: Values::of(field, rows)?,
                data_type: field.data_type().clone(),
                nullable: field.is_nullable(),
                written: None,
                filled: 0,
            })
        };
        let columns = fields.iter().map(column).collect::<Option<_>>()?;
        Some(Self { columns, layout: Vec::new(), rows: 0 })
    }

    /// Says that these columns are written back, and how.
    pub(super) fn write_back(&mut self, written: &[Written]) {
        for column in &mut self.columns {
            column.written = written.iter().find(|one| *one.field.name() == column.name).cloned();
        }
    }

    /// Appends a document as one row, with nulls where its values do not fit, and tells the first that does not.
    pub(super) fn push(&mut self, document: &[u8]) -> Result<(), Box<Misfit>> {
        let mut fits = Ok(());
        let mut position = 0;
        let mut elements = match Elements::of(document) {
            Ok(elements) => Some(elements),
            Err(error) => {
                keep_first(&mut fits, Misfit::damaged(&error));
                None
            }
        };
        while let Some(walk) = &mut elements {
            let guess = self.layout.get(position).map_or(&[][..], |(name, _)| name);
            let element = match walk.next(guess) {
                Ok(Some(element)) => element,
                Ok(None) => break,
                Err(error) => {
                    keep_first(&mut fits, Misfit::damaged(&error));
                    break;
                }
            };
            // Documents of a collection mostly have their fields in one order, so what the last document had at this
            // position mostly answers which column it is.
            let index = match self.layout.get(position) {
                Some((_, column)) if element.guessed => *column,
                _ => self.learn(element.name, position),
            };
            position += 1;
            let Some(index) = index else { continue };
            let column = &mut self.columns[index];
            if column.filled > self.rows {
                // The server takes the first of two fields of one name.
                if column.written.is_some() {
                    let twice = Misfit::changed("a field that is there twice would be written once");
                    keep_first(&mut fits, twice.inside(&column.name).in_written());
                }
                continue;
            }
            column.filled += 1;
            if let Err(misfit) = column.values.append(&element) {
                let misfit = misfit.inside(&column.name);
                keep_first(&mut fits, if column.written.is_some() { misfit.in_written() } else { misfit });
            } else if let Some(written) = &column.written
                && let Err(misfit) = exact::check_column(&element, written)
            {
                keep_first(&mut fits, misfit.inside(&column.name).in_written());
            } else if !column.nullable && matches!(element.kind, ElementType::Null | ElementType::Undefined) {
                keep_first(&mut fits, column.missing(true));
            }
        }
        self.rows += 1;
        for column in &mut self.columns {
            if column.filled < self.rows {
                column.values.append_null();
                column.filled += 1;
                if !column.nullable {
                    keep_first(&mut fits, column.missing(false));
                } else if let Some(Err(misfit)) = column.written.as_ref().map(exact::check_missing) {
                    keep_first(&mut fits, misfit.inside(&column.name).in_written());
                }
            }
        }
        fits
    }

    /// Appends a row of nulls.
    pub(super) fn push_null(&mut self) {
        self.rows += 1;
        for column in &mut self.columns {
            column.values.append_null();
            column.filled += 1;
        }
    }

    /// The columns, and no row left.
    pub(super) fn finish(&mut self) -> ArrowResult<Vec<ArrayRef>> {
        self.rows = 0;
        let finish = |column: &mut Column| {
            column.filled = 0;
            column.values.finish()
        };
        self.columns.iter_mut().map(finish).collect()
    }

    /// The column of this name, if there is one; remembered for the next document.
    #[cold]
    fn learn(&mut self, name: &[u8], position: usize) -> Option<usize> {
        let column = self.columns.iter().position(|column| column.name.as_bytes() == name);
        let entry = (Box::from(name), column);
        match self.layout.get_mut(position) {
            Some(known) => *known = entry,
            None if position < LAYOUT => self.layout.push(entry),
            None => {}
        }
        column
    }
}

/// How many fields of a document are remembered.
const LAYOUT: usize = 256;

impl Column {
    fn missing(&self, null: bool) -> Box<Misfit> {
        Misfit::new(Reason::Missing { expected: self.data_type.clone(), null }).inside(&self.name)
    }
}
