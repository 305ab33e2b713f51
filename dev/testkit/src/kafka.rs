//! Fills topics with given records, for tests that read them back.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};

/// How long the brokers may take for each record.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes `topic` and writes `records`, pairs of key and value, in order. All are acknowledged when this returns.
///
/// # Errors
/// Where the brokers refuse the topic or a record.
pub async fn publish(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    records: &[(String, Vec<u8>)],
) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("linger.ms", "5");
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for made in
        admin.create_topics([&new], &AdminOptions::new().operation_timeout(Some(SEND_TIMEOUT))).await?
    {
        made.map_err(|(topic, code)| anyhow::anyhow!("cannot make topic {topic}: {code}"))?;
    }
    let producer: FutureProducer = config.create()?;
    let sends = records
        .iter()
        .map(|(key, value)| producer.send(FutureRecord::to(topic).key(key).payload(value), SEND_TIMEOUT));
    for sent in futures::future::join_all(sends).await {
        sent.map_err(|(error, _)| error)?;
    }
    Ok(())
}
