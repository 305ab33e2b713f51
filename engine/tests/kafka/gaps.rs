//! Offsets that yield no message: transaction markers, aborted and open transactions, deleted records, compaction.
//! A scan ends, and returns every remaining message once.

use std::time::Duration;

use firesteel_testkit::{SOON, unique, wait_until};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::Fixture;

const TIMEOUT: Duration = Duration::from_secs(30);

struct Transactions {
    producer: BaseProducer,
    topic: String,
}

impl Transactions {
    fn new(fixture: &Fixture, topic: &str) -> anyhow::Result<Self> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &fixture.bootstrap)
            .set("transactional.id", unique("transaction"))
            .create()?;
        producer.init_transactions(TIMEOUT)?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Begins a transaction of `count` messages, which the broker has acknowledged when this returns.
    fn begin(&self, count: usize, value: &str) -> anyhow::Result<()> {
        self.producer.begin_transaction()?;
        for index in 0..count {
            let key = index.to_string();
            let record = BaseRecord::to(&self.topic).partition(0).key(&key).payload(value);
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(self.producer.flush(TIMEOUT)?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_ends_at_aborted_transactions_and_markers() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("transactions").await? else { return Ok(()) };
    let topic = fixture.topic(&unique("transactions"));
    fixture.make_topic(&topic, 1, &[]).await?;
    let transactions = Transactions::new(&fixture, &topic)?;
    fixture.create("committed", &topic, "'connection' 'default'").await?;
    fixture.create("uncommitted", &topic, "'isolationLevel' 'read_uncommitted'").await?;
    // The broker writes markers after it has reported the end of the transaction to the producer.
    let amount_to = async |committed: i64, uncommitted: i64| {
        let count = async |what, table| {
            fixture.count(&format!("SELECT count({what}) FROM {table}")).await.expect("counted")
        };
        wait_until("the markers are written", SOON, async || count("*", "committed").await == committed)
            .await;
        assert_eq!(count("value", "committed").await, committed);
        assert_eq!(count("*", "uncommitted").await, uncommitted);
    };

    // One marker at the end of the log and no message behind it.
    transactions.begin(10, "yes")?;
    transactions.producer.commit_transaction(TIMEOUT)?;
    amount_to(10, 10).await;
    transactions.begin(7, "no")?;
    transactions.producer.abort_transaction(TIMEOUT)?;
    amount_to(10, 17).await;
    transactions.begin(5, "yes")?;
    transactions.producer.commit_transaction(TIMEOUT)?;
    amount_to(15, 22).await;
    let rows = fixture
        .rows::<(String, i64)>("SELECT CAST(value AS VARCHAR), count(*) FROM committed GROUP BY 1")
        .await?;
    assert_eq!(rows, [("yes".to_owned(), 15)]);

    // An open transaction and everything behind it lie beyond the last stable offset.
    transactions.begin(3, "perhaps")?;
    fixture.send(&topic, 0, &[("plain", Some("yes"))]).await?;
    amount_to(15, 26).await;
    transactions.producer.commit_transaction(TIMEOUT)?;
    amount_to(19, 26).await;

    // Scan partitions that hold only gaps: offsets 11 to 18 are the aborted transaction with its marker.
    fixture.create("parts", &topic, "'maxRecordsPerPartition' '2'").await?;
    assert_eq!(fixture.count("SELECT count(*) FROM parts").await?, 19);
    let sql = "SELECT count(*) FROM committed WHERE \"offset\" >= 11 AND \"offset\" < 19";
    assert_eq!(fixture.count(sql).await?, 0);
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_fail_a_query_only_if_it_asks_for_them() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("deleted").await? else { return Ok(()) };
    let topic = fixture.topic(&unique("deleted"));
    fixture.publish_to(&topic, 1, |_| 0, 100).await?;
    fixture.delete_before(&topic, 0, 40).await?;

    fixture.create("rest", &topic, "'value.format' 'predictions'").await?;
    let rows = fixture.rows::<(i64, i64)>("SELECT count(*), min(\"offset\") FROM rest").await?;
    assert_eq!(rows, [(60, 40)], "earliest is what is there");

    let from = format!("'startingOffsets' '{{\"{topic}\":{{\"0\":10}}}}'");
    fixture.create("strict", &topic, &from).await?;
    let error = fixture.failure("SELECT count(*) FROM strict").await?;
    for words in [topic.as_str(), "partition 0", "offset 10", "40 to 100", "failOnDataLoss"] {
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
    fixture.create("tolerant", &topic, &format!("{from}, 'failOnDataLoss' 'false'")).await?;
    assert_eq!(fixture.count("SELECT count(*) FROM tolerant").await?, 60);

    // Offsets beyond the end of the log do not exist either.
    let beyond = format!("'endingOffsets' '{{\"{topic}\":{{\"0\":101}}}}'");
    fixture.create("beyond", &topic, &beyond).await?;
    assert!(fixture.failure("SELECT count(*) FROM beyond").await?.contains("offset 101"));

    // Everything is deleted.
    fixture.delete_before(&topic, 0, 100).await?;
    assert_eq!(fixture.count("SELECT count(*) FROM rest").await?, 0);
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_yields_the_remaining_messages() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("compacted").await? else { return Ok(()) };
    let topic = fixture.topic(&unique("compacted"));
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "1"),
        ("segment.ms", "1"),
        ("delete.retention.ms", "0"),
    ];
    fixture.make_topic(&topic, 1, &settings).await?;
    let keys = ["a", "b", "c"];
    let rounds: i64 = 20;
    for round in 0..rounds {
        let value = round.to_string();
        let messages: Vec<(&str, Option<&str>)> =
            keys.iter().map(|key| (*key, Some(value.as_str()))).collect();
        fixture.send(&topic, 0, &messages).await?;
    }
    fixture.create("t", &topic, "'maxRecordsPerPartition' '7'").await?;
    let all = rounds * keys.len() as i64;
    // A later message closes the segment before it, so that the cleaner may compact that segment.
    let mut sent = all;
    wait_until("the cleaner has been there", SOON * 2, async || {
        fixture.send(&topic, 0, &[("late", Some("x"))]).await.expect("sent");
        sent += 1;
        fixture.count("SELECT count(*) FROM t").await.expect("counted") < all
    })
    .await;
    // The last value of every key has stayed, and every remaining offset comes once.
    let sql = "SELECT CAST(key AS VARCHAR), max(CAST(CAST(value AS VARCHAR) AS BIGINT)) FROM t \
               WHERE \"offset\" < 60 GROUP BY 1 ORDER BY 1";
    let last = fixture.rows::<(String, i64)>(sql).await?;
    assert_eq!(last, keys.map(|key| (key.to_owned(), rounds - 1)));
    let rows = fixture.rows::<(i64, i64)>("SELECT count(*), count(DISTINCT \"offset\") FROM t").await?;
    assert_eq!(rows[0].0, rows[0].1, "{rows:?}");
    fixture.session.shutdown().await;
    Ok(())
}
