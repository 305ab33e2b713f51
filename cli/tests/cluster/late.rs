//! A task of `INSERT` that comes late: its executor was stopped, its work done elsewhere, and the next statement is done.

use crate::support::{World, in_time};
use firesteel_testkit::{Cluster, SOON, wait_until};
use mongodb::bson::{Document, doc};

const ROWS: u64 = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_wakes_up_late_overwrites_nothing() {
    let Some(world) = World::new("cluster-late", 4_000, 10).await else { return };
    let settings = world.settings().scheduler(&["--executor-timeout-seconds", "4"]);
    let cluster = Cluster::start(settings, 2).await;
    let session = world.session(&cluster).await;
    let target = world.database.open().await.expect("MongoDB").collection::<Document>("dst");
    for (table, options) in [("slow", "OPTIONS (writeBatchRows 1)"), ("quick", "")] {
        let create = format!(
            "CREATE EXTERNAL TABLE {table} (_id TEXT, v INT) STORED AS MONGODB LOCATION 'dst' {options}"
        );
        let _ = session.execute(&create).await.expect("a table");
    }
    let insert = |table: &str, value: u8| {
        let (session, sql) =
            (session.clone(), format!("INSERT INTO {table} SELECT _id, {value} FROM predictions"));
        async move { session.sql(&sql).await?.collect_as::<(i64,)>().await }
    };
    let first = tokio::spawn(insert("slow", 1));
    wait_until("rows are written", SOON, async || {
        target.count_documents(doc! {}).await.expect("a count") > 100
    })
    .await;
    cluster.signal(0, 19);
    let written =
        in_time("the first statement", first).await.expect("no panic").expect("it is done elsewhere");
    assert_eq!(written, [(i64::try_from(ROWS).expect("fits"),)]);
    let written = in_time("the second statement", insert("quick", 2)).await.expect("it is done");
    assert_eq!(written, [(i64::try_from(ROWS).expect("fits"),)]);
    assert_eq!(target.count_documents(doc! { "v": 2 }).await.expect("a count"), ROWS);

    // It wakes in the middle of its tasks, and joins again only after it has dropped them.
    cluster.signal(0, 18);
    cluster.wait_for_executors(2).await;
    assert_eq!(
        target.count_documents(doc! { "v": 2 }).await.expect("a count"),
        ROWS,
        "a late task has written"
    );
    assert_eq!(target.count_documents(doc! {}).await.expect("a count"), ROWS);
}
