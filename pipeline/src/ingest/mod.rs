//! The door for images: `POST /images` over HTTP, answered when Kafka has the image.
//!
//! ```text
//!  request ─▶ gate: who is it ─▶ head: type, length, label, key ─▶ body, within the budget ─▶ ids ─▶ Kafka, acks=all ─▶ 202
//!             401, 403, 421      400, 413, 415, 503                400, 408, 413, 429         422    504
//! ```
//!
//! * An image is answered with 202 and its id when every in-sync replica has it. Any other answer promises nothing: the image
//!   may have arrived, as after a 504.
//! * A request with the header `Idempotency-Key` can be repeated: its ids are computed from the user, the topic and the key alone
//!   (`ids`), so a repeat is the same document, whichever process gets it and whatever became of the first answer.
//! * What is read and not yet acknowledged is counted in bytes over all requests; whoever would go over the limit is told to come
//!   again. Connections have the limits of every door.
//! * Whether an image can be decoded is found out by the model: one that cannot becomes a dead letter. Here its first bytes count.

mod budget;
mod door;
mod ids;
mod metrics;
mod recent;
mod refused;
mod request;
mod sink;
#[cfg(test)]
mod tests;

pub use metrics::Metrics;

use crate::error::{Error, Result};
use crate::kafka::{KafkaConfig, TopicSpec};
use door::Door;
use firesteel_common::access::{Access, Doors, gate};
use firesteel_common::http::{self, Limits};
use firesteel_common::tls::ServerTls;
use metrics::Stats;
use sink::{Kafka, Standing};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const ROLE: &str = "ingest";
/// The path of images.
const IMAGES: &str = "/images";

/// The paths of the port that are read, by GET.
pub const ROUTES: [&str; 2] = ["/healthz", "/readyz"];
/// The path that takes images, by POST.
pub const POSTS: [&str; 1] = [IMAGES];

/// Where images are taken, how large they may be, and where they go.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. 127.0.0.1:8090.
    pub listen: SocketAddr,
    /// How to reach Kafka.
    pub kafka: KafkaConfig,
    /// The topic of images.
    pub topic: String,
    /// Partitions of topics that have to be created.
    pub partitions: i32,
    /// Replicas of topics that have to be created; -1 is the broker's default.
    pub replication: i32,
    /// The most bytes of an image. 16 MiB.
    pub max_image_bytes: usize,
    /// The most bytes of a request with several images. 32 MiB.
    pub max_request_bytes: usize,
    /// The most images of a request. 1,000.
    pub max_images: usize,
    /// The most bytes of all requests that are read or wait for Kafka, half of it for those of one user; one request always fits. 64 MiB.
    pub max_in_flight_bytes: usize,
    /// How long the body of a request may take to arrive. 60 s.
    pub body_timeout: Duration,
    /// How long Kafka may take to acknowledge an image. 10 s.
    pub ack_timeout: Duration,
    /// How many keys are remembered, so that a repeat is answered without Kafka and one with other images is refused. 65,536.
    pub remembered_keys: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)),
            kafka: KafkaConfig::default(),
            topic: "images".to_owned(),
            partitions: TopicSpec::DEFAULT_PARTITIONS,
            replication: -1,
            max_image_bytes: 16 << 20,
            max_request_bytes: 32 << 20,
            max_images: 1_000,
            max_in_flight_bytes: 64 << 20,
            body_timeout: Duration::from_secs(60),
            ack_timeout: Duration::from_secs(10),
            remembered_keys: 65_536,
        }
    }
}

/// A door that has its address and takes nothing yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
    access: Arc<Access>,
    tls: Option<ServerTls>,
    stats: Arc<Stats>,
    standing: Arc<Standing>,
}

impl Server {
    /// Takes the address of the configuration.
    ///
    /// # Errors
    /// [`Error::Listen`], which names it.
    pub async fn bind(config: Config) -> Result<Self> {
        let address = config.listen;
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bound.await.map_err(|source| Error::Listen { address, source })?;
        let (access, stats, standing) = (Arc::new(Access::open()), Arc::default(), Arc::default());
        Ok(Self { listener, address, config, access, tls: None, stats, standing })
    }

    /// Takes images of those whom `access` accepts, and by TLS where there is a certificate.
    #[must_use]
    pub fn with_access(mut self, access: Arc<Access>, tls: Option<ServerTls>) -> Self {
        (self.access, self.tls) = (access, tls);
        self
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a health server reports of this door.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(Arc::clone(&self.stats), Arc::clone(&self.standing))
    }

    /// Takes images until `shutdown`; those under way then are answered. While Kafka is away, requests are told to come again.
    ///
    /// # Errors
    /// Where Kafka refuses the login or a right, and for a property that a client cannot have.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { listener, address, config, access, tls, stats, standing } = self;
        let kafka = Kafka::new(&config, Arc::clone(&standing))?;
        let limits = Limits {
            // An answer under way waits for Kafka at most.
            last_answers: config.ack_timeout + Duration::from_secs(2),
            ..Limits::default()
        };
        let door = Door::new(&config, Arc::new(kafka), stats, Arc::clone(&standing));
        let router = door::router(Arc::new(door)).layer(gate(access, Doors::new()));
        let stop = shutdown.child_token();
        let server = http::Server::new(listener, router).with_tls(tls).with_limits(limits).run(stop.clone());
        tokio::pin!(server);
        tracing::info!(%address, topic = config.topic, "images are taken");
        let failed = tokio::select! {
            () = &mut server => None,
            failed = sink::watch(&config, &standing) => Some(failed),
        };
        if let Some(error) = failed {
            stop.cancel();
            server.await;
            return Err(error);
        }
        Ok(())
    }
}
