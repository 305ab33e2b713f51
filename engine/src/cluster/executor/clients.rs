//! Kept connections to other executors, for fetching shuffle files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ballista_core::client::BallistaClient;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::error::Result;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::utils::GrpcClientConfig;

/// How long an idle connection is kept.
const KEEP: Duration = Duration::from_secs(30);

type Key = (String, u16, GrpcClientConfig);

/// Idle connections by whom they lead to. Ballista has such a pool too, but keeps it to itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients(Arc<Mutex<HashMap<Key, Vec<Idle>>>>);

#[derive(Debug)]
struct Idle {
    client: Client,
    since: Instant,
}

/// Ballista's client has no `Debug`.
struct Client(BallistaClient);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BallistaClient")
    }
}

impl Clients {
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<Key, Vec<Idle>>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn drop_idle(&self) {
        self.change(|by_key| {
            by_key.retain(|_, idle| {
                idle.retain(|idle| idle.since.elapsed() < KEEP);
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
        customize: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> Result<PooledClient> {
        self.drop_idle();
        let key = (host.to_owned(), port, config.clone());
        let kept = self.change(|by_key| by_key.get_mut(&key).and_then(Vec::pop));
        let client = match kept {
            Some(idle) => idle.client.0,
            None => {
                BallistaClient::try_new(
                    host,
                    port,
                    config.max_message_size,
                    config.use_tls,
                    customize,
                    config.io_retries_times,
                    config.io_retry_wait_time_ms,
                    config.initial_connection_window_size,
                    config.initial_stream_window_size,
                )
                .await?
            }
        };
        let clients = self.clone();
        let give_back = move |client| {
            let idle = Idle { client: Client(client), since: Instant::now() };
            clients.change(|by_key| by_key.entry(key).or_default().push(idle));
        };
        Ok(PooledClient::new(client, Box::new(give_back)))
    }

    async fn evict_idle(&self) {
        self.drop_idle();
    }
}
