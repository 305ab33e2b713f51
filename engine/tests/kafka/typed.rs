//! The tables `images` and `predictions_topic`: a scan returns every message once, with the columns of its record.

use crate::{Fixture, id, image, images, millis, prediction, predictions};

#[tokio::test(flavor = "multi_thread")]
async fn images_come_back_as_they_were_produced() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("typed").await? else { return Ok(()) };
    let topic = &fixture.config.topics.images;
    fixture.publish(topic, 3, &images(1_000)).await?;

    let mut rows = fixture
        .rows::<(String, i64, i64, String, String, i64, String)>(
            "SELECT producer_id, sequence, CAST(produced_at AS BIGINT), label, encoding, CAST(character_length(encode(data, 'hex')) / 2 AS BIGINT), topic \
             FROM images",
        )
        .await?;
    rows.sort();
    let mut expected: Vec<_> = (0..1_000)
        .map(|index| {
            let image = image(index);
            let encoding = ["jpeg", "png", "rgb8", "webp"][index % 4].to_owned();
            let (producer, sequence) = (image.id.producer.to_string(), image.id.sequence.0 as i64);
            let (size, label) = (image.data.len() as i64, image.label.expect("a label").to_string());
            (producer, sequence, millis(index), label, encoding, size, topic.clone())
        })
        .collect();
    expected.sort();
    assert_eq!(rows, expected);

    // Every offset of every partition, once.
    let rows = fixture
        .rows::<(i64, i64, i64, i64, i64)>(
            "SELECT partition, count(*), count(DISTINCT offset), min(offset), max(offset) \
             FROM images GROUP BY partition ORDER BY partition",
        )
        .await?;
    assert_eq!(rows.iter().map(|row| row.1).sum::<i64>(), 1_000);
    for (partition, count, distinct, first, last) in &rows {
        assert_eq!((distinct, first, *last), (count, &0, count - 1), "partition {partition}");
    }

    // The bytes of an image are those that were sent.
    let rows = fixture
        .rows::<(String,)>(
            "SELECT encode(data, 'hex') FROM images WHERE producer_id = 'ab000002' AND sequence = 7",
        )
        .await?;
    let index = (0..1_000).find(|index| id(*index).to_string() == "ab000002:7").expect("there");
    let hex: String = image(index).data.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(rows, [(hex,)]);
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_plan_shape_sees_each_message_once() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("shapes").await? else { return Ok(()) };
    fixture.publish(&fixture.config.topics.predictions, 4, &predictions(2_000)).await?;
    let wrong = (0..2_000).filter(|index| index % 7 == 0).count() as i64;
    for (sql, expected) in [
        ("SELECT count(*) FROM predictions_topic", 2_000),
        ("SELECT count(label) FROM predictions_topic", 2_000),
        ("SELECT count(*) FROM predictions_topic WHERE label <> predicted", wrong),
        ("SELECT count(DISTINCT producer_id) FROM predictions_topic", 5),
        (
            "SELECT count(*) FROM (SELECT offset FROM predictions_topic UNION ALL SELECT offset FROM predictions_topic)",
            4_000,
        ),
        (
            "SELECT count(*) FROM predictions_topic a JOIN predictions_topic b \
             ON a.partition = b.partition AND a.offset = b.offset",
            2_000,
        ),
        (
            "SELECT count(*) FROM predictions_topic a JOIN predictions_topic b \
             ON a.producer_id = b.producer_id AND a.sequence = b.sequence",
            2_000,
        ),
        ("SELECT sum(sequence) FROM predictions_topic", (0..2_000).map(|index| index / 5).sum()),
    ] {
        assert_eq!(fixture.count(sql).await?, expected, "{sql}");
    }
    let rows = fixture
        .rows::<(f64, i64, i64)>(
            "SELECT confidence, CAST(produced_at AS BIGINT), CAST(inferred_at AS BIGINT) FROM predictions_topic \
             WHERE producer_id = 'ab000001' AND sequence = 3",
        )
        .await?;
    let expected = prediction(16);
    assert_eq!(rows, [(f64::from(expected.confidence), expected.produced_at.0, expected.inferred_at.0)]);
    let limited = fixture.rows::<(i64,)>("SELECT offset FROM predictions_topic LIMIT 17").await?;
    assert_eq!(limited.len(), 17);
    fixture.session.shutdown().await;
    Ok(())
}
