//! The components of one run of the demo: started, watched until every image has arrived, and ended.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use firesteel_pipeline::consumer::{self, images, predictions};
use firesteel_pipeline::dataset::Dataset;
use firesteel_pipeline::inference::{self, Server};
use firesteel_pipeline::kafka::{self, KafkaConfig, TopicSpec};
use firesteel_pipeline::producer::{self, Summary};
use firesteel_pipeline::sink::MongoSink;
use firesteel_proto::ProducerId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::DemoArgs;
use crate::context::Context;
use crate::progress::{Progress, TICK};

const ROLE: &str = "demo";
/// How long the counters stand still before missing images are looked for among the dead letters.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// How long the counters may stand still, with nothing in flight, before images count as lost.
const STALLED_AFTER: Duration = Duration::from_secs(30);
/// How long components may take to finish work in flight.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long removing a consumer group may take.
const TIDY_WITHIN: Duration = Duration::from_secs(5);

/// The components of one run, and what is needed to end them.
pub(super) struct Flow {
    pub(super) producers: Vec<ProducerId>,
    /// What the producers send.
    load: producer::Config,
    total: u64,
    kafka: KafkaConfig,
    groups: [String; 2],
    /// The groups that the broker knows, which have to be removed.
    placed: Vec<String>,
    /// The topics, each with the end of its dead-letter topic before the first image.
    letters: Vec<(String, kafka::Watermarks)>,
    produced: Arc<producer::Stats>,
    classified: Arc<consumer::Stats>,
    stored: Arc<consumer::Stats>,
    tasks: JoinSet<anyhow::Result<Ended>>,
    /// Stops producers and consumers.
    work: CancellationToken,
    /// Stops the inference server, which the image consumer needs until it has stopped itself.
    serve: CancellationToken,
}

/// How many images were published, and how many became dead letters.
pub(super) struct Arrived {
    pub(super) summary: Summary,
    pub(super) dead_letters: u64,
}

/// The end of a component.
enum Ended {
    Produced(Summary),
    Stopped(&'static str),
}

impl Flow {
    pub(super) fn new(args: &DemoArgs, dataset: &Arc<Dataset>) -> anyhow::Result<Self> {
        let kafka = args.kafka.config()?;
        let producers = producer::random_ids(args.load.producers as usize);
        let load = producer::Config { ids: producers.clone(), ..args.load.config(&args.kafka, dataset)? };
        let run = producers.first().map_or_else(String::new, ToString::to_string);
        Ok(Self {
            total: load.total(),
            load,
            groups: ["images", "predictions"].map(|topic| format!("firesteel-demo-{run}-{topic}")),
            placed: Vec::new(),
            letters: Vec::new(),
            producers,
            kafka,
            produced: Arc::default(),
            classified: Arc::default(),
            stored: Arc::default(),
            tasks: JoinSet::new(),
            work: CancellationToken::new(),
            serve: CancellationToken::new(),
        })
    }

    /// Starts everything and watches it until every image has arrived.
    pub(super) async fn drive(
        &mut self,
        args: &DemoArgs,
        context: &Context,
    ) -> anyhow::Result<Option<Arrived>> {
        let started = Instant::now();
        let ((), sink) = tokio::try_join!(self.place_groups(args), async {
            let sink = MongoSink::new(&args.mongo.sink(), ROLE).await?;
            sink.prepare().await?;
            anyhow::Ok(sink)
        })?;
        let (address, models) = self.start_inference(args).await?;
        eprintln!(
            "{} producers{} images -> Kafka {} -> {models} at {address} -> Kafka -> MongoDB (ready in {:.1} s)",
            self.producers.len(),
            self.load.images.map_or_else(|| format!(", {}", self.total), |images| format!(" x {images}")),
            args.kafka.kafka_bootstrap,
            started.elapsed().as_secs_f64()
        );
        self.start_consumers(args, address)?;
        self.start_producers();

        let stages = [("produced", self.total), ("classified", self.total), ("stored", self.total)];
        let mut progress = Progress::new(&context.bars, &stages);
        let watched = self.watch(&sink, &mut progress).await;
        progress.finish();
        watched.map(Some)
    }

