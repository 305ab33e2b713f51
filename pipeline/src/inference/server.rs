//! The inference server: configuration, start, readiness, shutdown.
//!
//! It listens at once and answers health checks while the models load (NOT_SERVING, and UNAVAILABLE to `Classify`),
//! then, with all of them, is SERVING. When its token is cancelled it says NOT_SERVING, takes no further request, answers what it has
//! accepted and ends; whoever keeps a connection open longer than `drain_timeout` is cut off. A model that panics
//! ends the server with an error: a supervisor restarts it.
//!
//! It is served as every door is: by [`http::Server`] with its limits, behind the gate, and by TLS where there is a
//! certificate. Only gRPC's health service asks for no credential.

use super::batcher::{Batcher, Options};
use super::device::Device;
use super::error::{Error, Result};
use super::model::{Model, ModelInfo};
use super::precision::PrecisionSetting;
use super::served::{Served, told_apart};
use super::service::Service;
use super::spec::ModelSpec;
use super::split::Split;
use super::stats::ServerStats;
use super::threads::name_kernel_threads;
use firesteel_common::access::{Access, Doors, gate};
use firesteel_common::http;
use firesteel_common::tls::ServerTls;
use firesteel_proto::inference::{InferenceServer, SERVICE_NAME};
use std::net::{Ipv4Addr, SocketAddr};
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
    /// The models, at least one; the first one answers where none is asked for and none has a share. The one inside the binary.
    pub models: Vec<ModelSpec>,
    /// The precision of the models that name none. [`PrecisionSetting::Auto`]: what it takes is in the model's name.
    pub precision: PrecisionSetting,
    /// The device that the models compute on. [`Device::Cpu`].
    pub device: Device,
    /// Images that a model gets at once, at most. 64; on a GPU of NVIDIA 256.
    pub max_batch: usize,
    /// Images accepted for a model and not yet answered, at most, over all connections. 256; on a GPU of NVIDIA 2,048.
    pub queue: usize,
    /// Bytes of images accepted and not yet answered, at most, over all connections and models; one image always fits. 64 MiB.
    pub queue_bytes: usize,
    /// Bytes of one gRPC message, at most; a larger one ends its call with OUT_OF_RANGE. 20 MiB, so that an image that is
    /// somewhat too large is rejected by itself.
    pub max_message_bytes: usize,
    /// Bytes of one encoded image, at most; a larger one is rejected by itself. 16 MiB.
    pub max_image_bytes: usize,
    /// Pixels of one encoded image, at most; one with more is rejected by itself. Each decode thread takes up to 6 bytes of memory
    /// for each of them. 67,108,864.
    pub max_image_pixels: u32,
    /// Threads of a model, each with a copy of its own. 1: the model already uses every core for one batch. On a GPU 2: while one's
    /// batch is computed, the other's is put together, copied and answered.
    pub threads: usize,
    /// Threads that decode images, for all models. 1; on a GPU of NVIDIA half of the cores.
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
            models: vec![ModelSpec::default()],
            precision: PrecisionSetting::Auto,
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

type Loader = Box<dyn FnOnce(&Config) -> Result<Vec<Loaded>> + Send>;

/// A model of a server, ready to compute.
pub struct Loaded {
    /// The same model once for each of its threads, at least once.
    pub models: Vec<Box<dyn Model>>,
    /// As in [`ModelSpec::share`].
    pub share: Option<u32>,
}

impl Loaded {
    /// Its whole name: "" where it has no thread.
    fn name(&self) -> &str {
        self.models.first().map_or("", |model| &model.info().name)
    }
}

/// A server that has its address and does not run yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
    stats: Arc<ServerStats>,
    ready: watch::Sender<bool>,
    models: Arc<OnceLock<Vec<ModelInfo>>>,
    load: Loader,
    access: Arc<Access>,
    tls: Option<ServerTls>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Whether a server has loaded its models and answers.
#[derive(Debug, Clone)]
pub struct Ready(watch::Receiver<bool>);

impl Ready {
    /// Waits until the server answers: `true`; `false` if it ended before that.
    pub async fn wait(mut self) -> bool {
        self.0.wait_for(|ready| *ready).await.is_ok()
    }

    /// Whether the server answers at this moment: not before it has its models, and not once it is asked to stop.
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
            models: Arc::default(),
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

