//! The inference server: configuration, start, readiness, shutdown.
//!
//! It listens at once and answers health checks while the model loads (NOT_SERVING, and UNAVAILABLE to `Classify`),
//! then is SERVING. When its token is cancelled it says NOT_SERVING, takes no further request, answers what it has
//! accepted and ends; whoever keeps a connection open longer than `drain_timeout` is cut off. A model that panics
//! ends the server with an error: a supervisor restarts it.
//!
//! It is served as every door is: by [`http::Server`] with its limits, behind the gate, and by TLS where there is a
//! certificate. Only gRPC's health service asks for no credential.

use super::batcher::{Batcher, Options};
use super::device::Device;
use super::error::{Error, Result};
use super::model::{Model, ModelInfo};
use super::model_file::ModelFile;
use super::precision::Precision;
use super::service::Service;
use super::stats::Stats;
use firesteel_common::access::{Access, Doors, gate};
use firesteel_common::http;
use firesteel_common::tls::ServerTls;
use firesteel_proto::inference::{InferenceServer, SERVICE_NAME};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The configuration of an inference server. Numbers are at least 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The address to listen on. `127.0.0.1:50060`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A file of safetensors or ONNX; none: the weights inside the binary.
    pub weights: Option<PathBuf>,
    /// The precision that the model computes in. [`Precision::DEFAULT`].
    pub precision: Precision,
    /// The device that the model computes on. [`Device::Cpu`].
    pub device: Device,
    /// Images that the model gets at once, at most. 64; on a GPU of NVIDIA 256.
    pub max_batch: usize,
    /// Images accepted and not yet answered, at most, over all connections. 256; on a GPU of NVIDIA 2,048.
    pub queue: usize,
    /// Bytes of images accepted and not yet answered, at most, over all connections; one image always fits. 64 MiB.
    pub queue_bytes: usize,
    /// Bytes of one gRPC message, at most; a larger one ends its call with OUT_OF_RANGE. 20 MiB, so that an image that is
    /// somewhat too large is rejected by itself.
    pub max_message_bytes: usize,
    /// Bytes of one encoded image, at most; a larger one is rejected by itself. 16 MiB.
    pub max_image_bytes: usize,
    /// Pixels of one encoded image, at most; one with more is rejected by itself. Each decode thread takes up to 6 bytes of memory
    /// for each of them. 67,108,864.
    pub max_image_pixels: u32,
    /// Model threads, each with a model of its own. 1: the model already uses every core for one batch. On a GPU 2: while one's
    /// batch is computed, the other's is put together, copied and answered.
    pub threads: usize,
    /// Threads that decode images. 1; on a GPU of NVIDIA half of the cores.
    pub decode_threads: usize,
    /// How long open connections may delay the end. 20 s.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let Options { max_batch, queue, decode_threads, queue_bytes, max_image_bytes, max_image_pixels } =
            Options::default();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_060)),
            weights: None,
            precision: Precision::DEFAULT,
            device: Device::Cpu,
            max_batch,
            queue,
            queue_bytes,
            max_message_bytes: 20 << 20,
            max_image_bytes,
            max_image_pixels,
            threads: 1,
            decode_threads,
            drain_timeout: Duration::from_secs(20),
        }
    }
}

/// Serves until `shutdown` is cancelled.
///
/// # Errors
/// An address that is taken, weights that do not fit, a model that panics.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    Server::bind(config).await?.run(shutdown).await
}

type Loader = Box<dyn FnOnce(&Config) -> Result<Vec<Box<dyn Model>>> + Send>;

/// A server that has its address and does not run yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
    stats: Arc<Stats>,
    ready: watch::Sender<bool>,
    model: Arc<OnceLock<ModelInfo>>,
    load: Loader,
    access: Arc<Access>,
    tls: Option<ServerTls>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Whether a server has loaded its model and answers.
#[derive(Debug, Clone)]
pub struct Ready(watch::Receiver<bool>);

impl Ready {
    /// Waits until the server answers: `true`; `false` if it ended before that.
    pub async fn wait(mut self) -> bool {
        self.0.wait_for(|ready| *ready).await.is_ok()
    }

    /// Whether the server answers at this moment: not before it has its model, and not once it is asked to stop.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        // Nobody is left to say that it is over when the server has ended in another way.
        self.0.has_changed().is_ok() && *self.0.borrow()
    }
}

impl Config {
    /// The defaults for a model on `device`: one on a GPU of NVIDIA leaves the cores to those who feed it, and is fastest with
    /// large batches.
    #[must_use]
    pub fn on(device: Device) -> Self {
        let default = Self { device, ..Self::default() };
        match device {
            Device::Cpu | Device::CpuWith(_) | Device::Metal => default,
            Device::Cuda(_) => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                Self {
                    max_batch: 256,
                    queue: 2_048,
                    threads: 2,
                    decode_threads: cores.div_ceil(2),
                    ..default
                }
            }
        }
    }
}

