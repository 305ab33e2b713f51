//! What benchmarks need of the engine's inside, and what they compare it with. It is no part of the API.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bson::{Bson, Document, RawDocument, doc};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt as _;
use mongodb::Database;

use crate::connectors::mongodb::{DecodeOptions, Decoder, conjunction};
use crate::dataflow::Timestamp;
use crate::report::{KeyedCounts, Report};
use crate::{Error, Result};

/// What errors call the collection.
const COLLECTION: &str = "bench";

/// BSON documents as one batch, decoded as a scan does.
pub fn decode(documents: &[Vec<u8>], schema: &SchemaRef) -> Result<RecordBatch> {
    let mut decoder =
        Decoder::reading(COLLECTION, Arc::clone(schema), documents.len(), &DecodeOptions::default())?;
    for document in documents {
        let document = RawDocument::from_bytes(document).map_err(|error| Error::MongoDb {
            operation: "find",
            collection: COLLECTION.to_owned(),
            message: error.to_string(),
        })?;
        decoder.push(document)?;
    }
    decoder.finish().map_err(|error| DataFusionError::from(error).into())
}

/// The filters that the optimizer makes of a predicate in SQL: coerced, simplified and taken apart at its ANDs.
pub fn filters(predicate: &str, schema: &SchemaRef) -> Result<Vec<Expr>> {
    let columns = Arc::new(DFSchema::try_from(Arc::clone(schema))?);
    let written = SessionContext::new().parse_sql_expr(predicate, &columns)?;
    let context = SimplifyContext::builder().with_schema(Arc::clone(&columns)).build();
    let simplifier = ExprSimplifier::new(context);
    let filter = simplifier.simplify(simplifier.coerce(written, &columns)?)?;
    Ok(split_conjunction_owned(filter))
}

/// MongoDB's filter for all of `filters` that can be pushed, as a scan builds it; `None` where none can.
pub fn translate(filters: &[Expr], schema: &Schema) -> Option<Document> {
    conjunction(filters, schema)
}

/// The report by MongoDB itself: one `$group` with the keys and accumulators of [`crate::report::run`].
pub async fn group(database: &Database) -> Result<Report> {
    const COLLECTION: &str = "predictions";
    let failed = |message: String| Error::MongoDb {
        operation: "aggregate",
        collection: COLLECTION.to_owned(),
        message,
    };
    let pipeline = [doc! { "$group": {
        "_id": { "producer_id": "$producer_id", "label": "$label" },
        "total": { "$sum": 1_i64 },
        "wrong": { "$sum": { "$cond": ["$correct", 0_i64, 1_i64] } },
        "first_produced": { "$min": "$produced_at" },
        "last_inferred": { "$max": "$inferred_at" },
    } }];
    let groups = database.collection::<Document>(COLLECTION).aggregate(pipeline).await;
    let groups = groups.map_err(|error| failed(error.to_string()))?;
    let groups: Vec<Document> = groups.try_collect().await.map_err(|error| failed(error.to_string()))?;
    let rows: Option<Vec<KeyedCounts>> = groups.iter().map(keyed).collect();
    let rows = rows.ok_or_else(|| failed("a group is not what was asked for".to_owned()))?;
    Ok(Report::fold(&rows, Duration::ZERO))
}

fn keyed(group: &Document) -> Option<KeyedCounts> {
    let key = group.get_document("_id").ok()?;
    let text = |field| key.get_str(field).ok().map(str::to_owned);
    let count = |field| u64::try_from(group.get_i64(field).ok()?).ok();
    let time = |field| match group.get(field) {
        Some(Bson::DateTime(time)) => Some(Timestamp::from_millis(time.timestamp_millis())),
        _ => None,
    };
    Some(KeyedCounts {
        producer_id: text("producer_id"),
        label: text("label"),
        total: count("total")?,
        wrong: count("wrong")?,
        first_produced: time("first_produced"),
        last_inferred: time("last_inferred"),
    })
}
