//! The same rows three times: in MongoDB, in Kafka, and in the tables of one DataFusion context, which is the oracle.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use datafusion::datasource::MemTable;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::SessionContext;
use firesteel_proto::{ImageId, Label, PredictionRecord, ProducerId, Sequence, Timestamp};
use firesteel_testkit::{cifar, samples};
use mongodb::bson::Document;

const PRODUCERS: usize = 4;
/// Predictions in MongoDB.
pub(super) const ROWS: usize = 6_000;
/// Every so many of them is in Kafka too.
const IN_KAFKA: usize = 3;
const START: i64 = 1_767_225_600_000; // 2026-01-01T00:00:00Z

/// One prediction. It has no model where its document lacks the field.
#[derive(Clone, Debug)]
pub(super) struct Row {
    record: PredictionRecord,
    has_model: bool,
}

/// Rows with labels, predictions and times that do not repeat in step.
pub(super) fn rows() -> Vec<Row> {
    (0..ROWS)
        .map(|n| {
            let label = cifar::class(n * 7);
            let predicted = if n % 9 == 0 { cifar::class(n * 7 + 3 + n / 100) } else { label.clone() };
            let produced = START + n as i64 * 11;
            Row {
                record: PredictionRecord {
                    id: ImageId {
                        producer: ProducerId(0xab00_0000 + (n % PRODUCERS) as u128),
                        sequence: Sequence((n / PRODUCERS) as u64),
                    },
                    // Some images have no true class.
                    label: (n % 17 != 0).then_some(label),
                    predicted,
                    confidence: (n * 37 % 129) as f32 / 128.0,
                    model: "resnet18".to_owned(),
                    produced_at: Timestamp(produced),
                    inferred_at: Timestamp(produced + 100 + (n % 50) as i64 * 10),
                },
                has_model: n % 13 != 0,
            }
        })
        .collect()
}

impl Row {
    pub(super) fn document(&self) -> Document {
        let mut document = samples::document(&self.record);
        if !self.has_model {
            document.remove("model");
        }
        document
    }
}

/// Keys and values of the records in Kafka.
pub(super) fn records(rows: &[Row]) -> Vec<(String, Vec<u8>)> {
    rows.iter()
        .step_by(IN_KAFKA)
        .map(|row| (row.record.id.producer.to_string(), row.record.encode()))
        .collect()
}

fn texts(rows: &[Row], of: impl Fn(&Row) -> Option<String>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<StringArray>())
}

fn times(rows: &[Row], of: impl Fn(&PredictionRecord) -> Timestamp) -> ArrayRef {
    let times: TimestampMillisecondArray = rows.iter().map(|row| Some(of(&row.record).0)).collect();
    Arc::new(times.with_timezone("UTC"))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("_id", texts(rows, |row| Some(row.record.id.to_string())), true),
        ("producer_id", texts(rows, |row| Some(row.record.id.producer.to_string())), true),
        (
            "sequence",
            Arc::new(rows.iter().map(|row| Some(row.record.id.sequence.0 as i64)).collect::<Int64Array>()),
            true,
        ),
        ("label", texts(rows, |row| row.record.label.as_ref().map(Label::to_string)), true),
        ("predicted", texts(rows, |row| Some(row.record.predicted.as_str().to_owned())), true),
        ("correct", Arc::new(rows.iter().map(|row| row.record.correct()).collect::<BooleanArray>()), true),
        (
            "confidence",
            Arc::new(rows.iter().map(|row| Some(f64::from(row.record.confidence))).collect::<Float64Array>()),
            true,
        ),
        ("model", texts(rows, |row| row.has_model.then(|| row.record.model.clone())), true),
        ("produced_at", times(rows, |record| record.produced_at), true),
        ("inferred_at", times(rows, |record| record.inferred_at), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

fn classes() -> RecordBatch {
    let animal = |label: &Label| !matches!(label.as_str(), "airplane" | "automobile" | "ship" | "truck");
    let classes = cifar::classes();
    let labels: StringArray = classes.iter().map(|label| Some(label.as_str())).collect();
    let ids: Int32Array = (0..10).map(Some).collect();
    let animals: BooleanArray = classes.iter().map(|label| Some(animal(label))).collect();
    RecordBatch::try_from_iter([
        ("label", Arc::new(labels) as ArrayRef),
        ("id", Arc::new(ids) as ArrayRef),
        ("animal", Arc::new(animals) as ArrayRef),
    ])
    .expect("columns of one length")
}

fn producers() -> RecordBatch {
    // One of them has produced nothing.
    let ids: StringArray = (0..=PRODUCERS).map(|n| Some(format!("{:08x}", 0xab00_0000 + n))).collect();
    let sites: StringArray = ["north", "south", "north", "south", "nowhere"].into_iter().map(Some).collect();
    RecordBatch::try_from_iter([
        ("producer_id", Arc::new(ids) as ArrayRef),
        ("site", Arc::new(sites) as ArrayRef),
    ])
    .expect("columns of one length")
}

/// Writes the two Parquet files; their names and paths.
pub(super) fn parquet(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let mut files = Vec::new();
    for (name, batch) in [("classes", classes()), ("producers", producers())] {
        let path = folder.join(format!("{name}.parquet"));
        let file = File::create(&path).expect("a file");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
        files.push((name, path));
    }
    files
}

/// One context over tables in memory.
pub(super) fn oracle(rows: &[Row]) -> SessionContext {
    let in_kafka: Vec<Row> = rows.iter().step_by(IN_KAFKA).cloned().collect();
    let context = SessionContext::new();
    for (name, batch) in [
        ("predictions", batch(rows)),
        ("plain", batch(rows)),
        ("topic", batch(&in_kafka)),
        ("classes", classes()),
        ("producers", producers()),
    ] {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a table");
        context.register_table(name, Arc::new(table)).expect("a name of its own");
    }
    context
}