    /// Creates the topics and commits their ends as the offsets of this run's groups.
    async fn place_groups(&mut self, args: &DemoArgs) -> anyhow::Result<()> {
        let topics = [args.kafka.images_topic.clone(), args.kafka.predictions_topic.clone()];
        let dead_letters = topics.each_ref().map(|topic| kafka::dead_letter_topic(topic));
        let spec = |name: &String| {
            let (partitions, replication) = (args.kafka.kafka_partitions, args.kafka.kafka_replication);
            TopicSpec::new(name).with_partitions(partitions).with_replication(replication)
        };
        let [images, predictions] = topics.each_ref().map(spec);
        let [image_letters, prediction_letters] =
            dead_letters.each_ref().map(|name| spec(name).kept_for_ever());
        let most = self.load.max_image_bytes;
        let specs =
            [images.for_images(most), predictions, image_letters.for_images(most), prediction_letters];
        kafka::ensure_topics(&self.kafka, ROLE, &specs).await?;
        for (group, topic) in self.groups.iter().zip(&topics) {
            let ends = kafka::watermarks(&self.kafka, topic).await?;
            let ends = ends.into_iter().map(|(partition, (_, end))| (partition, end)).collect();
            self.placed.push(group.clone());
            kafka::commit_offsets(&self.kafka, group, topic, &ends).await?;
        }
        for topic in &topics {
            let since = kafka::watermarks(&self.kafka, &kafka::dead_letter_topic(topic)).await?;
            self.letters.push((topic.clone(), since));
        }
        Ok(())
    }

    /// The server's address, and the names of its models.
    async fn start_inference(&mut self, args: &DemoArgs) -> anyhow::Result<(SocketAddr, String)> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let most = self.load.max_image_bytes;
        let config = inference::Config {
            listen,
            max_image_bytes: most,
            // So that an image that is somewhat too large is rejected by itself, and does not end its call.
            max_message_bytes: most.saturating_add(4 << 20),
            ..args.model.config()
        };
        let server = Server::bind(config).await?;
        let (address, ready, models) = (server.address(), server.ready(), server.models());
        let serve = self.serve.clone();
        self.tasks.spawn(async move {
            server.run(serve).await?;
            Ok(Ended::Stopped("the inference server"))
        });
        if !ready.wait().await {
            // Its task holds the error.
            match self.tasks.join_next().await {
                Some(ended) => ended.context("the inference server died")??,
                None => bail!("the inference server did not start"),
            };
        }
        let names = models.get().into_iter().flatten().map(|info| info.name.as_str());
        Ok((address, names.collect::<Vec<_>>().join(", ")))
    }

    fn start_consumers(&mut self, args: &DemoArgs, inference: SocketAddr) -> anyhow::Result<()> {
        let [images_group, predictions_group] = self.groups.clone();
        let config = images::Config {
            inference_url: format!("http://{inference}"),
            group: images_group,
            max_image_bytes: self.load.max_image_bytes,
            fail_fast: true,
            ..args.kafka.images_consumer()?
        };
        let consumer = images::run(config, Arc::clone(&self.classified), self.work.clone());
        self.tasks.spawn(async move {
            consumer.await?;
            Ok(Ended::Stopped("the image consumer"))
        });
        let config = predictions::Config {
            group: predictions_group,
            fail_fast: true,
            ..args.kafka.predictions_consumer(args.mongo.sink())?
        };
        let consumer = predictions::run(config, Arc::clone(&self.stored), self.work.clone());
        self.tasks.spawn(async move {
            consumer.await?;
            Ok(Ended::Stopped("the prediction consumer"))
        });
        Ok(())
    }

