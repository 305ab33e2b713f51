//! Numbers the groups of a `GROUP BY` over text: by the keys of dictionaries, not by the text.
//!
//! A dictionary's values are looked up once; after that a row's group is an entry of a table that the keys of its columns
//! point into. Two dictionaries with the same text in another order give the same groups.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{Int32Type, SchemaRef};
use datafusion::error::{DataFusionError, Result};

use crate::connectors::cache::schema::dictionary_type;

/// The largest table from keys to groups; beyond it a row's group is looked up in a map.
const LARGEST_TABLE: usize = 1 << 20;

/// No group yet.
const UNKNOWN: u32 = u32::MAX;

/// The number that stands for null, in every column.
const NULL: u32 = 0;

/// The groups that were seen, in the order in which they were.
#[derive(Debug)]
pub(super) struct Groups {
    columns: Vec<Texts>,
    /// From the numbers of the texts to the group.
    known: HashMap<Box<[u32]>, u32>,
    /// The numbers of each group's texts.
    members: Vec<Box<[u32]>>,
    table: Table,
}

/// The texts of one column, numbered from 1.
#[derive(Debug, Default)]
struct Texts {
    numbers: HashMap<String, u32>,
    /// The dictionary that was seen last, and the numbers of its values.
    last: Option<(ArrayRef, Vec<u32>)>,
}

/// From the keys of the present dictionaries to groups.
#[derive(Debug, Default)]
struct Table {
    strides: Vec<usize>,
    groups: Vec<u32>,
}

impl Groups {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            columns: (0..columns).map(|_| Texts::default()).collect(),
            known: HashMap::new(),
            members: Vec::new(),
            table: Table::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The group of every row of `columns`, which have the same length and hold text or dictionaries of text.
    pub(super) fn assign(&mut self, columns: &[ArrayRef], groups: &mut Vec<usize>) -> Result<()> {
        groups.clear();
        let columns = columns.iter().map(as_dictionary).collect::<Result<Vec<_>>>()?;
        let mut changed = false;
        for (texts, column) in self.columns.iter_mut().zip(&columns) {
            changed |= texts.learn(column)?;
        }
        if changed || self.table.strides.len() != columns.len() {
            self.table = Table::over(&columns);
        }
        let rows = columns.first().map_or(0, |column| column.len());
        groups.reserve(rows);
        let keys: Vec<Keys<'_>> = columns.iter().map(Keys::of).collect();
        let mut numbers = vec![NULL; columns.len()];
        for row in 0..rows {
            let slot = self.table.slot(&keys, row);
            let cached = slot.and_then(|slot| self.table.groups.get(slot)).copied().unwrap_or(UNKNOWN);
            if cached != UNKNOWN {
                groups.push(cached as usize);
                continue;
            }
            for ((number, key), texts) in numbers.iter_mut().zip(&keys).zip(&self.columns) {
                *number = texts.number(key.get(row));
            }
            let group = match self.known.get(numbers.as_slice()) {
                Some(group) => *group,
                None => {
                    let group = u32::try_from(self.members.len()).unwrap_or(UNKNOWN);
                    if group == UNKNOWN {
                        return Err(DataFusionError::ResourcesExhausted("too many groups".to_owned()));
                    }
                    self.known.insert(numbers.as_slice().into(), group);
                    self.members.push(numbers.as_slice().into());
                    group
                }
            };
            if let Some(entry) = slot.and_then(|slot| self.table.groups.get_mut(slot)) {
                *entry = group;
            }
            groups.push(group as usize);
        }
        Ok(())
    }

    /// The keys of all groups, as the first columns of `schema`.
    pub(super) fn keys(&self, schema: &SchemaRef) -> Result<Vec<ArrayRef>> {
        self.columns
            .iter()
            .enumerate()
            .zip(schema.fields())
            .map(|((index, texts), field)| {
                let mut by_number: Vec<Option<&str>> = vec![None; texts.numbers.len() + 1];
                for (text, number) in &texts.numbers {
                    by_number[*number as usize] = Some(text);
                }
                let keys: StringArray =
                    self.members.iter().map(|member| by_number[member[index] as usize]).collect();
                let keys: ArrayRef = Arc::new(keys);
                Ok(cast(&keys, field.data_type())?)
            })
            .collect()
    }
}

/// The keys of one column; null is one past the last key.
struct Keys<'a> {
    array: &'a DictionaryArray<Int32Type>,
    keys: &'a [i32],
    nulls: bool,
    values: usize,
}

impl<'a> Keys<'a> {
    fn of(array: &'a DictionaryArray<Int32Type>) -> Self {
        let keys = array.keys();
        Self { array, keys: keys.values(), nulls: keys.null_count() > 0, values: array.values().len() }
    }

    #[inline]
    fn get(&self, row: usize) -> usize {
        if self.nulls && self.array.keys().is_null(row) { self.values } else { self.keys[row] as usize }
    }
}

impl Table {
    fn over(columns: &[DictionaryArray<Int32Type>]) -> Self {
        let mut strides = Vec::with_capacity(columns.len());
        let mut size: usize = 1;
        for column in columns {
            strides.push(size);
            size = size.saturating_mul(column.values().len() + 1);
        }
        let size = if size <= LARGEST_TABLE { size } else { 0 };
        Self { strides, groups: vec![UNKNOWN; size] }
    }

