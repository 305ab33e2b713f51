//! What one task reads of a collection, and how that travels: as a row of a descriptor batch.
//!
//! A range of `_id` is read along the index on `_id`. In a collection that is clustered on `_id` the documents lie in that
//! order. In a plain one they do not, and each would be fetched by itself, which costs the server more than twice as much as
//! reading the collection from end to end (measured, 6.0.5). So a plain collection is partitioned by its *records*: a server
//! numbers them in the order in which it stores them, and a scan may start behind a given one. The numbers are those of one
//! server: the members of a replica set do not share them.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bson::{Bson, Document, doc};
use datafusion::error::{DataFusionError, Result};

use crate::connectors::mongodb::codec::checked;

/// From `lower`, inclusive, to `upper`, exclusive. `None` is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range<T> {
    pub(crate) lower: Option<T>,
    pub(crate) upper: Option<T>,
}

impl<T> Range<T> {
    /// The range that holds everything.
    pub(crate) fn full() -> Self {
        Self { lower: None, upper: None }
    }
}

/// A range of `_id`, each bound as the document `{_id: …}`.
pub(crate) type IdRange = Range<Document>;

/// The part of a collection that one partition of a scan reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ScanPartition {
    /// A range of `_id`. The one that is open at both ends reads everything, in the order of storage.
    Ids(IdRange),
    /// A range of records in the order of storage, at a snapshot.
    Records(RecordIdRange),
}

/// The records behind `after`, up to and including `through`. `None` is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordIdRange {
    pub(crate) after: Option<i64>,
    pub(crate) through: Option<i64>,
}

impl ScanPartition {
    /// The partition that is the whole collection.
    pub(crate) fn full() -> Self {
        Self::Ids(IdRange::full())
    }

    /// The bounds as documents, of which the field's name tells the kind.
    fn bounds(&self) -> [Option<Document>; 2] {
        match self {
            Self::Ids(range) => [range.lower.clone(), range.upper.clone()],
            Self::Records(RecordIdRange { after, through }) => {
                [after, through].map(|bound| bound.map(|record| doc! { RECORD: record }))
            }
        }
    }

    fn of([lower, upper]: [Option<Document>; 2]) -> Result<Self> {
        let record = |bound: &Option<Document>| -> Result<Option<i64>> {
            let Some(bound) = bound else { return Ok(None) };
            match bound.get(RECORD) {
                Some(Bson::Int64(record)) => Ok(Some(*record)),
                _ => Err(DataFusionError::Internal(format!("a descriptor names no record: {bound}"))),
            }
        };
        let names = |bound: &Document, name: &str| bound.len() == 1 && bound.contains_key(name);
        if let Some(bound) =
            [&lower, &upper].into_iter().flatten().find(|bound| !names(bound, RECORD) && !names(bound, "_id"))
        {
            return Err(DataFusionError::Internal(format!(
                "a descriptor has a bound of something else: {bound}"
            )));
        }
        if [&lower, &upper].into_iter().flatten().any(|bound| bound.contains_key(RECORD)) {
            return Ok(Self::Records(RecordIdRange { after: record(&lower)?, through: record(&upper)? }));
        }
        Ok(Self::Ids(IdRange { lower, upper }))
    }
}

/// The server's own name for a record's number.
pub(crate) const RECORD: &str = "$recordId";

/// The columns of a descriptor.
pub(crate) fn descriptor_schema() -> SchemaRef {
    let bound = |name| Field::new(name, DataType::Binary, true);
    Arc::new(Schema::new(vec![bound("lower"), bound("upper")]))
}

/// One partition as a row; an open end is null.
pub(crate) fn describe(partition: &ScanPartition) -> Result<RecordBatch> {
    let bound = |bound: &Option<Document>| -> Result<Arc<dyn Array>> {
        let bytes = bound.as_ref().map(Document::to_vec).transpose();
        let bytes = bytes.map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Arc::new(BinaryArray::from(vec![bytes.as_deref()])))
    };
    let [lower, upper] = partition.bounds();
    Ok(RecordBatch::try_new(descriptor_schema(), vec![bound(&lower)?, bound(&upper)?])?)
}

/// The partitions in the rows of a descriptor batch.
pub(crate) fn partitions_of(batch: &RecordBatch) -> Result<Vec<ScanPartition>> {
    let column = |index: usize| {
        let column = batch.columns().get(index).and_then(|column| column.as_binary_opt::<i32>());
        column.ok_or_else(|| DataFusionError::Internal("a descriptor has two binary columns".to_owned()))
    };
    let (lowers, uppers) = (column(0)?, column(1)?);
    let bound = |column: &BinaryArray, row: usize| -> Result<Option<Document>> {
        if column.is_null(row) {
            return Ok(None);
        }
        Ok(Some(checked::document(column.value(row))?))
    };
    (0..batch.num_rows()).map(|row| ScanPartition::of([bound(lowers, row)?, bound(uppers, row)?])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_keeps_any_bson_type() {
        for (lower, upper) in [
            (None, None),
            (None, Some(doc! { "_id": "ab12cd34:7" })),
            (Some(doc! { "_id": bson::oid::ObjectId::new() }), None),
            (
                Some(doc! { "_id": { "a": 1, "b": bson::Bson::Null } }),
                Some(doc! { "_id": bson::Bson::MaxKey }),
            ),
        ] {
            let partition = ScanPartition::Ids(IdRange { lower, upper });
            assert_eq!(partitions_of(&describe(&partition).unwrap()).unwrap(), [partition]);
        }
    }

    #[test]
    fn a_descriptor_keeps_records() {
        for (after, through) in [(None, Some(7)), (Some(7), Some(i64::MAX)), (Some(i64::MIN), None)] {
            let partition = ScanPartition::Records(RecordIdRange { after, through });
            assert_eq!(partitions_of(&describe(&partition).unwrap()).unwrap(), [partition]);
        }
    }

    #[test]
    fn a_descriptor_of_two_kinds_is_refused() {
        let bounds = [Some(doc! { RECORD: 7_i64 }), Some(doc! { "_id": 8 })];
        assert!(ScanPartition::of(bounds).is_err());
        assert!(ScanPartition::of([Some(doc! { RECORD: "7" }), None]).is_err());
        for bound in [doc! { "$where": "1" }, doc! { "_id": 1, "a": 1 }, doc! {}] {
            assert!(ScanPartition::of([None, Some(bound)]).is_err());
        }
    }
}
