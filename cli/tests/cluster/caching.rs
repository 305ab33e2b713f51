//! Cached tables on a cluster: any executor serves any part, whichever wrote it, and whether it was there then.

use crate::support::{World, count_pairs, in_time};
use firesteel_engine::{Outcome, report};
use firesteel_testkit::Cluster;
use std::path::Path;

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_table_outlives_the_executors_that_wrote_it() {
    let Some(world) = World::new("cluster-cache", 20_000, 7).await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let settings = world.settings().with("FIRESTEEL_CACHE_DIR", &folder.path().display().to_string());
    let mut cluster = Cluster::start(settings, 2).await;
    let session = world.session(&cluster).await;
    let live = in_time("live", report::run(&session, None)).await.expect("a report");

    let told = in_time("caching", session.execute("CACHE TABLE predictions")).await.expect("it is cached");
    assert!(
        matches!(&told, Outcome::Done(words) if words.starts_with("CACHE TABLE: 20000 rows")),
        "{told:?}"
    );
    assert!(files(folder.path()) > 0);
    // Live, the count would be another one from here on.
    let client = mongodb::Client::with_uri_str(&world.services.mongodb_uri).await.expect("MongoDB");
    let predictions = client.database(&world.database.name).collection("predictions");
    predictions.insert_one(mongodb::bson::doc! { "_id": "new:1" }).await.expect("a document");

    let writers = cluster.executors();
    for step in ["both that wrote it", "one that wrote it", "one that did not"] {
        match step {
            "one that wrote it" => cluster.kill(writers[0]),
            "one that did not" => {
                let joined = cluster.add_executor();
                cluster.wait_for_executors(2).await;
                cluster.kill(writers[1]);
                assert!(!writers.contains(&joined));
            }
            _ => {}
        }
        let cached = in_time(step, report::run(&session, None)).await.expect("a report");
        assert_eq!((&cached.producers, &cached.classes), (&live.producers, &live.classes), "{step}");
        assert_eq!(in_time(step, count_pairs(&session)).await.expect("a count"), world.pairs(), "{step}");
    }

    let told =
        in_time("refreshing", session.execute("REFRESH TABLE predictions")).await.expect("it is refreshed");
    assert!(
        matches!(&told, Outcome::Done(words) if words.starts_with("REFRESH TABLE: 20001 rows")),
        "{told:?}"
    );
    in_time("the end", session.shutdown()).await;
    assert_eq!(files(folder.path()), 0, "a session that ends leaves no files");
}