    /// Serves the model that `load` makes (one a thread, all alike) instead of those of the configuration.
    #[must_use]
    pub fn with_models(
        self,
        load: impl FnOnce(&Config) -> Result<Vec<Box<dyn Model>>> + Send + 'static,
    ) -> Self {
        self.with_several(|config| Ok(vec![Loaded { models: load(config)?, share: None }]))
    }

    /// Serves the models that `load` makes instead of those of the configuration.
    #[must_use]
    pub fn with_several(
        mut self,
        load: impl FnOnce(&Config) -> Result<Vec<Loaded>> + Send + 'static,
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
    pub fn stats(&self) -> Arc<ServerStats> {
        Arc::clone(&self.stats)
    }

    /// The descriptions of the models, in the order of the settings, once they are loaded: not before the server is ready.
    #[must_use]
    pub fn models(&self) -> Arc<OnceLock<Vec<ModelInfo>>> {
        Arc::clone(&self.models)
    }

    /// A handle that waits until the server can answer.
    #[must_use]
    pub fn ready(&self) -> Ready {
        Ready(self.ready.subscribe())
    }

    /// Loads the models and serves until `shutdown` is cancelled.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { listener, address, config, stats, ready, models: described, load, access, tls } = self;
        let (health, health_service) = tonic_health::server::health_reporter();
        say(&health, ServingStatus::NotServing).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(firesteel_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|source| Error::Reflection { source })?;
        let draining = CancellationToken::new();
        let service = Service { models: Arc::default(), limit: config.queue, draining: draining.clone() };
        let served = Arc::clone(&service.models);
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
        let (batcher, split) = start(load, config, Arc::clone(&stats)).await?;
        let infos: Vec<ModelInfo> = batcher.handles().iter().map(|model| model.info().clone()).collect();
        let names: Vec<&str> = infos.iter().map(|info| info.name.as_str()).collect();
        tracing::info!(%address, model = names.join(", "), %device, "inference server is ready");
        // Nobody else sets them.
        let _ = described.set(infos);
        let _ = served.set(Served::new(batcher.handles().to_vec(), split, Arc::clone(&stats)));
        say(&health, ServingStatus::Serving).await;
        ready.send_replace(true);

        let mut outcome = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            error = batcher.failed() => Err(error),
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
        tracing::info!(
            images = stats.images(),
            rejections = stats.rejections(),
            "inference server has stopped"
        );
        outcome
    }
}

/// Loads the models off the runtime's threads and starts the batcher.
async fn start(load: Loader, config: Config, stats: Arc<ServerStats>) -> Result<(Batcher, Split)> {
    let options = Options {
        max_batch: config.max_batch,
        queue: config.queue,
        queue_bytes: config.queue_bytes,
        decode_threads: config.decode_threads,
        max_image_bytes: config.max_image_bytes,
        max_image_pixels: config.max_image_pixels,
    };
    let start = move || {
        name_kernel_threads();
        let loaded = load(&config)?;
        let names = || loaded.iter().map(Loaded::name);
        told_apart(names())?;
        let split = Split::new(&loaded.iter().map(|one| one.share).collect::<Vec<_>>())?;
        let stats = stats.begin(names());
        let all = loaded.into_iter().map(|one| one.models).zip(stats).collect();
        Ok((Batcher::start_all(all, options)?, split))
    };
    tokio::task::spawn_blocking(start).await.unwrap_or_else(|e| {
        Err(Error::Panicked { model: "loading the models".to_owned(), message: e.to_string() })
    })
}

/// The models of the configuration.
fn load(config: &Config) -> Result<Vec<Loaded>> {
    config.models.iter().map(|spec| load_one(config, spec)).collect()
}

/// A model, once for each thread.
fn load_one(config: &Config, spec: &ModelSpec) -> Result<Loaded> {
    let file = spec.open()?;
    let compile_all = || {
        let precision = file.resolve(spec.precision.unwrap_or(config.precision), config.device)?;
        (0..config.threads).map(|_| file.compile(precision, config.device)).collect()
    };
    let models: Result<Vec<_>> = compile_all();
    let wrapped = |source| Error::Load { model: spec.to_string(), source: Box::new(source) };
    Ok(Loaded { models: models.map_err(wrapped)?, share: spec.share })
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
