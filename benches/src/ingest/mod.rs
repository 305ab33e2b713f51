//! What an image costs on its way from a producer to MongoDB, in processor time of each process.
//!
//! Every role is a process of its own, as in a deployment; Kafka and MongoDB are those of the settings, and count where they
//! run on this machine. A round is over when every image is a document. The model is told from the rest of its server by the names
//! of its threads, so that what is left is what batching, decoding and delivery cost, whatever the model.

mod processes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bson::Document;
use clap::Args;
use firesteel_testkit::{Role, SOON, TempDatabase, TempTopics, binary, http, ports, unique, wait_until};
use serde_json::json;

use self::processes::{Spent, listener, of_ended_children};
use crate::seeded::ServerArgs;
use crate::statistics::Figures;
use crate::target::{self, Target};

/// The kinds of threads that are the model's.
const MODEL_THREADS: [&str; 2] = ["model", "kernel"];
/// Core-milliseconds an image that everything beside the model may take.
const GOAL: f64 = 0.35;
/// How long the documents may stand still before a round is given up.
const STALLED_AFTER: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Images of each producer
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    images: u32,
    /// Producers
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    producers: u16,
    /// Images a second of each producer; 0 is as fast as Kafka takes them
    #[arg(long, value_name = "R", default_value_t = 0.0)]
    rate: f64,
    /// The numbers that the model computes in
    #[arg(long, value_name = "PRECISION", default_value = "int8")]
    precision: String,
    /// Rounds that count, after one that warms up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Also writes everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Kafka's address
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "FIRESTEEL_KAFKA_BOOTSTRAP",
        default_value = "localhost:9092"
    )]
    kafka_bootstrap: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// What a round has measured.
struct Round {
    images_per_second: f64,
    /// Core-milliseconds an image, by who used them up.
    costs: BTreeMap<&'static str, f64>,
}

