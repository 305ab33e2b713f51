//! An embedded engine over topics that one test owns, and helpers that fill them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use firesteel_engine::dataflow::FromRow;

use firesteel_engine::{Config, Outcome, Session};
use firesteel_testkit::{Services, TempDatabase, TempTopics, publish, unique};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::task::JoinHandle;

use crate::{image, millis, prediction};

const TIMEOUT: Duration = Duration::from_secs(30);

/// An embedded engine with several partitions.
pub(crate) struct Fixture {
    pub(crate) session: Session,
    pub(crate) config: Config,
    pub(crate) bootstrap: String,
    producer: FutureProducer,
    topics: Mutex<Vec<TempTopics>>,
    database: TempDatabase,
}

impl Fixture {
    /// Starts an engine; `None` if no servers are configured.
    pub(crate) async fn start(name: &str) -> anyhow::Result<Option<Self>> {
        let Some(services) = Services::from_env() else { return Ok(None) };
        let bootstrap = services.kafka_bootstrap;
        let database = TempDatabase::new(&services.mongodb_uri, name);
        let mut config = Config::new(&services.mongodb_uri, &database.name);
        config.kafka.bootstrap.clone_from(&bootstrap);
        config.topics.images = unique(&format!("{name}-images"));
        config.topics.predictions = unique(&format!("{name}-predictions"));
        config.vcores = Some(3);
        config.partitions = Some(4);
        let topics = [&config.topics.images, &config.topics.predictions];
        let topics = topics.into_iter().flat_map(|topic| [topic.clone(), format!("{topic}.dead-letter")]);
        Ok(Some(Self {
            session: Session::embedded(config.clone()).await?,
            producer: ClientConfig::new()
                .set("bootstrap.servers", &bootstrap)
                .set("linger.ms", "1")
                .create()?,
            topics: Mutex::new(vec![TempTopics::new(&bootstrap, topics)]),
            bootstrap,
            config,
            database,
        }))
    }

