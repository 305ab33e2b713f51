//! Watchers that run beside the faults: for ends that nobody caused, and for offsets that are ahead of durable work.

use crate::fault::Target;
use crate::fleet::PARTITIONS;
use crate::oracle::offsets::{images_ahead, predictions_ahead};
use crate::process::Process;
use crate::topic::committed;
use crate::world::World;
use anyhow::Context as _;
use bson::{Document, doc};
use futures::TryStreamExt as _;
use mongodb::options::{ReadConcern, SelectionCriteria};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at offsets where nothing was killed.
const SAMPLE: Duration = Duration::from_secs(5);
/// How long one look at offsets may take: longer, and it says nothing of its moment.
const SAMPLE_WITHIN: Duration = Duration::from_secs(8);
/// A process that failed is started again after this, as Kubernetes does it at first.
const RESTART: Duration = Duration::from_secs(1);

/// Starts again what ended by itself, and notes it; notes which producers have sent all.
pub(crate) async fn ends(world: &World, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        tokio::time::sleep(LOOK).await;
        let servers = world.servers.kafka.brokers.iter().chain(&world.servers.mongodb.members);
        let roles = world.fleet.all().map(AsRef::as_ref);
        for process in servers.chain(roles) {
            let Some(status) = process.unexpected_end() else { continue };
            let name = &process.spec.name;
            if status.success() && is_producer(world, process) {
                world.notes().finished.push(name.clone());
                continue;
            }
            let what = format!("{name} after {} ms: {status}; {}", world.now(), process.spec.log.display());
            world.found("a process ends only when it is told to", what);
            if is_producer(world, process) && !world.fleet.producers_resume {
                world.notes().finished.push(name.clone());
                continue;
            }
            tokio::time::sleep(RESTART).await;
            if let Err(error) = process.start() {
                world.found("a process starts again", format!("{error:#}"));
            }
        }
    }
}

fn is_producer(world: &World, process: &Process) -> bool {
    world.fleet.of(Target::Producer).iter().any(|producer| std::ptr::eq(producer.as_ref(), process))
}

/// Looks at the offsets now and then.
pub(crate) async fn offsets(world: &World, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SAMPLE) => sample(world, "on the way").await,
        }
    }
}

/// Holds the committed offsets of both groups against what is durable. A cluster that does not answer in time is not sampled.
pub(crate) async fn sample(world: &World, when: &str) {
    match tokio::time::timeout(SAMPLE_WITHIN, look(world)).await {
        Ok(Ok(ahead)) => {
            world.notes().offsets_sampled += 1;
            for place in ahead.into_iter().take(3) {
                world.found("committed offsets are never ahead of durable work", format!("{when}: {place}"));
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, when, "offsets cannot be sampled"),
        Err(_) => tracing::debug!(when, "offsets could not be sampled in time"),
    }
}

async fn look(world: &World) -> anyhow::Result<Vec<String>> {
    let (names, harness, tails) = (world.names(), &world.servers.kafka.harness, &world.tails);
    let of_images = committed(harness, &names.images_group, &names.images, PARTITIONS);
    let of_predictions = committed(harness, &names.predictions_group, &names.predictions, PARTITIONS);
    // First the offsets, then what has to be there for them.
    let (of_images, of_predictions) = tokio::try_join!(of_images, of_predictions)?;
    tails.catch_up(SAMPLE_WITHIN).await?;
    let ids = ids(world).await?;
    let mut ahead = images_ahead(
        &tails.images.records(),
        &of_images,
        &tails.predictions.records(),
        &tails.image_letters.records(),
    );
    ahead.extend(predictions_ahead(
        &tails.predictions.records(),
        &of_predictions,
        &ids,
        &tails.prediction_letters.records(),
    ));
    Ok(ahead)
}

/// The ids of all documents that a majority has.
async fn ids(world: &World) -> anyhow::Result<BTreeSet<String>> {
    let collection = world.collection(Duration::from_secs(5)).await?;
    let cursor = collection
        .find(doc! {})
        .projection(doc! { "_id": 1 })
        .read_concern(ReadConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary))
        .batch_size(10_000)
        .await?;
    let documents: Vec<Document> = cursor.try_collect().await?;
    documents.iter().map(|document| Ok(document.get_str("_id").context("an id")?.to_owned())).collect()
}