impl Server {
    /// Takes the address of the configuration.
    ///
    /// # Errors
    /// [`Error::Bind`], which names it.
    pub async fn bind(config: Config) -> Result<Self> {
        let address = config.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })?;
        Self::on(listener, config)
    }

    /// Serves on a socket that is bound already; `config.listen` is not looked at.
    ///
    /// # Errors
    /// [`Error::Bind`] if the socket has no address.
    pub fn on(listener: TcpListener, config: Config) -> Result<Self> {
        let address =
            listener.local_addr().map_err(|source| Error::Bind { address: config.listen, source })?;
        let (ready, _) = watch::channel(false);
        Ok(Self {
            listener,
            address,
            config,
            stats: Arc::default(),
            ready,
            model: Arc::default(),
            load: Box::new(load),
            access: Arc::new(Access::open()),
            tls: None,
        })
    }

    /// Serves those whom `access` accepts, and by TLS where there is a certificate.
    #[must_use]
    pub fn with_access(mut self, access: Arc<Access>, tls: Option<ServerTls>) -> Self {
        (self.access, self.tls) = (access, tls);
        self
    }

    /// Serves the models that `load` makes (one a thread, all alike) instead of the weights of the configuration.
    #[must_use]
    pub fn with_models(
        mut self,
        load: impl FnOnce(&Config) -> Result<Vec<Box<dyn Model>>> + Send + 'static,
    ) -> Self {
        self.load = Box::new(load);
        self
    }

    /// The address that the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The counters of the server.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// The description of the model, once it is loaded: not before the server is ready.
    #[must_use]
    pub fn model(&self) -> Arc<OnceLock<ModelInfo>> {
        Arc::clone(&self.model)
    }

    /// A handle that waits until the server can answer.
    #[must_use]
    pub fn ready(&self) -> Ready {
        Ready(self.ready.subscribe())
    }

    /// Loads the model and serves until `shutdown` is cancelled.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { listener, address, config, stats, ready, model: described, load, access, tls } = self;
        let (health, health_service) = tonic_health::server::health_reporter();
        say(&health, ServingStatus::NotServing).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(firesteel_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|source| Error::Reflection { source })?;
        let draining = CancellationToken::new();
        let service = Service { handle: Arc::default(), draining: draining.clone() };
        let handle = Arc::clone(&service.handle);
        let inference = InferenceServer::new(service).max_decoding_message_size(config.max_message_bytes);
        let mut routes = Routes::builder();
        routes.add_service(health_service).add_service(reflection).add_service(inference);
        let router = routes.routes().into_axum_router().layer(gate(access, Doors::new()));
        // Cut off below, with a word about it.
        let mut limits = http::Limits { last_answers: config.drain_timeout * 2, ..http::Limits::default() };
        limits.message_bytes = limits.message_bytes.max(config.max_message_bytes.saturating_mul(2));
        let serving = http::Server::new(listener, router).with_tls(tls).with_limits(limits);
        let mut serving = AbortOnDropHandle::new(tokio::spawn(serving.run(draining.clone())));
        let drain_timeout = config.drain_timeout;
        let device = config.device;
        let batcher = start(load, config, stats).await?;
        let model = batcher.handle();
        tracing::info!(%address, model = %model.info().name, %device, "inference server is ready");
        // Nobody else sets them.
        let _ = described.set(model.info().clone());
        let _ = handle.set(model.clone());
        say(&health, ServingStatus::Serving).await;
        ready.send_replace(true);

        let mut outcome = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            error = model.failed() => Err(error),
            served = &mut serving => return Err(panicked(served.err())),
        };
        ready.send_replace(false);
        say(&health, ServingStatus::NotServing).await;
        draining.cancel();
        match tokio::time::timeout(drain_timeout, serving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => outcome = outcome.and(Err(panicked(Some(error)))),
            Err(_) => tracing::warn!(?drain_timeout, "connections were still open and have been cut"),
        }
        batcher.shutdown().await;
        let stats = model.stats();
        tracing::info!(
            images = stats.images(),
            rejections = stats.rejections(),
            "inference server has stopped"
        );
        outcome
    }
}

/// Loads the model off the runtime's threads and starts the batcher.
async fn start(load: Loader, config: Config, stats: Arc<Stats>) -> Result<Batcher> {
    let options = Options {
        max_batch: config.max_batch,
        queue: config.queue,
        queue_bytes: config.queue_bytes,
        decode_threads: config.decode_threads,
        max_image_bytes: config.max_image_bytes,
        max_image_pixels: config.max_image_pixels,
    };
    let start = move || {
        let models = load(&config)?;
        Batcher::start(models, options, stats)
    };
    tokio::task::spawn_blocking(start).await.unwrap_or_else(|e| {
        Err(Error::Panicked { model: "loading the model".to_owned(), message: e.to_string() })
    })
}

/// The model of the configuration, once for each thread.
fn load(config: &Config) -> Result<Vec<Box<dyn Model>>> {
    let file = ModelFile::open(config.weights.as_deref())?;
    (0..config.threads).map(|_| file.compile(config.precision, config.device)).collect()
}

/// Sets the status of the service and of the whole server.
async fn say(health: &HealthReporter, status: ServingStatus) {
    health.set_service_status("", status).await;
    health.set_service_status(SERVICE_NAME, status).await;
}

/// The error of a server that has ended before it was asked to.
fn panicked(error: Option<JoinError>) -> Error {
    let message = error.map_or_else(|| "it ended by itself".to_owned(), |error| error.to_string());
    Error::Panicked { model: "the gRPC server".to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_leaves_the_cores_to_those_who_decode() {
        for device in [Device::Cpu, Device::Metal] {
            assert_eq!(Config::on(device), Config { device, ..Config::default() });
        }
        let (cpu, gpu) = (Config::default(), Config::on(Device::Cuda(1)));
        assert_eq!((gpu.device, gpu.threads), (Device::Cuda(1), 2));
        assert!(gpu.max_batch > cpu.max_batch && gpu.decode_threads >= 1);
        assert!(gpu.queue >= 2 * gpu.threads * gpu.max_batch, "as many wait as are computed");
    }
}
