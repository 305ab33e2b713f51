//! The binary as it ships against a Kafka with TLS, SCRAM-SHA-512 and ACLs: each role does its part with rights of its
//! own, and whoever has a wrong password, no right or no TLS is refused with the setting's name.

use crate::support::{Role, World, ledger, output, stderr, stdout};
use firesteel_testkit::{Authorized, SOON, SecuredKafka, wait_until};
use mongodb::bson::doc;
use std::process::Command;
use std::time::{Duration, Instant};

const PROPERTIES: &str = "FIRESTEEL_KAFKA_PROPERTIES";

/// The binary as `user` of the secured Kafka, with its topics, and with a database of this test.
fn firesteel(world: &World, kafka: &SecuredKafka, user: &str, arguments: &[&str]) -> Command {
    let mut command = world.firesteel(arguments);
    command
        .env("FIRESTEEL_KAFKA_BOOTSTRAP", &kafka.bootstrap)
        .env(PROPERTIES, kafka.properties(user))
        .env("FIRESTEEL_IMAGES_TOPIC", "images")
        .env("FIRESTEEL_PREDICTIONS_TOPIC", "predictions")
        .env("FIRESTEEL_IMAGES_GROUP", "firesteel-images")
        .env("FIRESTEEL_PREDICTIONS_GROUP", "firesteel-predictions");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_through_over_tls_with_users_that_may_do_their_part_alone() {
    let Some(kafka) = SecuredKafka::start() else { return };
    let Some(world) = World::new("secured") else { return };
    let mut server = world.firesteel(&["inference-server", "--listen", "127.0.0.1:0"]);
    server.env("FIRESTEEL_LOG_FORMAT", "json");
    let mut server = Role::start(server);
    let fields = server.wait_for_fields("inference server is ready");
    let url = format!("http://{}", fields["address"].as_str().expect("an address"));

    let mut images = firesteel(&world, &kafka, "consume-images", &["consume-images"]);
    images.env("FIRESTEEL_INFERENCE_URL", url);
    let mut images = Role::start(images);
    let mut predictions =
        Role::start(firesteel(&world, &kafka, "consume-predictions", &["consume-predictions"]));
    images.wait_for("consuming");
    predictions.wait_for("consuming");
    let arguments = ["produce", "--producers", "2", "--images", "20", "--ledger", "ledger"];
    let produced = output(firesteel(&world, &kafka, "producer", &arguments));
    assert!(produced.status.success(), "{}", stderr(&produced));
    let ids = ledger(&world.folder.path().join("ledger"));
    assert_eq!(ids.len(), 40);
    wait_until("all is stored", SOON, async || {
        let mine = doc! { "_id": { "$in": ids.clone() } };
        world.collection().await.count_documents(mine).await.expect("a count") == 40
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producers_user_may_write_images_and_nothing_else() {
    let Some(kafka) = SecuredKafka::start() else { return };
    let Some(world) = World::new("secured-rights") else { return };
    assert_eq!(kafka.write("producer", "images").await, Authorized::Done);
    for topic in ["images", "predictions"] {
        // What it may not even describe, it is not told of.
        assert_eq!(kafka.delete("producer", topic).await, Authorized::Denied, "{topic}");
    }
    assert_eq!(kafka.write("producer", "predictions").await, Authorized::Denied);
    // The same by the binary: predictions that nobody predicted.
    let mut forged = firesteel(&world, &kafka, "producer", &["produce", "--producers", "1", "--images", "1"]);
    forged.env("FIRESTEEL_IMAGES_TOPIC", "predictions");
    let forged = output(forged);
    assert_eq!(forged.status.code(), Some(1), "{}", stderr(&forged));
    assert!(stderr(&forged).contains("predictions"), "{}", stderr(&forged));
}

#[test]
fn sql_reads_a_topic_over_tls_and_a_wrong_password_names_the_setting() {
    let Some(kafka) = SecuredKafka::start() else { return };
    let Some(world) = World::new("secured-sql") else { return };
    let table = "CREATE EXTERNAL TABLE t STORED AS KAFKA LOCATION 'predictions'";
    let arguments = ["sql", "--format", "csv", "-c", table, "-c", "SELECT count(*) >= 0 AS ok FROM t"];
    let read = output(firesteel(&world, &kafka, "sql", &arguments));
    assert!(read.status.success(), "{}", stderr(&read));
    assert_eq!(stdout(&read), "ok\ntrue\n");

    let mut command = firesteel(&world, &kafka, "sql", &arguments);
    command.env(PROPERTIES, with_a_wrong_password(&kafka, "sql"));
    let refused = output(command);
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for word in [PROPERTIES, &kafka.bootstrap, "Authentication failed"] {
        assert!(said.contains(word), "no {word} in: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

fn with_a_wrong_password(kafka: &SecuredKafka, user: &str) -> String {
    let properties = kafka.properties(user);
    let wrong = |line: &str| {
        if line.starts_with("sasl.password=") { "sasl.password=hunter2" } else { line }.to_owned()
    };
    properties.lines().map(|line| wrong(line) + "\n").collect()
}

#[test]
fn a_wrong_password_ends_every_role_and_names_the_setting() {
    let Some(kafka) = SecuredKafka::start() else { return };
    let Some(world) = World::new("secured-password") else { return };
    let properties = with_a_wrong_password(&kafka, "producer");
    for role in [&["produce", "--images", "1"][..], &["consume-images"], &["consume-predictions"]] {
        let mut command = firesteel(&world, &kafka, "producer", role);
        command.env(PROPERTIES, &properties).env("FIRESTEEL_INFERENCE_URL", "http://127.0.0.1:9");
        let started = Instant::now();
        let mut role = Role::start(command);
        let status = role.wait(Duration::from_secs(30));
        let said = role.said();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(started.elapsed() < Duration::from_secs(25), "{:?}: {said}", started.elapsed());
        for word in [PROPERTIES, &kafka.bootstrap, "Authentication failed"] {
            assert!(said.contains(word), "no {word} in: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_named_and_nothing_is_sent() {
    let Some(kafka) = SecuredKafka::start() else { return };
    let Some(world) = World::new("secured-tls") else { return };
    let without_ca: String = kafka
        .properties("producer")
        .lines()
        .filter(|line| !line.starts_with("ssl.ca.location"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut command = firesteel(&world, &kafka, "producer", &["produce", "--images", "1"]);
    command.env(PROPERTIES, without_ca);
    let refused = output(command);
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for word in [PROPERTIES, "certificate", "ssl.ca.location"] {
        assert!(said.contains(word), "no {word} in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_replayed_by_a_user_of_their_own_and_by_no_other() {
    let Some(kafka) = SecuredKafka::start() else { return };
    let Some(world) = World::new("secured-letters") else { return };
    assert_eq!(kafka.write("consume-images", "images.dead-letter").await, Authorized::Done);
    // It is no letter of the images, so it says itself where it goes.
    let arguments = ["dead-letters", "replay", "--topic", "images", "--all", "--to", "predictions"];
    let replayed = output(firesteel(&world, &kafka, "dead-letters", &arguments));
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    assert!(!stdout(&replayed).starts_with("0 letters"), "{}", stdout(&replayed));
    let again = output(firesteel(&world, &kafka, "dead-letters", &arguments));
    assert!(stdout(&again).starts_with("0 letters"), "{}", stdout(&again));

    // The user of SQL may read letters, and take no part in a transaction.
    let refused = output(firesteel(&world, &kafka, "sql", &arguments));
    assert_eq!(refused.status.code(), Some(1), "{}", stdout(&refused));
    for topic in ["images", "predictions"] {
        assert_eq!(kafka.delete("dead-letters", topic).await, Authorized::Denied, "{topic}");
    }
}
