//! Messages into Arrow columns. Only what a query asks for is decoded: where it names no column of the record, the
//! value is not looked at, and what a record holds is copied once, into the column.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    RecordBatch, RecordBatchOptions, StringBuilder, StructBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use firesteel_common::dead_letter::Facts;
use firesteel_common::headers::headers;
use firesteel_proto::{Encoding, ImageId, ImageRecord, PredictionRecord, ProducerId, Timestamp as Time};
use rdkafka::Timestamp;
use rdkafka::message::Message;

use crate::connectors::kafka::config::{Format, Mode};
use crate::connectors::kafka::schema::{header_fields, header_item};
use crate::{Error, Result};

/// The parts of a message, and of the record in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Key,
    Value,
    Headers,
    Topic,
    Partition,
    Offset,
    Timestamp,
    TimestampType,
    Corrupt,
    Producer,
    Sequence,
    ProducedAt,
    InferredAt,
    Label,
    Predicted,
    Confidence,
    Model,
    Encoding,
    Data,
    SourceTopic,
    SourcePartition,
    SourceOffset,
    Class,
    Reason,
    Attempts,
    Replays,
    Size,
}

impl Part {
    /// The part that a column of a table holds.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "source_topic" => Self::SourceTopic,
            "source_partition" => Self::SourcePartition,
            "source_offset" => Self::SourceOffset,
            "class" => Self::Class,
            "message" => Self::Reason,
            "attempts" => Self::Attempts,
            "replays" => Self::Replays,
            "size" => Self::Size,
            "key" => Self::Key,
            "value" => Self::Value,
            "headers" => Self::Headers,
            "topic" => Self::Topic,
            "partition" => Self::Partition,
            "offset" => Self::Offset,
            "timestamp" => Self::Timestamp,
            "timestamp_type" => Self::TimestampType,
            "_corrupt_record" => Self::Corrupt,
            "producer_id" => Self::Producer,
            "sequence" => Self::Sequence,
            "produced_at" => Self::ProducedAt,
            "inferred_at" => Self::InferredAt,
            "label" => Self::Label,
            "predicted" => Self::Predicted,
            "confidence" => Self::Confidence,
            "model" => Self::Model,
            "encoding" => Self::Encoding,
            "data" => Self::Data,
            _ => return None,
        })
    }

    /// Whether it can only be had by decoding the value, or the headers of a letter.
    fn is_of_record(self) -> bool {
        matches!(
            self,
            Self::Corrupt
                | Self::Producer
                | Self::Sequence
                | Self::ProducedAt
                | Self::InferredAt
                | Self::Label
                | Self::Predicted
                | Self::Confidence
                | Self::Model
                | Self::Encoding
                | Self::Data
                | Self::SourceTopic
                | Self::SourcePartition
                | Self::SourceOffset
                | Self::Class
                | Self::Reason
                | Self::Attempts
                | Self::Replays
                | Self::Size
        )
    }

    fn builder(self) -> Builder {
        match self {
            Self::Key | Self::Value | Self::Corrupt | Self::Data => Builder::Bytes(BinaryBuilder::new()),
            Self::Headers => Builder::Headers(header_builder()),
            Self::Topic
            | Self::Producer
            | Self::Label
            | Self::Predicted
            | Self::Model
            | Self::Encoding
            | Self::SourceTopic
            | Self::Class
            | Self::Reason => Builder::Text(StringBuilder::new()),
            Self::Partition
            | Self::TimestampType
            | Self::SourcePartition
            | Self::Attempts
            | Self::Replays => Builder::Int(Int32Builder::new()),
            Self::Offset | Self::Sequence | Self::SourceOffset | Self::Size => {
                Builder::Long(Int64Builder::new())
            }
            Self::Timestamp | Self::ProducedAt | Self::InferredAt => {
                Builder::Time(TimestampMillisecondBuilder::new().with_timezone("UTC"))
            }
            Self::Confidence => Builder::Double(Float64Builder::new()),
        }
    }
}

/// A column under construction.
enum Builder {
    Bytes(BinaryBuilder),
    Text(StringBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Time(TimestampMillisecondBuilder),
    Double(Float64Builder),
    Headers(ListBuilder<StructBuilder>),
}

fn header_builder() -> ListBuilder<StructBuilder> {
    let fields: Vec<Box<dyn ArrayBuilder>> =
        vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())];
    ListBuilder::new(StructBuilder::new(header_fields(), fields)).with_field(header_item())
}

