//! `firesteel ingest`: images by HTTP → Kafka.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use firesteel_common::ConfigField;
use firesteel_engine::Error;
use firesteel_pipeline::ingest::{Config, Server};

use crate::args::{HealthListenArgs, KafkaArgs, ServerSecurityArgs, UsersArgs, image_size, size};
use crate::context::{Context, Outcome};

/// The examples at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
    # one image, of a class that is known; the answer has its id
    curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg' 'http://127.0.0.1:8090/images?label=cat'

    # several, with a key: sent again they are the same documents
    curl -F file=@a.jpg -F file=@b.png -H 'Idempotency-Key: order-4711' http://127.0.0.1:8090/images";

/// Where images are taken, and how many at once.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct IngestArgs {
    /// Where to listen
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "FIRESTEEL_INGEST_LISTEN",
        default_value = "127.0.0.1:8090",
        help_heading = "Server"
    )]
    pub(crate) listen: SocketAddr,
    /// The most bytes of an image, up to 63MiB; a larger one is told 413. A topic that is created takes as much; one that exists
    /// has a limit of its own, max.message.bytes
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_INGEST_MAX_IMAGE_SIZE", default_value = "16MiB",
          value_parser = image_size, help_heading = "Server")]
    pub(crate) max_image_size: usize,
    /// The most bytes of a request with several images
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_INGEST_MAX_REQUEST_SIZE", default_value = "32MiB", value_parser = size,
          help_heading = "Server")]
    pub(crate) max_request_size: usize,
    /// The most bytes of all requests that are read or wait for Kafka; beyond that a request is told 429. One user has
    /// half of it at most, where there are tokens. One request always fits.
    /// While a request is read and handed to Kafka's client, the process has up to three copies of its bytes, and one while it waits
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_INGEST_IN_FLIGHT_BYTES", default_value = "64MiB", value_parser = size,
          help_heading = "Server")]
    pub(crate) max_in_flight_bytes: usize,
    /// How long Kafka may take to acknowledge an image before its sender is told 504, in seconds
    #[arg(long, value_name = "SECONDS", env = "FIRESTEEL_INGEST_ACK_TIMEOUT", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=600), help_heading = "Server")]
    pub(crate) ack_timeout: u32,
    #[command(flatten)]
    pub(crate) users: UsersArgs,
    #[command(flatten)]
    pub(crate) security: ServerSecurityArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) health: HealthListenArgs,
}

impl IngestArgs {
    fn config(&self) -> anyhow::Result<Config> {
        Ok(Config {
            listen: self.listen,
            kafka: self.kafka.config()?,
            topic: self.kafka.images_topic.clone(),
            partitions: self.kafka.kafka_partitions,
            replication: self.kafka.kafka_replication,
            max_image_bytes: self.max_image_size,
            max_request_bytes: self.max_request_size.max(self.max_image_size),
            max_in_flight_bytes: self.max_in_flight_bytes,
            ack_timeout: Duration::from_secs(u64::from(self.ack_timeout)),
            ..Config::default()
        })
    }
}

pub(crate) async fn run(args: IngestArgs, context: Context) -> anyhow::Result<Outcome> {
    let security = args.security.read(&args.users)?;
    if !args.listen.ip().is_loopback() && security.access.is_open() && !security.insecure {
        let (role, address) = ("the door for images", args.listen);
        return Err(Error::Exposed { role, address, host: ConfigField::IngestListen }.into());
    }
    let server = Server::bind(args.config()?).await.context("ingest cannot start")?;
    let server = server.with_access(security.access, security.tls);
    let address = server.address();
    let metrics = Arc::new(server.metrics());
    let serving = Box::pin(async move {
        server.run(context.signals.shutdown.clone()).await.context("ingest")?;
        tracing::info!(%address, "stopped");
        Ok(Outcome::Done)
    });
    args.health.beside(metrics, serving).await
}
