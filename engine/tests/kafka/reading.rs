//! The offsets between which a table is read, filter pushdown, and how a topic is split into scan partitions.

use firesteel_testkit::unique;

use crate::{Fixture, images, millis, predictions};

/// Returns the scans of a physical plan, one per line, with the name of the topic replaced.
fn scans(plan: &str, topic: &str) -> String {
    let physical = plan.split("distributed_plan").next().unwrap_or_default();
    let lines = physical.lines().map(str::trim).filter(|line| line.starts_with("KafkaScanExec"));
    lines.map(|line| line.replace(topic, "topic")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_reads_from_one_offset_to_another() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("offsets").await? else { return Ok(()) };
    let topic = fixture.topic(&unique("offsets"));
    // Published to one partition after the other, so that offsets are known.
    fixture.publish_to(&topic, 2, |index| i32::from(index >= 60), 100).await?;

    for (options, expected) in [
        (String::new(), [60, 40]),
        ("'startingOffsets' 'earliest', 'endingOffsets' 'latest'".to_owned(), [60, 40]),
        ("'startingOffsets' 'latest'".to_owned(), [0, 0]),
        (format!("'startingOffsets' '{{\"{topic}\":{{\"0\":50,\"1\":-2}}}}'"), [10, 40]),
        (format!("'startingOffsets' '{{\"{topic}\":{{\"0\":-1,\"1\":39}}}}'"), [0, 1]),
        (format!("'endingOffsets' '{{\"{topic}\":{{\"0\":7,\"1\":-1}}}}'"), [7, 40]),
        (
            format!(
                "'startingOffsets' '{{\"{topic}\":{{\"0\":5,\"1\":5}}}}', \
                 'endingOffsets' '{{\"{topic}\":{{\"0\":7,\"1\":5}}}}'"
            ),
            [2, 0],
        ),
        // Message n has the time of `millis(n)`.
        (format!("'startingTimestamp' '{}'", millis(70)), [0, 30]),
        (format!("'startingTimestamp' '{}'", millis(10) - 1), [50, 40]),
        (format!("'endingTimestamp' '{}'", millis(65)), [60, 5]),
        (format!("'startingTimestamp' '{}', 'endingTimestamp' '{}'", millis(20), millis(30)), [10, 0]),
        (format!("'startingTimestamp' '{}'", millis(1_000)), [0, 0]),
    ] {
        fixture.create("t", &topic, &format!("'value.format' 'predictions', {options}")).await?;
        let counts = fixture
            .rows::<(i64, i64)>("SELECT partition, count(*) FROM t GROUP BY partition ORDER BY partition")
            .await?;
        let expected: Vec<(i64, i64)> = (0..).zip(expected).filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, expected, "{options}");
        fixture.run("DROP TABLE t").await?;
    }

    // Offsets of a partition that does not exist, and of too few partitions.
    fixture.create("t", &topic, &format!("'startingOffsets' '{{\"{topic}\":{{\"0\":5}}}}'")).await?;
    let error = fixture.failure("SELECT count(*) FROM t").await?;
    assert!(error.contains("startingOffsets") && error.contains("also has partitions 1"), "{error}");
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_on_offset_and_time_narrow_the_scan() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("pushdown").await? else { return Ok(()) };
    let topic = fixture.topic(&unique("pushdown"));
    fixture.publish_to(&topic, 2, |index| i32::from(index >= 60), 100).await?;
    fixture.create("t", &topic, "'value.format' 'predictions'").await?;
    let explain = async |sql: &str| {
        let plan = fixture.session.sql(sql).await?.explain().await?;
        anyhow::Ok((scans(&plan, &topic), plan))
    };

    let (scan, _) = explain("SELECT label FROM t").await?;
    insta::assert_snapshot!(scan, @"KafkaScanExec: topic=topic, partitions=2, projection=[label], ranges=[0:0..60, 1:0..40], isolation=read_committed");
    let (scan, plan) =
        explain("SELECT count(*) FROM t WHERE partition = 1 AND \"offset\" >= 10 AND \"offset\" < 30")
            .await?;
    insta::assert_snapshot!(scan, @"KafkaScanExec: topic=topic, partitions=1, projection=[], ranges=[1:10..30], isolation=read_committed");
    assert!(!plan.contains("FilterExec"), "an exact filter is not evaluated twice: {plan}");
    let (scan, plan) =
        explain(&format!("SELECT label FROM t WHERE timestamp >= to_timestamp_millis({})", millis(70)))
            .await?;
    insta::assert_snapshot!(scan, @"KafkaScanExec: topic=topic, partitions=1, projection=[label, timestamp], ranges=[1:10..40], isolation=read_committed");
    assert!(plan.contains("FilterExec: timestamp"), "a time is checked again: {plan}");
    let (scan, _) = explain("SELECT label FROM t LIMIT 3").await?;
    insta::assert_snapshot!(scan, @"KafkaScanExec: topic=topic, partitions=2, projection=[label], ranges=[0:0..60, 1:0..40], limit=3, isolation=read_committed");
    let (scan, _) = explain("SELECT label FROM t WHERE partition = 7").await?;
    insta::assert_snapshot!(scan, @"KafkaScanExec: topic=topic, partitions=1, projection=[label], ranges=[], isolation=read_committed");

    for (filter, expected) in [
        ("partition = 1".to_owned(), 40),
        ("partition IN (0, 5)".to_owned(), 60),
        ("partition <> 1".to_owned(), 60),
        ("\"offset\" = 17".to_owned(), 2),
        ("\"offset\" BETWEEN 38 AND 41".to_owned(), 6),
        ("\"offset\" IN (1, 50)".to_owned(), 3),
        ("partition = 0 OR \"offset\" = 3".to_owned(), 61),
        (format!("timestamp >= to_timestamp_millis({})", millis(70)), 30),
        (format!("timestamp > to_timestamp_millis({})", millis(70)), 29),
        (format!("timestamp < to_timestamp_millis({})", millis(70)), 70),
        (format!("timestamp = to_timestamp_millis({})", millis(70)), 1),
        ("label = 'cat'".to_owned(), 10),
        ("partition = 7".to_owned(), 0),
    ] {
        assert_eq!(
            fixture.count(&format!("SELECT count(*) FROM t WHERE {filter}")).await?,
            expected,
            "{filter}"
        );
    }
    fixture.session.shutdown().await;
    Ok(())
}

