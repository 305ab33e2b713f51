//! A cause that is mended: the store refuses some images until all faults are over, and then their dead letters are replayed.
//!
//! A validator of the collection, which somebody has set by mistake, refuses one image in [`ONE_IN`]. When the dust has settled
//! it is taken away, and `firesteel dead-letters replay` sends what it refused back: once killed by SIGKILL in the middle, once
//! to the end, and once more for nothing.

use crate::meddle::{Sent, send_again};
use crate::world::{DELIVER_WITHIN, World};
use anyhow::{Context as _, ensure};
use bson::doc;
use firesteel_pipeline::kafka::Publisher;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// The class of the letters of what the store refuses.
pub(crate) const REFUSED: &str = "refused-by-store";
/// The header of a replayed record that names its letter.
pub(crate) const REPLAY_OF: &str = "replay.of";
/// The validator refuses one image in so many.
const ONE_IN: i32 = 61;
/// How long a replay may take.
const REPLAY_WITHIN: Duration = Duration::from_secs(120);

/// Makes the collection, with the validator.
pub(crate) async fn spoil(world: &World) -> anyhow::Result<()> {
    let client = world.servers.mongodb.wait_for_primary(Duration::from_secs(30)).await?;
    let create = doc! {
        "create": "predictions",
        "clusteredIndex": doc! { "key": doc! { "_id": 1 }, "unique": true },
        "validator": doc! { "sequence": doc! { "$not": doc! { "$mod": [ONE_IN, 1] } } },
    };
    let _ = client.database(&world.names().database).run_command(create).await?;
    Ok(())
}

/// Takes the validator away and replays what it refused. Returns whether the first replay was killed before its end.
pub(crate) async fn mend(world: &World) -> anyhow::Result<bool> {
    let client = world.servers.mongodb.wait_for_primary(Duration::from_secs(30)).await?;
    let change = doc! { "collMod": "predictions", "validator": doc! {} };
    let _ = client.database(&world.names().database).run_command(change).await?;

    let mut first = replay(world)?;
    let begun = Instant::now();
    let ended = loop {
        let ended = first.try_wait()?;
        if ended.is_some() || replayed(world) > 0 {
            break ended;
        }
        ensure!(begun.elapsed() < REPLAY_WITHIN, "a replay has sent nothing within {REPLAY_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    match ended {
        None => first.kill().await.context("ending the first replay")?,
        Some(status) => ensure!(status.success(), "the first replay: {status}"),
    }
    for _ in 0..2 {
        let ended = tokio::time::timeout(REPLAY_WITHIN, replay(world)?.wait_with_output()).await;
        let ended = ended.with_context(|| format!("a replay has not ended within {REPLAY_WITHIN:?}"))??;
        ensure!(ended.status.success(), "a replay: {}", String::from_utf8_lossy(&ended.stderr).trim());
    }

    // The end of a transaction takes an offset that no reader gets to see; a record behind it tells where the end is.
    let last: BTreeMap<i32, _> = {
        let records = world.tails.predictions.records();
        records.iter().map(|((partition, _), record)| (*partition, record.clone())).collect()
    };
    let publisher = Publisher::new(&world.servers.kafka.harness, "chaos", DELIVER_WITHIN)?;
    for record in last.values() {
        send_again(&publisher, &world.names().predictions, record, &Sent::default()).await;
    }
    Ok(ended.is_none())
}

/// How many records of replays can be read.
fn replayed(world: &World) -> usize {
    world.tails.predictions.records().values().filter(|record| record.header(REPLAY_OF).is_some()).count()
}

fn replay(world: &World) -> anyhow::Result<Child> {
    let arguments = ["dead-letters", "replay", "--topic", "predictions", "--class", REFUSED, "--batch", "5"];
    let mut command = Command::from(world.fleet.setup().command(&arguments)?);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().context("starting a replay")
}
