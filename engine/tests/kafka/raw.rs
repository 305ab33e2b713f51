//! Raw tables, values that do not fit their columns, tombstones, and joins of Kafka with MongoDB.

use firesteel_testkit::{samples, unique};
use rdkafka::message::{Header, OwnedHeaders};

use crate::{Fixture, prediction, predictions};

#[tokio::test(flavor = "multi_thread")]
async fn keys_values_and_headers_come_as_bytes() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("raw").await? else { return Ok(()) };
    let topic = fixture.topic(&unique("raw"));
    fixture.make_topic(&topic, 1, &[]).await?;
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header { key: "b", value: None::<&str> });
    fixture.send_with(&topic, 0, Some("k"), Some("v"), Some(headers)).await?;
    fixture.send_with(&topic, 0, None, Some(""), None).await?;
    fixture.send_with(&topic, 0, Some("gone"), None, None).await?;
    fixture.create("t", &topic, "'value.format' 'raw'").await?;

    let rows = fixture
        .rows::<(Option<String>, Option<String>, i64, Option<String>, Option<String>, i64, i64)>(
            "SELECT CAST(key AS VARCHAR), CAST(value AS VARCHAR), cardinality(headers), headers[1]['key'], \
             CAST(headers[2]['value'] AS VARCHAR), \"offset\", timestamp_type FROM t ORDER BY \"offset\"",
        )
        .await?;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        rows,
        [
            (text("k"), text("v"), 2, text("a"), None, 0, 0),
            (None, text(""), 0, None, None, 1, 0),
            (text("gone"), None, 0, None, None, 2, 0),
        ]
    );
    assert_eq!(fixture.count("SELECT count(*) FROM t WHERE timestamp > to_timestamp_millis(0)").await?, 3);
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_fit_is_an_error_or_null() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("misfit").await? else { return Ok(()) };
    let topic = fixture.config.topics.predictions.clone();
    fixture.publish(&topic, 1, &predictions(20)).await?;
    fixture.send(&topic, 0, &[("bad", Some("not protobuf")), ("tombstone", None)]).await?;

    let error = fixture.failure("SELECT label FROM predictions_topic").await?;
    for words in [topic.as_str(), "offset 20", "partition 0", "PERMISSIVE"] {
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
    // A record of which no field is read is not decoded.
    assert_eq!(fixture.count("SELECT count(*) FROM predictions_topic").await?, 22);
    assert_eq!(fixture.count("SELECT max(\"offset\") FROM predictions_topic").await?, 21);

    fixture.create("t", &topic, "'value.format' 'predictions', 'mode' 'PERMISSIVE'").await?;
    let rows = fixture
        .rows::<(i64, Option<String>, Option<String>)>(
            "SELECT \"offset\", label, CAST(_corrupt_record AS VARCHAR) FROM t WHERE \"offset\" >= 19 ORDER BY 1",
        )
        .await?;
    let label = prediction(19).label.expect("a label").to_string();
    assert_eq!(
        rows,
        [(19, Some(label), None), (20, None, Some("not protobuf".to_owned())), (21, None, None)]
    );
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_and_mongodb_are_joined() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("joined").await? else { return Ok(()) };
    fixture.publish(&fixture.config.topics.predictions, 3, &predictions(600)).await?;
    let documents = (0..600).map(|index| samples::document(&prediction(index)));
    fixture.database().await?.collection("predictions").insert_many(documents).await?;
    let sql = "SELECT count(*) FROM predictions m JOIN predictions_topic k \
               ON m.producer_id = k.producer_id AND m.sequence = k.sequence \
               WHERE m.label = k.label AND m.predicted = k.predicted AND m.confidence = k.confidence \
               AND m.produced_at = k.produced_at AND m.inferred_at = k.inferred_at AND m.model = k.model \
               AND m.correct = (k.label = k.predicted)";
    assert_eq!(fixture.count(sql).await?, 600);
    let sql = "SELECT count(*) FROM (SELECT producer_id, label FROM predictions EXCEPT \
               SELECT producer_id, label FROM predictions_topic)";
    assert_eq!(fixture.count(sql).await?, 0);
    fixture.session.shutdown().await;
    Ok(())
}