impl Builder {
    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bytes(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Long(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Headers(builder) => Arc::new(builder.finish()),
        }
    }
}

/// A value, read as the format says.
enum Record {
    /// Nothing of it is asked for.
    Unread,
    /// There is none, or it was not what the format says.
    Absent,
    Image(ImageRecord),
    Prediction(PredictionRecord),
    /// What the headers of a letter say of the record in it.
    Letter(Facts),
}

impl Record {
    fn id(&self) -> Option<ImageId> {
        match self {
            Self::Image(image) => Some(image.id),
            Self::Prediction(prediction) => Some(prediction.id),
            Self::Unread | Self::Absent | Self::Letter(_) => None,
        }
    }

    fn text(&self, part: Part) -> Option<&str> {
        Some(match (self, part) {
            (Self::Image(image), Part::Label) => image.label.as_ref()?.as_str(),
            (Self::Image(image), Part::Encoding) => match image.encoding {
                Encoding::Jpeg => "jpeg",
                Encoding::Png => "png",
                Encoding::Rgb8 => "rgb8",
                Encoding::WebP => "webp",
            },
            (Self::Prediction(prediction), Part::Label) => prediction.label.as_ref()?.as_str(),
            (Self::Prediction(prediction), Part::Predicted) => prediction.predicted.as_str(),
            (Self::Prediction(prediction), Part::Model) => &prediction.model,
            (Self::Letter(letter), Part::SourceTopic) => letter.topic.as_deref()?,
            (Self::Letter(letter), Part::Class) => letter.class.as_deref()?,
            (Self::Letter(letter), Part::Reason) => letter.message.as_deref()?,
            _ => return None,
        })
    }

    fn int(&self, part: Part) -> Option<i32> {
        let Self::Letter(letter) = self else { return None };
        match part {
            Part::SourcePartition => letter.partition,
            Part::Attempts => letter.attempts.and_then(|count| count.try_into().ok()),
            Part::Replays => letter.replays.and_then(|count| count.try_into().ok()),
            _ => None,
        }
    }

    /// A letter that was cut says how long its record was; any other has all of it.
    fn long(&self, part: Part, value: Option<&[u8]>) -> Option<i64> {
        match (self, part) {
            (Self::Letter(letter), Part::SourceOffset) => letter.offset,
            (Self::Letter(letter), Part::Size) => letter
                .cut_from
                .or(value.map(|value| value.len() as u64))
                .and_then(|size| size.try_into().ok()),
            _ => self.id().and_then(|id| i64::try_from(id.sequence.0).ok()),
        }
    }

    fn time(&self, part: Part) -> Option<i64> {
        let Time(millis) = match (self, part) {
            (Self::Image(image), Part::ProducedAt) => image.produced_at,
            (Self::Prediction(prediction), Part::ProducedAt) => prediction.produced_at,
            (Self::Prediction(prediction), Part::InferredAt) => prediction.inferred_at,
            _ => return None,
        };
        Some(millis)
    }
}

/// Collects messages into batches.
pub(crate) struct Decoder {
    schema: SchemaRef,
    format: Format,
    mode: Mode,
    columns: Vec<(Part, Builder)>,
    reads_records: bool,
    rows: usize,
    bytes: usize,
}

impl Decoder {
    /// A decoder into `schema`, whose columns are some of the table's.
    pub(crate) fn new(schema: SchemaRef, format: Format, mode: Mode) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| {
            let part = Part::named(field.name()).ok_or_else(|| Error::PlanDecode {
                message: format!("a Kafka table has no column `{}`", field.name()),
            })?;
            Ok((part, part.builder()))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let reads_records = columns.iter().any(|(part, _)| part.is_of_record());
        Ok(Self { schema, format, mode, columns, reads_records, rows: 0, bytes: 0 })
    }