    /// The entry of a row; `None` where there is no table.
    #[inline]
    fn slot(&self, keys: &[Keys<'_>], row: usize) -> Option<usize> {
        if self.groups.is_empty() {
            return None;
        }
        Some(keys.iter().zip(&self.strides).map(|(key, stride)| key.get(row) * stride).sum())
    }
}

impl Texts {
    /// Numbers the values of a dictionary. Whether it is another one than last time.
    fn learn(&mut self, column: &DictionaryArray<Int32Type>) -> Result<bool> {
        let values = column.values();
        if let Some((last, _)) = &self.last
            && Arc::ptr_eq(last, values)
        {
            return Ok(false);
        }
        let texts = values
            .as_string_opt::<i32>()
            .ok_or_else(|| DataFusionError::Internal("a dictionary of text holds text".to_owned()))?;
        let mut numbers = Vec::with_capacity(texts.len());
        for text in texts {
            let Some(text) = text else {
                numbers.push(NULL);
                continue;
            };
            let next = u32::try_from(self.numbers.len() + 1).unwrap_or(UNKNOWN);
            let number = match self.numbers.get(text) {
                Some(number) => *number,
                None => {
                    self.numbers.insert(text.to_owned(), next);
                    next
                }
            };
            numbers.push(number);
        }
        self.last = Some((Arc::clone(values), numbers));
        Ok(true)
    }

    /// The number of a key of the dictionary that was learnt last.
    fn number(&self, key: usize) -> u32 {
        self.last.as_ref().and_then(|(_, numbers)| numbers.get(key)).copied().unwrap_or(NULL)
    }
}

fn as_dictionary(column: &ArrayRef) -> Result<DictionaryArray<Int32Type>> {
    let column = if column.data_type() == &dictionary_type() {
        Arc::clone(column)
    } else {
        cast(column, &dictionary_type())?
    };
    column
        .as_dictionary_opt::<Int32Type>()
        .cloned()
        .ok_or_else(|| DataFusionError::Internal("a key of this aggregate is text".to_owned()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;

    type Row = (Option<String>, Option<String>);

    fn text() -> impl Strategy<Value = Option<String>> {
        prop::option::weighted(0.9, "[a-c]{0,2}")
    }

    proptest! {
        #[test]
        fn rows_are_in_one_group_exactly_if_their_keys_are_equal(
            batches in prop::collection::vec(prop::collection::vec((text(), text()), 0..40), 0..5),
            as_dictionaries in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let mut groups = Groups::new(2);
            let mut seen: Vec<(Row, usize)> = Vec::new();
            let mut assigned = Vec::new();
            for (index, rows) in batches.iter().enumerate() {
                let first: ArrayRef = Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringArray>());
                let second: ArrayRef = Arc::new(rows.iter().map(|row| row.1.as_deref()).collect::<StringArray>());
                let mut columns = vec![first, second];
                if as_dictionaries {
                    for column in &mut columns {
                        *column = cast(column, &dictionary_type()).unwrap();
                    }
                }
                // Once more over a part of the same dictionaries.
                let cut = if rows.is_empty() { 0 } else { (seed as usize + index) % rows.len() };
                for (from, length) in [(0, rows.len()), (cut, rows.len() - cut)] {
                    let slices: Vec<ArrayRef> = columns.iter().map(|column| column.slice(from, length)).collect();
                    groups.assign(&slices, &mut assigned).unwrap();
                    prop_assert_eq!(assigned.len(), length);
                    seen.extend(rows[from..].iter().cloned().zip(assigned.iter().copied()));
                }
            }
            let schema: SchemaRef = Arc::new(Schema::new(vec![
                Field::new("a", DataType::Utf8, true),
                Field::new("b", DataType::Utf8View, true),
            ]));
            let keys = groups.keys(&schema).unwrap();
            prop_assert_eq!(keys[1].data_type(), &DataType::Utf8View);
            let second = cast(&keys[1], &DataType::Utf8).unwrap();
            let (first, second) = (keys[0].as_string::<i32>(), second.as_string::<i32>());
            prop_assert_eq!(first.len(), groups.len());
            let key = |array: &StringArray, group: usize| array.is_valid(group).then(|| array.value(group).to_owned());
            for (row, group) in &seen {
                prop_assert_eq!(row, &(key(first, *group), key(second, *group)));
            }
            let distinct: std::collections::HashSet<&Row> = seen.iter().map(|(row, _)| row).collect();
            prop_assert_eq!(distinct.len(), groups.len());
        }
    }

    #[test]
    fn many_values_need_no_table() {
        let column = |step: usize| -> ArrayRef {
            Arc::new((0..3_000).map(|i| Some((i * step % 2_999).to_string())).collect::<StringArray>())
        };
        let mut groups = Groups::new(2);
        let mut assigned = Vec::new();
        groups.assign(&[column(1), column(7)], &mut assigned).unwrap();
        assert!(groups.table.groups.is_empty());
        assert_eq!(groups.len(), 2_999, "row 2,999 is row 0 again");
        assert_eq!(assigned[0], assigned[2_999]);
    }
}
