//! Sessions of Arrow Flight SQL: what one client makes, no other sees.

use firesteel_testkit::Cluster;

use super::support::{ADA, Guarded, ROOT, connect, run, settings};

#[tokio::test(flavor = "multi_thread")]
async fn connections_share_no_session_though_nobody_is_authenticated() {
    let cluster = Cluster::start(settings(), 1).await;
    let (mut one, mut other) = (connect(cluster.address()).await, connect(cluster.address()).await);
    run(&mut one, "CREATE OR REPLACE VIEW predictions AS SELECT 'pwned' AS label").await.expect("a view");
    run(&mut one, "SET datafusion.execution.batch_size = 17").await.expect("a setting");
    let rows = run(&mut one, "SELECT label FROM predictions").await.expect("its own");
    assert!(rows.contains("pwned"), "{rows}");
    let shown =
        "SELECT value FROM information_schema.df_settings WHERE name = 'datafusion.execution.batch_size'";
    assert!(run(&mut one, shown).await.expect("rows").contains("| 17"));
    let tables =
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_name = 'predictions'";
    for attempt in ["before", "behind"] {
        let told = run(&mut other, tables).await.expect("rows");
        assert!(told.contains("BASE TABLE") && !told.contains("VIEW"), "{attempt}: {told}");
        assert!(!run(&mut other, shown).await.expect("rows").contains("| 17 "), "{attempt}");
        run(&mut one, "DROP VIEW predictions").await.ok();
    }
    // A handshake gives a session that lasts beyond its connection.
    let mut first = connect(cluster.address()).await;
    let token = first.handshake("anybody", "").await.expect("a session");
    run(&mut first, "CREATE VIEW kept AS SELECT 1 AS n").await.expect("a view");
    let mut second = connect(cluster.address()).await;
    second.set_token(String::from_utf8(token.to_vec()).expect("text"));
    assert!(run(&mut second, "SELECT n FROM kept").await.expect("rows").contains('1'));
    second.set_token("somebody-elses-token".to_owned());
    assert!(run(&mut second, "SELECT 1").await.expect_err("no such session").contains("handshake"));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_share_no_session() {
    let guarded = Guarded::start(1).await;
    let (mut ada, mut root) = (guarded.client(ADA).await, guarded.client(ROOT).await);
    run(&mut ada, "CREATE VIEW v AS SELECT 'of ada' AS label").await.expect("a view");
    assert!(run(&mut root, "SELECT label FROM v").await.expect_err("another session").contains('v'));
    let mut again = guarded.client(ADA).await;
    assert!(
        run(&mut again, "SELECT label FROM v").await.expect("the session of the user").contains("of ada")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_a_limited_number_of_statements() {
    let mut cluster = Cluster::prepare(settings());
    cluster.start_scheduler();
    let mut client = connect(cluster.address()).await;
    let mut kept = Vec::new();
    let refused = loop {
        match client.prepare("SELECT 1 AS n".to_owned(), None).await {
            Ok(prepared) => kept.push(prepared),
            Err(error) => break error.to_string(),
        }
        assert!(kept.len() <= 256, "there is no limit");
    };
    assert!(refused.contains("256") && kept.len() == 256, "{}: {refused}", kept.len());
    kept.pop().expect("one of them").close().await.expect("closed");
    client.prepare("SELECT 1 AS n".to_owned(), None).await.expect("there is room again");

    // Results that nobody fetches, of statements that the scheduler answers itself.
    let first = client.execute("SHOW TABLES".to_owned(), None).await.expect("a result");
    for _ in 0..32 {
        client.execute("SHOW TABLES".to_owned(), None).await.expect("a result");
    }
    let ticket = first.endpoint[0].ticket.clone().expect("a ticket");
    assert!(client.do_get(ticket).await.is_err(), "the oldest made room");
}

/// What would end the scheduler, by a stack without a bottom, or take what is everybody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_flight_sql_is_within_the_limits() {
    let cluster = Cluster::start(settings(), 1).await;
    let mut client = connect(cluster.address()).await;
    let deep = format!("SELECT {}1", "1 + ".repeat(5_000));
    let long = format!("SELECT '{}'", "x".repeat(2 << 20));
    for (sql, setting) in [
        (deep.as_str(), "limits.sql_depth"),
        (long.as_str(), "limits.sql_bytes"),
        ("SET datafusion.execution.target_partitions = 1000000000", "datafusion.execution.target_partitions"),
        ("SET datafusion.catalog.location = '/etc'", "datafusion.catalog.location"),
    ] {
        let name = sql.get(..40).unwrap_or(sql);
        let told = client.execute(sql.to_owned(), None).await.err().map(|error| error.to_string());
        assert!(told.as_ref().is_some_and(|told| told.contains(setting)), "{name}: {told:?}");
        let told = client.prepare(sql.to_owned(), None).await.err().map(|error| error.to_string());
        assert!(told.as_ref().is_some_and(|told| told.contains(setting)), "{name}: {told:?}");
        let told = client.execute_update(sql.to_owned(), None).await.err().map(|error| error.to_string());
        assert!(told.as_ref().is_some_and(|told| told.contains(setting)), "{name}: {told:?}");
    }
    let rows = run(&mut client, "SELECT 40 + 2 AS n").await.expect("the scheduler is there");
    assert!(rows.contains("42"), "{rows}");
}
