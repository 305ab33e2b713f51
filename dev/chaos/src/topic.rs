//! A topic as the oracle sees it: every record, read as it comes, by a way that no fault touches.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use firesteel_pipeline::kafka::{KafkaConfig, watermarks};
use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

/// Where a record is: partition and offset.
pub(crate) type Place = (i32, i64);
/// All records of a topic.
pub(crate) type Records = BTreeMap<Place, Record>;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Record {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(String, Bytes)>,
}

impl Record {
    /// The last header of a name, as text: those of a dead letter come after those of its record.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rfind(|(found, _)| found == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// Follows a topic from its beginning.
#[derive(Debug)]
pub(crate) struct Tail {
    topic: String,
    config: KafkaConfig,
    records: Arc<Mutex<Records>>,
    task: JoinHandle<()>,
}

impl Tail {
    /// Begins; `news` gets each record once.
    pub(crate) fn start(
        config: &KafkaConfig,
        topic: &str,
        partitions: i32,
        news: Option<UnboundedSender<(Place, Record)>>,
    ) -> anyhow::Result<Self> {
        let consumer: StreamConsumer = client(config, "chaos-tail").create().context("a consumer")?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let records: Arc<Mutex<Records>> = Arc::default();
        let seen = Arc::clone(&records);
        let task = tokio::spawn(async move {
            loop {
                // Outages are what the run is about; the client goes on by itself.
                let Ok(message) = consumer.recv().await else { continue };
                let bytes = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
                let headers = message.headers().map(|headers| {
                    let header = |header: rdkafka::message::Header<'_, &[u8]>| {
                        (header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default()))
                    };
                    headers.iter().map(header).collect()
                });
                let record = Record {
                    key: bytes(message.key()),
                    value: bytes(message.payload()),
                    headers: headers.unwrap_or_default(),
                };
                let place = (message.partition(), message.offset());
                let new = lock(&seen).insert(place, record.clone()).is_none();
                if let Some(news) = news.as_ref().filter(|_| new) {
                    // Nobody listens any more at the end of a run.
                    let _ = news.send((place, record));
                }
            }
        });
        Ok(Self { topic: topic.to_owned(), config: config.clone(), records, task })
    }

    /// Waits until every record that the topic has at this moment was read.
    pub(crate) async fn catch_up(&self, within: Duration) -> anyhow::Result<()> {
        let ends = watermarks(&self.config, &self.topic).await?;
        let deadline = Instant::now() + within;
        loop {
            let missing = {
                let records = self.records();
                ends.iter()
                    .find(|(partition, (low, end))| {
                        end > low && !records.contains_key(&(**partition, end - 1))
                    })
                    .map(|(partition, (_, end))| (*partition, end - 1))
            };
            let Some(missing) = missing else { return Ok(()) };
            ensure!(
                Instant::now() < deadline,
                "{}: record {missing:?} was not read within {within:?}",
                self.topic
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What was read so far.
    pub(crate) fn records(&self) -> MutexGuard<'_, Records> {
        lock(&self.records)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The committed offset of each partition that has one.
pub(crate) async fn committed(
    config: &KafkaConfig,
    group: &str,
    topic: &str,
    partitions: i32,
) -> anyhow::Result<BTreeMap<i32, i64>> {
    let (settings, topic) = (client(config, group), topic.to_owned());
    let ask = move || -> anyhow::Result<BTreeMap<i32, i64>> {
        let consumer: BaseConsumer = settings.create()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&topic, 0, partitions - 1);
        let found = consumer.committed_offsets(list, Duration::from_secs(5))?;
        let of = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset()
        {
            Offset::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        };
        Ok(found.elements().iter().filter_map(of).collect())
    };
    tokio::task::spawn_blocking(ask).await?
}

fn client(config: &KafkaConfig, group: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "50")
        .set("reconnect.backoff.max.ms", "1000");
    client
}

fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}