    fn start_producers(&mut self) {
        let producers = producer::run(self.load.clone(), Arc::clone(&self.produced), self.work.clone());
        self.tasks.spawn(async move { Ok(Ended::Produced(producers.await?)) });
    }

    /// Waits until every acknowledged image is a document or a dead letter.
    async fn watch(&mut self, sink: &MongoSink, progress: &mut Progress) -> anyhow::Result<Arrived> {
        let mut summary: Option<Summary> = None;
        let mut moved = (Instant::now(), [0; 3]);
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                Some(ended) = self.tasks.join_next() => match ended.context("a component died")?? {
                    Ended::Produced(done) => summary = Some(done),
                    Ended::Stopped(who) => bail!("{who} stopped by itself"),
                },
                _ = ticks.tick() => {}
            }
            let done = self.done();
            progress.update(&done);
            if done != moved.1 {
                moved = (Instant::now(), done);
            }
            let Some(produced) = &summary else { continue };
            let expected = produced.acknowledged();
            // The counters include records of other producers and records that came twice. They only tell when to ask
            // MongoDB and the dead-letter topics, which decide.
            let idle = self.classified.snapshot().in_flight == 0 && self.stored.snapshot().in_flight == 0;
            let still = if idle { moved.0.elapsed() } else { Duration::ZERO };
            if done[2] < expected && still < SETTLED_AFTER {
                continue;
            }
            let stored = sink.count(&self.producers).await?;
            let mut dead_letters = 0;
            if stored < expected && still >= SETTLED_AFTER {
                dead_letters = self.dead_letters().await?;
            }
            if stored + dead_letters >= expected {
                if let Some(summary) = summary {
                    return Ok(Arrived { summary, dead_letters });
                }
            } else if still > STALLED_AFTER {
                bail!(
                    "of {expected} acknowledged images {stored} arrived in MongoDB and {dead_letters} are dead letters; \
                     for {} s nothing has moved and nothing is under way. Kafka may be down, or have lost the rest",
                    STALLED_AFTER.as_secs()
                );
            }
        }
    }

    fn done(&self) -> [u64; 3] {
        let produced = self.produced.acknowledged.load(Ordering::Relaxed);
        [produced, self.classified.snapshot().succeeded, self.stored.snapshot().succeeded]
    }

    /// How many images of this run are dead letters, in both dead-letter topics.
    async fn dead_letters(&self) -> anyhow::Result<u64> {
        let mut count = 0;
        for (topic, since) in &self.letters {
            count += kafka::count_dead_letters(&self.kafka, topic, since, &self.producers).await?;
        }
        Ok(count)
    }

    /// The counts of the run as text.
    pub(super) fn position(&self) -> String {
        let [produced, classified, stored] = self.done();
        format!("of {} images {produced} were produced, {classified} classified, {stored} stored", self.total)
    }

    /// Stops the producers and consumers, then the server that they need, and removes the groups.
    pub(super) async fn stop(&mut self) {
        self.work.cancel();
        // Only the inference server is left after the other tasks have been joined.
        let mut in_time = self.join(1).await;
        self.serve.cancel();
        in_time &= self.join(0).await;
        if !in_time {
            tracing::warn!("components did not stop within {} s and are dropped", STOP_WITHIN.as_secs());
            self.tasks.shutdown().await;
        }
        for group in self.placed.drain(..) {
            let deleted = tokio::time::timeout(TIDY_WITHIN, kafka::delete_group(&self.kafka, &group)).await;
            if !matches!(deleted, Ok(Ok(()))) {
                tracing::warn!(group, "could not remove the consumer group of this run");
            }
        }
    }

    /// Waits until at most `left` components run. False where that takes too long.
    async fn join(&mut self, left: usize) -> bool {
        let joined = async { while self.tasks.len() > left && self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(STOP_WITHIN, joined).await.is_ok()
    }
}
