//! What the arguments of a call hold: how many bytes, characters and elements, row by row.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, GenericListArray, OffsetSizeTrait};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;

/// An argument. A constant is there once, however many rows there are.
pub(super) struct Column {
    pub(super) values: ArrayRef,
    /// The same as whole numbers, where it can be.
    pub(super) numbers: Option<ArrayRef>,
    pub(super) is_constant: bool,
}

impl Column {
    pub(super) fn new(argument: &ColumnarValue) -> Result<Self> {
        let (values, is_constant) = match argument {
            ColumnarValue::Array(values) => (Arc::clone(values), false),
            ColumnarValue::Scalar(value) => (value.to_array_of_size(1)?, true),
        };
        let is_number = values.data_type().is_integer() || values.data_type().is_temporal();
        let numbers = if is_number { cast(&values, &DataType::Int64).ok() } else { None };
        Ok(Self { values, numbers, is_constant })
    }

    pub(super) fn row(&self, row: usize) -> usize {
        if self.is_constant { 0 } else { row }
    }

    /// The bytes of a value; of null, none.
    pub(super) fn bytes(&self, row: usize) -> u128 {
        let row = self.row(row);
        if row >= self.values.len() || self.values.is_null(row) {
            return 0;
        }
        let bytes = match self.values.data_type() {
            DataType::Utf8 => self.values.as_string::<i32>().value(row).len(),
            DataType::LargeUtf8 => self.values.as_string::<i64>().value(row).len(),
            DataType::Utf8View => self.values.as_string_view().value(row).len(),
            _ => size(&self.values.slice(row, 1)),
        };
        bytes as u128
    }

    /// The elements of a list.
    pub(super) fn elements(&self, row: usize) -> Option<ArrayRef> {
        let row = self.row(row);
        if row >= self.values.len() || self.values.is_null(row) {
            return None;
        }
        elements(&self.values.slice(row, 1))
    }

    pub(super) fn characters(&self, row: usize) -> u128 {
        self.text(row).map_or_else(|| self.bytes(row), |text| text.chars().count() as u128)
    }

    pub(super) fn text(&self, row: usize) -> Option<&str> {
        let row = self.row(row);
        if row >= self.values.len() || self.values.is_null(row) {
            return None;
        }
        match self.values.data_type() {
            DataType::Utf8 => Some(self.values.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => Some(self.values.as_string::<i64>().value(row)),
            DataType::Utf8View => Some(self.values.as_string_view().value(row)),
            _ => None,
        }
    }

    pub(super) fn number(&self, row: usize) -> Option<i128> {
        let (row, numbers) = (self.row(row), self.numbers.as_ref()?.as_primitive_opt::<Int64Type>()?);
        (row < numbers.len() && !numbers.is_null(row)).then(|| i128::from(numbers.value(row)))
    }

    /// How often something is to be done.
    pub(super) fn times(&self, row: usize) -> u128 {
        self.number(row).and_then(|number| u128::try_from(number).ok()).unwrap_or_default()
    }
}

/// The bytes of values, without those beside them that lie in the same buffers.
pub(super) fn size(values: &ArrayRef) -> usize {
    match (elements(values), values.data_type()) {
        // Where each list begins takes room, too.
        (Some(elements), _) => size(&elements) + (values.len() + 1) * 8,
        (None, DataType::Struct(_)) => {
            values.as_struct().columns().iter().map(size).sum::<usize>() + values.len()
        }
        _ => values.to_data().get_slice_memory_size().unwrap_or(8),
    }
}

/// The elements of all lists of an array, if it is one of lists.
pub(super) fn elements(values: &ArrayRef) -> Option<ArrayRef> {
    match values.data_type() {
        DataType::List(_) => Some(elements_of(values.as_list::<i32>())),
        DataType::LargeList(_) => Some(elements_of(values.as_list::<i64>())),
        DataType::FixedSizeList(_, _) => Some(Arc::clone(values.as_fixed_size_list().values())),
        DataType::Map(_, _) => {
            let map = values.as_map();
            let (from, to) = ends(map.offsets());
            Some(Arc::new(map.entries().slice(from, to - from)))
        }
        _ => None,
    }
}

fn elements_of<O: OffsetSizeTrait>(lists: &GenericListArray<O>) -> ArrayRef {
    let (from, to) = ends(lists.offsets());
    lists.values().slice(from, to - from)
}

/// Where the first list begins and the last one ends.
fn ends<O: OffsetSizeTrait>(offsets: &[O]) -> (usize, usize) {
    match (offsets.first(), offsets.last()) {
        (Some(from), Some(to)) => (from.as_usize(), to.as_usize()),
        _ => (0, 0),
    }
}

/// The elements of a list, and of the lists in it, as texts.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) count: u128,
    pub(super) nulls: u128,
    pub(super) bytes: u128,
}

impl Texts {
    pub(super) fn add(&mut self, values: &ArrayRef) {
        let nulls = values.null_count() as u128;
        self.nulls += nulls;
        if let Some(elements) = elements(values) {
            self.count += nulls;
            return self.add(&elements);
        }
        let count = values.len() as u128;
        self.count += count;
        self.bytes += match values.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => {
                size(values) as u128
            }
            DataType::Utf8View => {
                values.as_string_view().iter().flatten().map(|text| text.len() as u128).sum()
            }
            DataType::BinaryView => {
                values.as_binary_view().iter().flatten().map(|bytes| bytes.len() as u128).sum()
            }
            // Each may be the longest of them.
            DataType::Dictionary(_, _) => count.saturating_mul(size(values) as u128),
            DataType::Float32 => values
                .as_primitive::<Float32Type>()
                .iter()
                .flatten()
                .map(|number| digits(number.into()))
                .sum(),
            DataType::Float64 => values.as_primitive::<Float64Type>().iter().flatten().map(digits).sum(),
            data_type if data_type.is_integer() => count * 20,
            // Of a date, a time, a decimal or an interval.
            _ => count * 80,
        };
    }
}

/// The characters of a number, at most: it is written without an exponent.
pub(super) fn digits(number: f64) -> u128 {
    let bits = number.to_bits();
    if bits << 1 == 0 {
        return 2;
    }
    let exponent = (bits >> 52) & 0x7ff;
    // A power of two has three tenths of a decimal digit, and a fraction as many behind its zeros as any number has.
    24 + u128::from(exponent.abs_diff(1023)) * 31 / 100
}

/// The bytes that an element of a type takes where there is none.
pub(super) fn width(data_type: &DataType) -> u128 {
    let times = |size: i32| u128::try_from(size).unwrap_or_default();
    match data_type {
        DataType::FixedSizeBinary(size) => times(*size).max(16),
        DataType::FixedSizeList(field, size) => times(*size).saturating_mul(width(field.data_type())).max(16),
        DataType::Struct(fields) => fields.iter().map(|field| width(field.data_type())).sum::<u128>().max(16),
        _ => 16,
    }
}