/// The timestamps of producers are unordered: a lower bound must not skip a message that is older than an earlier one.
#[tokio::test(flavor = "multi_thread")]
async fn unordered_timestamps_lose_no_message() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("disorder").await? else { return Ok(()) };
    let topic = fixture.topic(&unique("disorder"));
    let time = |index: usize| millis((index * 37) % 500);
    fixture.publish_at(&topic, 1, |_| 0, 500, time).await?;
    fixture.create("t", &topic, "'value.format' 'predictions'").await?;
    for wanted in [0, 1, 250, 499] {
        let at_least = (0..500).filter(|index| time(*index) >= millis(wanted)).count() as i64;
        let sql =
            format!("SELECT count(*) FROM t WHERE timestamp >= to_timestamp_millis({})", millis(wanted));
        assert_eq!(fixture.count(&sql).await?, at_least, "{sql}");
    }
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_partition_is_split() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("parts").await? else { return Ok(()) };
    let topic = fixture.config.topics.predictions.clone();
    fixture.publish(&topic, 1, &predictions(1_000)).await?;
    fixture.create("t", &topic, "'value.format' 'predictions', 'maxRecordsPerPartition' '70'").await?;
    let plan = fixture.session.sql("SELECT label FROM t").await?.explain().await?;
    assert!(plan.contains("KafkaScanExec") && plan.contains("partitions=15"), "{plan}");
    let rows = fixture.rows::<(i64, i64)>("SELECT count(*), count(DISTINCT \"offset\") FROM t").await?;
    assert_eq!(rows, [(1_000, 1_000)]);
    // All slots of the engine are used, whatever the minimal size of a scan partition is.
    fixture.create("u", &topic, "'value.format' 'predictions', 'minRecordsPerPartition' '1'").await?;
    let plan = fixture.session.sql("SELECT label FROM u").await?.explain().await?;
    assert!(plan.contains("partitions=4"), "{plan}");
    assert_eq!(fixture.count("SELECT count(*) FROM u").await?, 1_000);
    fixture.session.shutdown().await;
    Ok(())
}

/// All scans of a query end at the same offsets, although a producer never stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_agrees_with_itself_under_concurrent_writes() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("agrees").await? else { return Ok(()) };
    let topic = fixture.config.topics.images.clone();
    fixture.publish(&topic, 3, &images(500)).await?;
    let writer = fixture.keep_writing(&topic);
    let sql = "SELECT count(*) FROM images UNION ALL SELECT count(label) FROM images \
               UNION ALL SELECT count(*) FROM images a JOIN images b \
               ON a.partition = b.partition AND a.\"offset\" = b.\"offset\"";
    let mut last = 0;
    for round in 0..10 {
        let counts = fixture.rows::<(i64,)>(sql).await?;
        assert_eq!(counts.len(), 3, "round {round}: {counts:?}");
        assert!(counts.iter().all(|count| count == &counts[0]), "round {round}: {counts:?}");
        assert!(counts[0].0 >= last, "round {round}: {counts:?} after {last}");
        last = counts[0].0;
    }
    let written = writer.stop().await?;
    assert!(last > 500, "the writer wrote while the queries ran");
    assert_eq!(fixture.count("SELECT count(*) FROM images").await?, 500 + written);
    fixture.session.shutdown().await;
    Ok(())
}
