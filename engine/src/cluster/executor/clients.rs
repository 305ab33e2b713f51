//! A pool of connections to other executors, from which shuffle files are fetched.
//!
//! A connection is taken out of the pool for one fetch and returned afterwards. Idle connections are closed after 30 s.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ballista_core::client::BallistaClient;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::error::Result;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::utils::GrpcClientConfig;
use firesteel_common::net::Dialer;

use crate::cluster::net;

/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

type Key = (String, u16, GrpcClientConfig);

/// Idle connections by address and settings. Ballista has such a pool too, but it is private.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    idle: Arc<Mutex<HashMap<Key, Vec<Idle>>>>,
    use_tls: bool,
    /// Gives each new connection TLS and the secret of the cluster.
    customize: Arc<BallistaConfigGrpcEndpoint>,
}

#[derive(Debug)]
struct Idle {
    client: Client,
    since: Instant,
}

/// Gives Ballista's client a `Debug`.
struct Client(BallistaClient);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BallistaClient")
    }
}

impl Clients {
    pub(super) fn new(dialer: Dialer) -> Self {
        let use_tls = dialer.uses_tls();
        let customize = Arc::new(BallistaConfigGrpcEndpoint::new(net::customize(dialer)));
        Self { idle: Arc::default(), use_tls, customize }
    }

    fn with_idle<T>(&self, change: impl FnOnce(&mut HashMap<Key, Vec<Idle>>) -> T) -> T {
        change(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn drop_idle(&self) {
        self.with_idle(|by_key| {
            by_key.retain(|_, idle| {
                idle.retain(|idle| idle.since.elapsed() < IDLE_TIMEOUT);
                !idle.is_empty()
            });
        });
    }
}

#[async_trait]
impl BallistaClientPool for Clients {
    async fn acquire(
        &self,
        host: &str,
        port: u16,
        config: &GrpcClientConfig,
        // The settings of the query are its client's, and say nothing about the executors of this cluster.
        _: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> Result<PooledClient> {
        self.drop_idle();
        let key = (host.to_owned(), port, config.clone());
        let pooled = self.with_idle(|by_key| by_key.get_mut(&key).and_then(Vec::pop));
        let client = match pooled {
            Some(idle) => idle.client.0,
            None => {
                BallistaClient::try_new(
                    host,
                    port,
                    config.max_message_size,
                    self.use_tls,
                    Some(Arc::clone(&self.customize)),
                    config.io_retries_times,
                    config.io_retry_wait_time_ms,
                    config.initial_connection_window_size,
                    config.initial_stream_window_size,
                )
                .await?
            }
        };
        let clients = self.clone();
        let release = move |client| {
            let idle = Idle { client: Client(client), since: Instant::now() };
            clients.with_idle(|by_key| by_key.entry(key).or_default().push(idle));
        };
        Ok(PooledClient::new(client, Box::new(release)))
    }

    async fn evict_idle(&self) {
        self.drop_idle();
    }
}
