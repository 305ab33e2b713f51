//! Errors name their cause and come within ten seconds: a missing topic, an unreachable broker, an invalid option.

use std::time::{Duration, Instant};

use firesteel_engine::{Config, ConfigField, Error, Session};
use firesteel_testkit::unique;

use crate::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_and_not_created() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("unknown").await? else { return Ok(()) };
    let topic = fixture.config.topics.images.clone();
    for sql in ["SELECT count(*) FROM images", "SELECT label FROM images WHERE partition = 0"] {
        let error = fixture.failure(sql).await?;
        assert!(error.contains(&topic) && error.contains(ConfigField::KafkaBootstrap.name()), "{error}");
    }
    assert!(!fixture.topic_names().await?.contains(&topic), "reading made the topic");
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_answer_is_an_error_within_ten_seconds() -> anyhow::Result<()> {
    let mut config = Config::default();
    config.kafka.bootstrap = "127.0.0.1:1".to_owned();
    config.kafka.properties.insert("client.rack", "hunter2");
    let session = Session::embedded(config).await?;
    let started = Instant::now();
    for error in [
        session.table("images").await.unwrap_err(),
        session.sql("SELECT count(*) FROM predictions_topic").await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::Unreachable { address, setting, .. }
                if address == "127.0.0.1:1" && *setting == ConfigField::KafkaBootstrap),
            "{error:?}"
        );
        let told = format!("{error} {error:?}");
        assert!(told.contains("127.0.0.1:1") && told.contains("refused"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    assert!(started.elapsed() < Duration::from_secs(20), "two errors in {:?}", started.elapsed());
    // Queries that do not need Kafka work without it.
    assert_eq!(session.sql("SELECT 1 + 1").await?.collect_as::<(i64,)>().await?, [(2,)]);
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_table_is_refused_with_a_reason() -> anyhow::Result<()> {
    let session = Session::embedded(Config::default()).await?;
    let topic = unique("options");
    for (statement, words) in [
        (
            format!("LOCATION '{topic}' OPTIONS ('startingOfsets' 'earliest')"),
            "did you mean `startingOffsets`",
        ),
        ("LOCATION 'broker:9092' OPTIONS ('value.format' 'raw')".to_owned(), "name of a topic"),
        (format!("LOCATION '{topic}' OPTIONS ('kafka.sasl.password' 'hunter2')"), "only names a connection"),
        (format!("LOCATION '{topic}' OPTIONS ('mode' 'sometimes')"), "FAILFAST"),
    ] {
        let sql = format!("CREATE EXTERNAL TABLE t STORED AS KAFKA {statement}");
        let error = session.execute(&sql).await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(words) && !error.contains("hunter2"), "{sql}: {error}");
    }
    let declared = format!("CREATE EXTERNAL TABLE t (a INT) STORED AS KAFKA LOCATION '{topic}'");
    let error = session.execute(&declared).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("columns"), "{error}");
    session.shutdown().await;
    Ok(())
}