    /// Registers a topic for removal at the end, and returns its name.
    pub(crate) fn topic(&self, name: &str) -> String {
        let topics = TempTopics::new(&self.bootstrap, [name.to_owned()]);
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).push(topics);
        name.to_owned()
    }

    pub(crate) async fn publish(
        &self,
        topic: &str,
        partitions: i32,
        records: &[(String, Vec<u8>)],
    ) -> anyhow::Result<()> {
        publish(&self.bootstrap, topic, partitions, records).await
    }

    fn admin(&self) -> anyhow::Result<AdminClient<DefaultClientContext>> {
        Ok(ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create()?)
    }

    pub(crate) async fn make_topic(
        &self,
        topic: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        for made in self.admin()?.create_topics([&new], &options).await? {
            made.map_err(|(topic, code)| anyhow::anyhow!("cannot make topic {topic}: {code}"))?;
        }
        Ok(())
    }

    /// Publishes predictions 0 to `count` with the timestamps of `millis`, each to the partition that `partition`
    /// returns.
    pub(crate) async fn publish_to(
        &self,
        topic: &str,
        partitions: i32,
        partition: impl Fn(usize) -> i32,
        count: usize,
    ) -> anyhow::Result<()> {
        self.publish_at(topic, partitions, partition, count, millis).await
    }

    /// Publishes as [`Self::publish_to`] does, with other timestamps.
    pub(crate) async fn publish_at(
        &self,
        topic: &str,
        partitions: i32,
        partition: impl Fn(usize) -> i32,
        count: usize,
        time: impl Fn(usize) -> i64,
    ) -> anyhow::Result<()> {
        // The timestamps are old, so the retention must not delete the messages.
        self.make_topic(topic, partitions, &[("retention.ms", "-1")]).await?;
        let values: Vec<Vec<u8>> = (0..count).map(|index| prediction(index).encode()).collect();
        let sends = values.iter().enumerate().map(|(index, value)| {
            let record = FutureRecord::<str, [u8]>::to(topic).payload(value);
            self.producer.send(record.partition(partition(index)).timestamp(time(index)), TIMEOUT)
        });
        for sent in futures::future::join_all(sends).await {
            sent.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// Sends messages in order.
    pub(crate) async fn send(
        &self,
        topic: &str,
        partition: i32,
        messages: &[(&str, Option<&str>)],
    ) -> anyhow::Result<()> {
        for (key, value) in messages {
            self.send_with(topic, partition, Some(key), *value, None).await?;
        }
        Ok(())
    }

    pub(crate) async fn send_with(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&str>,
        value: Option<&str>,
        headers: Option<OwnedHeaders>,
    ) -> anyhow::Result<()> {
        let mut record = FutureRecord::<str, str>::to(topic).partition(partition);
        (record.key, record.payload, record.headers) = (key, value, headers);
        self.producer.send(record, TIMEOUT).await.map_err(|(error, _)| error)?;
        Ok(())
    }

    /// Deletes the records before `offset`.
    pub(crate) async fn delete_before(&self, topic: &str, partition: i32, offset: i64) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        let deleted = self.admin()?.delete_records(&list, &options).await?;
        for element in deleted.elements() {
            element.error()?;
        }
        Ok(())
    }

    pub(crate) async fn topic_names(&self) -> anyhow::Result<Vec<String>> {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create()?;
        let metadata = client.fetch_metadata(None, TIMEOUT)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// Returns the database of the table `predictions`.
    pub(crate) async fn database(&self) -> anyhow::Result<mongodb::Database> {
        self.database.open().await
    }

    /// Starts a producer that writes images until it is stopped.
    pub(crate) fn keep_writing(&self, topic: &str) -> Writer {
        let (stop, producer, topic) =
            (Arc::new(AtomicBool::new(false)), self.producer.clone(), topic.to_owned());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) {
                let value = image(written).encode();
                let record = FutureRecord::<str, [u8]>::to(&topic).payload(&value);
                producer.send(record, TIMEOUT).await.map_err(|(error, _)| error)?;
                written += 1;
            }
            Ok(i64::try_from(written)?)
        });
        Writer { stop, task }
    }

    /// Registers a table over `topic`.
    pub(crate) async fn create(&self, table: &str, topic: &str, options: &str) -> anyhow::Result<()> {
        let options = options.trim_end_matches([',', ' ']);
        let sql =
            format!("CREATE EXTERNAL TABLE {table} STORED AS KAFKA LOCATION '{topic}' OPTIONS ({options})");
        self.run(&sql).await
    }

    /// Runs a statement that returns no rows.
    pub(crate) async fn run(&self, sql: &str) -> anyhow::Result<()> {
        match self.session.execute(sql).await.context(sql.to_owned())? {
            Outcome::Done(_) => Ok(()),
            Outcome::Rows(_) => anyhow::bail!("{sql}: gave rows"),
        }
    }

    pub(crate) async fn rows<T: FromRow>(&self, sql: &str) -> anyhow::Result<Vec<T>> {
        self.session.sql(sql).await.context(sql.to_owned())?.collect_as::<T>().await.context(sql.to_owned())
    }

    pub(crate) async fn count(&self, sql: &str) -> anyhow::Result<i64> {
        let rows = self.rows::<(i64,)>(sql).await?;
        rows.first().map(|row| row.0).context("no row")
    }

    /// Returns the error message of a query that fails.
    pub(crate) async fn failure(&self, sql: &str) -> anyhow::Result<String> {
        match self.session.sql(sql).await?.collect().await {
            Ok(rows) => anyhow::bail!("{sql}: gave {} rows", rows.len()),
            Err(error) => Ok(error.to_string()),
        }
    }
}

/// A running producer.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<anyhow::Result<i64>>,
}

impl Writer {
    /// Stops the producer, and returns how many messages it has written.
    pub(crate) async fn stop(self) -> anyhow::Result<i64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}
