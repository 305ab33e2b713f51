//! Documents of MongoDB in this process: BSON as Arrow batches, and SQL's filters as MongoDB's.
//!
//! Both functions do what a scan of a collection does, for programs that have documents or filters from elsewhere: a
//! dump, a change stream, a query that they send themselves. They are what a scan spends its own time on, so the
//! micro-benchmarks in `benches/` measure exactly these, and need nothing else of the engine.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bson::{Document, RawDocument};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;

use crate::connectors::mongodb::{DecodeOptions, Decoder, conjunction};
use crate::{Error, Result};

/// What errors call the collection.
const COLLECTION: &str = "documents";

/// Decodes BSON documents into one batch with a row each, as a scan does. Documents may have fields in any order; a
/// field that is missing is null.
///
/// # Errors
/// Where a document is no BSON, or a field has a value that does not fit the type of its column.
pub fn decode(documents: &[impl AsRef<[u8]>], schema: &SchemaRef) -> Result<RecordBatch> {
    let mut decoder =
        Decoder::reading(COLLECTION, Arc::clone(schema), documents.len(), &DecodeOptions::default())?;
    for document in documents {
        let document = RawDocument::from_bytes(document.as_ref()).map_err(|error| Error::MongoDb {
            operation: "find",
            collection: COLLECTION.to_owned(),
            message: error.to_string(),
        })?;
        decoder.push(document)?;
    }
    decoder.finish().map_err(|error| DataFusionError::from(error).into())
}

/// MongoDB's filter for all of `filters` that its server can evaluate, as a scan sends it; `None` where it can evaluate
/// none. `schema` says what the documents hold. Rows that pass have to be filtered again where a part was left out.
pub fn filter(filters: &[Expr], schema: &Schema) -> Option<Document> {
    conjunction(filters, schema)
}
