//! `firesteel inference-server`: the model behind gRPC.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use firesteel_common::ConfigField;
use firesteel_engine::Error;
use firesteel_pipeline::inference::{self, Metrics, Server};

use crate::args::{HealthListenArgs, InferenceArgs, ServerSecurityArgs, UsersArgs, size};
use crate::context::{Context, Outcome};

/// Images that may wait, at least, where nobody says how many: those of several consumers.
const QUEUE: usize = 1_024;

/// Where the model is served, and which.
#[derive(Debug, Args)]
pub(crate) struct InferenceServerArgs {
    /// Where to listen
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "FIRESTEEL_INFERENCE_LISTEN",
        default_value = "127.0.0.1:50060",
        help_heading = "Server"
    )]
    pub(crate) listen: SocketAddr,
    /// How many images may wait for a model; a unary call beyond that is told RESOURCE_EXHAUSTED [default: 1024, on a GPU of
    /// NVIDIA 2048]
    #[arg(long, value_name = "N", env = "FIRESTEEL_INFERENCE_QUEUE", value_parser = clap::value_parser!(u32).range(1..),
          help_heading = "Server")]
    pub(crate) queue: Option<u32>,
    /// How many bytes of images may wait for all models, each counted as its file or as its pixels at the model's size, whichever is more; one image always fits
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_INFERENCE_QUEUE_BYTES", default_value = "64MiB", value_parser = size,
          help_heading = "Server")]
    pub(crate) queue_bytes: usize,
    /// How many bytes one image may have, as a file
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_MAX_IMAGE_SIZE", default_value = "16MiB", value_parser = size,
          help_heading = "Server")]
    pub(crate) max_image_size: usize,
    /// How many pixels one image may have; decoding takes up to 6 bytes of memory for each of them
    #[arg(long, value_name = "N", env = "FIRESTEEL_MAX_IMAGE_PIXELS", default_value_t = inference::Limits::DEFAULT.max_pixels,
          value_parser = clap::value_parser!(u32).range(1..), help_heading = "Server")]
    pub(crate) max_image_pixels: u32,
    /// How many images are decoded at a time, each with the memory that --max-image-pixels allows: more for photographs, whose
    /// decoding takes longer than the model [default: 1, on a GPU of NVIDIA half of the cores]
    #[arg(long, value_name = "N", env = "FIRESTEEL_DECODE_THREADS",
          value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Server")]
    pub(crate) decode_threads: Option<u32>,
    #[command(flatten)]
    pub(crate) users: UsersArgs,
    #[command(flatten)]
    pub(crate) security: ServerSecurityArgs,
    #[command(flatten)]
    pub(crate) model: InferenceArgs,
    #[command(flatten)]
    pub(crate) health: HealthListenArgs,
}

pub(crate) async fn run(args: InferenceServerArgs, context: Context) -> anyhow::Result<Outcome> {
    let security = args.security.read(&args.users)?;
    if !args.listen.ip().is_loopback() && security.access.is_open() && !security.insecure {
        let (role, address) = ("the inference server", args.listen);
        return Err(Error::Exposed { role, address, host: ConfigField::InferenceListen }.into());
    }
    let default = args.model.config();
    let config = inference::Config {
        listen: args.listen,
        queue: args.queue.map_or(default.queue.max(QUEUE), |images| images as usize),
        queue_bytes: args.queue_bytes,
        decode_threads: args.decode_threads.map_or(default.decode_threads, |threads| threads as usize),
        max_image_bytes: args.max_image_size,
        max_image_pixels: args.max_image_pixels,
        // So that an image that is somewhat too large is rejected by itself, and does not end its call.
        max_message_bytes: args.max_image_size.saturating_add(4 << 20),
        ..default
    };
    let server = Server::bind(config).await.context("inference-server cannot start")?;
    let server = server.with_access(security.access, security.tls);
    let address = server.address();
    let metrics = Arc::new(Metrics::of(&server));
    let serving = Box::pin(async move {
        server.run(context.signals.shutdown.clone()).await.context("inference-server")?;
        tracing::info!(%address, "stopped");
        Ok(Outcome::Done)
    });
    args.health.beside(metrics, serving).await
}