pub(crate) async fn run(args: &IngestArgs) -> anyhow::Result<()> {
    let firesteel = args.server.binary()?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let images = u64::from(args.images) * u64::from(args.producers);
    println!("{processors} processors, {images} images a round, {} rounds after a warm-up", args.rounds);
    let mut rounds = Vec::new();
    for round in 0..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        let measured = Box::pin(one(args, &firesteel, images)).await?;
        // Round 0 is the warm-up, of the servers as well.
        if round > 0 {
            rounds.push(measured);
        }
    }
    let rates = Figures::of(rounds.iter().map(|round| round.images_per_second).collect());
    println!("\n{:.0} images/s (median; {:.0} to {:.0})", rates.median, rates.min, rates.max);
    println!("\ncore-milliseconds an image{:>16}{:>10}{:>10}", "median", "least", "most");
    let mut costs = BTreeMap::new();
    for who in rounds.first().into_iter().flat_map(|round| round.costs.keys().copied()) {
        let figures = Figures::of(rounds.iter().filter_map(|round| round.costs.get(who).copied()).collect());
        println!("{who:<32}{:>10.3}{:>10.3}{:>10.3}", figures.median, figures.min, figures.max);
        costs.insert(who, figures);
    }
    let beside = Figures::of(rounds.iter().map(beside_the_model).collect());
    println!("{:<32}{:>10.3}{:>10.3}{:>10.3}", "all beside the model", beside.median, beside.min, beside.max);
    let goal = "processor time of an image beside the model".to_owned();
    let goals = [Target::at_most(goal, GOAL, beside.median).unit("ms")];
    print!("{}", target::text(&goals)?);
    if let Some(path) = &args.json {
        let all = json!({
            "processors": processors, "images": images, "precision": args.precision, "images_per_second": rates,
            "core_ms_per_image": costs, "beside_the_model": beside,
            "goals": goals.iter().map(Target::json).collect::<Vec<_>>(),
        });
        std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

const MODEL: &str = "the model";

fn beside_the_model(round: &Round) -> f64 {
    round.costs.iter().filter(|(who, _)| **who != MODEL).map(|(_, cost)| cost).sum()
}

/// Sends the images through roles that are started for it.
async fn one(args: &IngestArgs, firesteel: &Path, images: u64) -> anyhow::Result<Round> {
    let [sent, predicted] = ["images", "predictions"].map(unique);
    let letters = [&sent, &predicted].map(|topic| format!("{topic}.dead-letter"));
    let topics =
        TempTopics::new(&args.kafka_bootstrap, [&sent, &predicted].into_iter().chain(&letters).cloned());
    let database = TempDatabase::new(&args.server.mongodb_uri, "ingest");
    let kafka = [
        "--kafka-bootstrap",
        &args.kafka_bootstrap,
        "--images-topic",
        &sent,
        "--predictions-topic",
        &predicted,
        "--log-format",
        "json",
    ];
    let start = |arguments: &[&str]| Role::start(binary(firesteel, arguments));

    let listen = ["--listen", "127.0.0.1:0", "--log-format", "json", "--precision", &args.precision];
    let mut server = start(&[&["inference-server"][..], &listen].concat());
    let ready = server.wait_for_fields("inference server is ready");
    let address = ready["address"].as_str().context("the inference server tells no address")?;
    let url = format!("http://{address}");
    let health = ["--health-listen", "127.0.0.1:0"];
    let roles = [
        ("image consumer", vec!["consume-images", "--inference-url", &url]),
        (
            "prediction consumer",
            vec![
                "consume-predictions",
                "--mongodb-uri",
                &args.server.mongodb_uri,
                "--mongodb-database",
                &database.name,
            ],
        ),
    ];
    let group = unique("group");
    let mut consumers = Vec::new();
    for (who, arguments) in roles {
        let rest = [&kafka[..], &health, &["--group", &group]].concat();
        let mut role = start(&[&arguments[..], &rest].concat());
        role.wait_for("consuming");
        has_partitions(who, &role).await;
        consumers.push((who, role));
    }

    let mut watched: Vec<(&'static str, u32)> =
        consumers.iter().map(|(who, role)| (*who, role.id())).collect();
    watched.push(("inference server", server.id()));
    for (who, port) in
        [("Kafka", port(&args.kafka_bootstrap)), ("MongoDB", mongodb_port(&args.server.mongodb_uri).await)]
    {
        match port.and_then(listener) {
            Some(pid) => watched.push((who, pid)),
            None => {
                eprintln!("{who} is not a process of this machine that can be seen, so it is not counted")
            }
        }
    }
    let spent = || watched.iter().map(|(_, pid)| Spent::of(*pid)).collect::<anyhow::Result<Vec<_>>>();
    let (before, children) = (spent()?, of_ended_children());
    let begun = Instant::now();
    let (each, producers, rate) =
        (args.images.to_string(), args.producers.to_string(), args.rate.to_string());
    let load = ["produce", "--images", &each, "--producers", &producers, "--rate", &rate];
    let mut producer = start(&[&load[..], &kafka].concat());
    arrived(&database, images).await?;
    let took = begun.elapsed();
    let after = spent()?;
    ensure!(producer.wait(SOON).success(), "the producers failed: {}", producer.said());
    let produced = of_ended_children() - children;

    let per_image = |seconds: f64| seconds * 1e3 / images as f64;
    let mut costs = BTreeMap::from([("producers", per_image(produced))]);
    for ((who, _), (after, before)) in watched.iter().zip(after.iter().zip(&before)) {
        let spent = after.since(before);
        let model = if *who == "inference server" { spent.of_threads(&MODEL_THREADS) } else { 0.0 };
        if model > 0.0 {
            costs.insert(MODEL, per_image(model));
        }
        costs.insert(who, per_image((spent.total - model).max(0.0)));
    }
    // Before what they work with is removed.
    drop((consumers, server, topics));
    Ok(Round { images_per_second: images as f64 / took.as_secs_f64(), costs })
}

/// Waits until a consumer has its place in the group.
async fn has_partitions(who: &str, role: &Role) {
    let is_ready = async |address: SocketAddr| {
        http(address, "GET", "/readyz").await.is_ok_and(|answer| answer.status == 200)
    };
    wait_until(&format!("the {who} is ready"), SOON, async || match ports::listening(role.id()).first() {
        Some(address) => is_ready(*address).await,
        None => false,
    })
    .await;
}

/// Waits until every image is a document.
async fn arrived(database: &TempDatabase, images: u64) -> anyhow::Result<()> {
    let documents = database.open().await?.collection::<Document>("predictions");
    let (mut known, mut moved) = (0, Instant::now());
    loop {
        let now = documents.estimated_document_count().await?;
        if now >= images {
            return Ok(());
        }
        if now != known {
            (known, moved) = (now, Instant::now());
        }
        if moved.elapsed() > STALLED_AFTER {
            bail!("of {images} images {now} became documents, and for {STALLED_AFTER:?} none did");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn port(address: &str) -> Option<u16> {
    address.split(',').next()?.rsplit_once(':')?.1.parse().ok()
}

async fn mongodb_port(uri: &str) -> Option<u16> {
    let options = mongodb::options::ClientOptions::parse(uri).await.ok()?;
    match options.hosts.first()? {
        mongodb::options::ServerAddress::Tcp { port, .. } => Some(port.unwrap_or(27_017)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_not_beside_itself() {
        let costs = BTreeMap::from([(MODEL, 2.0), ("Kafka", 0.25), ("MongoDB", 0.125)]);
        assert!((beside_the_model(&Round { images_per_second: 1.0, costs }) - 0.375).abs() < 1e-9);
    }

    #[tokio::test]
    async fn ports_are_those_of_the_addresses() {
        assert_eq!(port("localhost:9092,other:1"), Some(9092));
        assert_eq!(port("localhost"), None);
        assert_eq!(mongodb_port("mongodb://127.0.0.1:27018/?directConnection=true").await, Some(27_018));
        assert_eq!(mongodb_port("mongodb://127.0.0.1").await, Some(27_017));
    }
}