    /// Messages that wait for `finish`.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// How much those messages hold, at most.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a message; how many bytes it had.
    pub(crate) fn push(&mut self, message: &impl Message) -> Result<usize> {
        let (record, corrupt) = match self.record(message) {
            Ok(record) => (record, None),
            Err(reason) if self.mode == Mode::FailFast => {
                return Err(Error::BadRecord {
                    topic: message.topic().to_owned(),
                    partition: message.partition(),
                    offset: message.offset(),
                    message: reason,
                });
            }
            Err(_) => (Record::Absent, message.payload()),
        };
        for (part, builder) in &mut self.columns {
            append(*part, builder, message, &record, corrupt);
        }
        self.rows += 1;
        let size = message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len);
        self.bytes += size;
        Ok(size)
    }

    fn record(&self, message: &impl Message) -> Result<Record, String> {
        let value = match message.payload() {
            _ if !self.reads_records => return Ok(Record::Unread),
            _ if self.format == Format::Letters => {
                return Ok(Record::Letter(Facts::of(&headers(message))));
            }
            // A tombstone.
            None => return Ok(Record::Absent),
            Some(value) => value,
        };
        let record = match self.format {
            Format::Raw | Format::Letters => return Ok(Record::Unread),
            Format::Images => ImageRecord::decode(value).map(Record::Image),
            Format::Predictions => PredictionRecord::decode(value).map(Record::Prediction),
        };
        let record = record.map_err(|error| error.to_string())?;
        if record.id().is_some_and(|id| i64::try_from(id.sequence.0).is_err()) {
            return Err("its sequence number does not fit in 64 signed bits".to_owned());
        }
        Ok(record)
    }

    /// The messages so far as a batch.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch> {
        let columns = self.columns.iter_mut().map(|(_, builder)| builder.finish()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        (self.rows, self.bytes) = (0, 0);
        batch.map_err(|error| DataFusionError::from(error).into())
    }
}

/// Appends one value; what a message has not is null.
fn append(
    part: Part,
    builder: &mut Builder,
    message: &impl Message,
    record: &Record,
    corrupt: Option<&[u8]>,
) {
    match builder {
        Builder::Bytes(builder) => builder.append_option(match part {
            Part::Key => message.key(),
            Part::Value => message.payload(),
            Part::Corrupt => corrupt,
            _ => match record {
                Record::Image(image) => Some(&image.data[..]),
                _ => None,
            },
        }),
        Builder::Text(builder) => match (part, record.id()) {
            (Part::Topic, _) => builder.append_value(message.topic()),
            // A letter keeps the key of its record, which is the producer.
            (Part::Producer, None) if matches!(record, Record::Letter(_)) => {
                builder.append_option(message.key().and_then(producer));
            }
            (Part::Producer, Some(ImageId { producer, .. })) => {
                // Writing into a builder cannot fail, and ends the value only with the next call.
                let _ = write!(builder, "{producer}");
                builder.append_value("");
            }
            _ => builder.append_option(record.text(part)),
        },
        Builder::Int(builder) => builder.append_option(match (part, message.timestamp()) {
            (Part::Partition, _) => Some(message.partition()),
            (Part::TimestampType, Timestamp::NotAvailable) => Some(-1),
            (Part::TimestampType, Timestamp::CreateTime(_)) => Some(0),
            (Part::TimestampType, Timestamp::LogAppendTime(_)) => Some(1),
            _ => record.int(part),
        }),
        Builder::Long(builder) => builder.append_option(match part {
            Part::Offset => Some(message.offset()),
            _ => record.long(part, message.payload()),
        }),
        Builder::Time(builder) => builder.append_option(match part {
            Part::Timestamp => message.timestamp().to_millis(),
            _ => record.time(part),
        }),
        Builder::Double(builder) => builder.append_option(match record {
            Record::Prediction(prediction) => Some(f64::from(prediction.confidence)),
            _ => None,
        }),
        Builder::Headers(builder) => append_headers(builder, message),
    }
}

/// The producer that a key names.
fn producer(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key).ok().filter(|text| text.parse::<ProducerId>().is_ok())
}

/// A message without headers has an empty list.
fn append_headers(builder: &mut ListBuilder<StructBuilder>, message: &impl Message) {
    for header in headers(message) {
        let pair = builder.values();
        if let Some(key) = pair.field_builder::<StringBuilder>(0) {
            key.append_value(header.name);
        }
        if let Some(value) = pair.field_builder::<BinaryBuilder>(1) {
            value.append_option(header.value);
        }
        pair.append(true);
    }
    builder.append(true);
}
