//! BSON → Arrow: the engine's decoder, beside what one writes without it, `bson`'s documents and Arrow's builders.
//!
//! The documents are those of `firesteel seed`, whole and as the server cuts them down for a query of two columns.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use anyhow::ensure;
use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow::datatypes::SchemaRef;
use bson::{Document, RawBson, RawDocumentBuf, rawdoc};
use criterion::{Criterion, Throughput};
use firesteel_engine::documents::decode;
use firesteel_engine::predictions_schema;
use firesteel_pipeline::seed::Generator;
use firesteel_proto::PredictionRecord;

/// The rows of a batch of a scan.
const DOCUMENTS: u64 = 8_192;

fn main() -> anyhow::Result<()> {
    common::run(measure)
}

fn measure(criterion: &mut Criterion) -> anyhow::Result<()> {
    let generator = Generator::new(42, 4);
    let records: Vec<PredictionRecord> = (0..DOCUMENTS).map(|index| generator.prediction(index)).collect();
    let schema = predictions_schema();

    let documents: Vec<Vec<u8>> = records
        .iter()
        .map(|record| record.to_document().map(RawDocumentBuf::into_bytes))
        .collect::<firesteel_proto::Result<_>>()?;
    ensure!(
        decode(&documents, &schema)? == by_hand(&documents, &schema)?,
        "the decoder and the builders disagree"
    );
    let mut group = criterion.benchmark_group("decode/predictions");
    group.throughput(throughput(&documents));
    group.bench_function("firesteel", |bencher| {
        bencher.iter(|| decode(black_box(&documents), &schema));
    });
    group.bench_function("bson documents, arrow builders", |bencher| {
        bencher.iter(|| by_hand(black_box(&documents), &schema));
    });
    group.finish();

    let columns = Arc::new(schema.project(&[schema.index_of("producer_id")?, schema.index_of("correct")?])?);
    let documents: Vec<Vec<u8>> = records.iter().map(|record| two_columns(record).into_bytes()).collect();
    ensure!(decode(&documents, &columns)?.num_rows() == documents.len(), "rows are missing");
    let mut group = criterion.benchmark_group("decode/two columns");
    group.throughput(throughput(&documents));
    group.bench_function("firesteel", |bencher| {
        bencher.iter(|| decode(black_box(&documents), &columns));
    });
    group.finish();
    Ok(())
}

fn throughput(documents: &[Vec<u8>]) -> Throughput {
    let bytes = documents.iter().map(|document| document.len() as u64).sum();
    Throughput::ElementsAndBytes { elements: documents.len() as u64, bytes }
}

/// What the server's projection leaves of it for wrong inferences by producer.
fn two_columns(record: &PredictionRecord) -> RawDocumentBuf {
    let correct = record.correct().map_or(RawBson::Null, RawBson::Boolean);
    rawdoc! { "producer_id": record.id.producer.to_string(), "correct": correct }
}

/// The whole documents by way of `bson::Document`. A field that is missing or of another type is null.
fn by_hand(documents: &[Vec<u8>], schema: &SchemaRef) -> anyhow::Result<RecordBatch> {
    let mut texts = ["_id", "producer_id", "label", "predicted", "model"]
        .map(|name| (name, StringBuilder::with_capacity(documents.len(), 16 * documents.len())));
    let mut times = ["produced_at", "inferred_at"]
        .map(|name| (name, TimestampMillisecondBuilder::with_capacity(documents.len()).with_timezone("UTC")));
    let mut sequence = Int64Builder::with_capacity(documents.len());
    let mut correct = BooleanBuilder::with_capacity(documents.len());
    let mut confidence = Float64Builder::with_capacity(documents.len());
    for document in documents {
        let document = Document::from_reader(document.as_slice())?;
        for (name, column) in &mut texts {
            column.append_option(document.get_str(*name).ok());
        }
        for (name, column) in &mut times {
            column.append_option(document.get_datetime(*name).ok().map(|time| time.timestamp_millis()));
        }
        sequence.append_option(document.get_i64("sequence").ok());
        correct.append_option(document.get_bool("correct").ok());
        confidence.append_option(document.get_f64("confidence").ok());
    }
    let [id, producer_id, label, predicted, model] =
        texts.map(|(_, mut column)| Arc::new(column.finish()) as ArrayRef);
    let [produced_at, inferred_at] = times.map(|(_, mut column)| Arc::new(column.finish()) as ArrayRef);
    let columns: Vec<ArrayRef> = vec![
        id,
        producer_id,
        Arc::new(sequence.finish()),
        label,
        predicted,
        Arc::new(correct.finish()),
        Arc::new(confidence.finish()),
        model,
        produced_at,
        inferred_at,
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
