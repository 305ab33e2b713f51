//! The table `dead_letters`: the letters of both topics, with their headers as columns.

use firesteel_testkit::samples;
use rdkafka::message::{Header, OwnedHeaders};

use crate::Fixture;

/// The headers of a letter behind those of its record.
fn headers(own: &[(&str, &str)], topic: &str, class: &str, more: &[(&str, &str)]) -> OwnedHeaders {
    let letter = [
        ("source.topic", topic),
        ("source.partition", "3"),
        ("source.offset", "17"),
        ("error.class", class),
        ("error.message", "why"),
    ];
    own.iter().chain(&letter).chain(more).fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(*value) })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_both_topics_are_one_table_and_no_letters_are_none() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("letters").await? else { return Ok(()) };
    assert_eq!(fixture.count("SELECT count(*) FROM dead_letters").await?, 0);
    assert_eq!(fixture.rows::<(String,)>("SELECT class FROM dead_letters").await?, []);

    let [images, predictions] = [&fixture.config.topics.images, &fixture.config.topics.predictions];
    let [of_images, of_predictions] = [images, predictions].map(|topic| format!("{topic}.dead-letter"));
    fixture.make_topic(&of_images, 2, &[]).await?;
    assert_eq!(fixture.count("SELECT count(*) FROM dead_letters").await?, 0, "one topic, and it is empty");
    let key = samples::image_id(0, 1).producer.to_string();
    let replayed =
        headers(&[("trace", "x"), ("replay.attempts", "2")], images, "size", &[("error.attempts", "20")]);
    fixture.send_with(&of_images, 1, Some(&key), Some("value"), Some(replayed)).await?;
    assert_eq!(fixture.count("SELECT count(*) FROM dead_letters").await?, 1, "of one topic");
    fixture.make_topic(&of_predictions, 1, &[]).await?;
    let cut = headers(&[], predictions, "size", &[("source.size", "70000")]);
    fixture.send_with(&of_predictions, 0, None, Some("val"), Some(cut)).await?;
    let gap = headers(&[], predictions, "data-loss", &[("source.end", "40")]);
    fixture.send_with(&of_predictions, 0, None, None, Some(gap)).await?;
    fixture.send_with(&of_predictions, 0, Some("not a producer"), Some("no letter"), None).await?;

    assert_eq!(fixture.count("SELECT count(*) FROM dead_letters").await?, 4);
    let classes = fixture
        .rows::<(Option<String>, i64)>(
            "SELECT class, count(*) FROM dead_letters GROUP BY 1 ORDER BY 1 NULLS LAST",
        )
        .await?;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(classes, [(text("data-loss"), 1), (text("size"), 2), (None, 1)]);

    type Letter =
        (String, i64, i64, Option<String>, Option<i64>, Option<i64>, Option<String>, Option<String>);
    let sql = "SELECT topic, partition, \"offset\", source_topic, source_partition, source_offset, message, producer_id \
               FROM dead_letters ORDER BY topic = ? DESC, \"offset\"";
    let sql = sql.replace('?', &format!("'{of_images}'"));
    let source = |topic: &str| (text(topic), Some(3), Some(17), text("why"));
    let (image, prediction) = (source(images), source(predictions));
    let expected: [Letter; 4] = [
        (of_images.clone(), 1, 0, image.0, image.1, image.2, image.3, Some(key)),
        (of_predictions.clone(), 0, 0, prediction.0.clone(), Some(3), Some(17), text("why"), None),
        (of_predictions.clone(), 0, 1, prediction.0, Some(3), Some(17), text("why"), None),
        (of_predictions.clone(), 0, 2, None, None, None, None, None),
    ];
    assert_eq!(fixture.rows::<Letter>(&sql).await?, expected);

    let counts = fixture
        .rows::<(Option<i64>, Option<i64>, Option<i64>, i64, Option<String>)>(
            "SELECT attempts, replays, size, cardinality(headers), CAST(value AS VARCHAR) FROM dead_letters \
             ORDER BY size NULLS FIRST",
        )
        .await?;
    let expected = [
        (None, Some(0), None, 6, None),
        (Some(20), Some(2), Some(5), 8, text("value")),
        (None, Some(0), Some(9), 0, text("no letter")),
        (None, None, Some(70_000), 6, text("val")),
    ];
    assert_eq!(counts, expected);
    // Where letters are is a condition on what is read of each topic.
    assert_eq!(fixture.count("SELECT count(*) FROM dead_letters WHERE partition = 1").await?, 1);
    assert_eq!(fixture.count("SELECT count(*) FROM dead_letters WHERE \"offset\" >= 1").await?, 2);
    assert_eq!(fixture.rows::<(i64,)>("SELECT \"offset\" FROM dead_letters LIMIT 3").await?.len(), 3);
    fixture.session.shutdown().await;
    Ok(())
}
