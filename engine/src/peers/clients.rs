//! A pool of connections from which shuffle files and results are fetched.
//!
//! A connection is taken out of the pool for one fetch and returned afterwards, so as many are open as files are fetched at
//! once. Without a pool a query with many shuffles exhausts the ports of the machine, and every fetch waits for a handshake of
//! TLS. Connections that were not used for 30 s are closed when the pool is used next.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, Ticket};
use ballista_core::utils::GrpcClientConfig;
use firesteel_common::error::root_cause;
use firesteel_common::net::Dialer;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::authority;
use crate::error::is_lost_connection;
use crate::wire::MAX_MESSAGE;

/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to an executor's Flight service.
pub(crate) type Client = FlightServiceClient<Channel>;

/// The address of an executor's Flight service, and the windows of its connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    connection_window: u32,
    stream_window: u32,
}

impl Address {
    pub(crate) fn new(host: &str, port: u16, settings: &GrpcClientConfig) -> Self {
        Self {
            host: host.to_owned(),
            port,
            connection_window: settings.initial_connection_window_size,
            stream_window: settings.initial_stream_window_size,
        }
    }
}

/// Idle connections by address. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    idle: Arc<Mutex<HashMap<Address, Vec<Idle>>>>,
    dialer: Dialer,
    settings: fn(Endpoint) -> Endpoint,
}

#[derive(Debug)]
struct Idle {
    client: Client,
    since: Instant,
}

impl Clients {
    /// An empty pool, whose connections `dialer` opens with `settings`.
    pub(crate) fn new(dialer: Dialer, settings: fn(Endpoint) -> Endpoint) -> Self {
        Self { idle: Arc::default(), dialer, settings }
    }

    fn with_idle<T>(&self, change: impl FnOnce(&mut HashMap<Address, Vec<Idle>>) -> T) -> T {
        change(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes an idle connection, or opens one. An error is the innermost cause.
    pub(crate) async fn take(&self, address: &Address) -> Result<Client, String> {
        let idle = self.with_idle(|by_address| {
            expire(by_address);
            by_address.get_mut(address).and_then(Vec::pop)
        });
        match idle {
            Some(idle) => Ok(idle.client),
            None => self.open(address).await,
        }
    }

    /// Returns a connection that has served its fetch to the end.
    pub(crate) fn give_back(&self, address: Address, client: Client) {
        let idle = Idle { client, since: Instant::now() };
        self.with_idle(|by_address| {
            expire(by_address);
            by_address.entry(address).or_default().push(idle);
        });
    }

    /// Streams the output of a task from the executor that has it, or from a scheduler that forwards it. `ticket` is sent to it
    /// as it is.
    pub(crate) async fn output(
        &self,
        host: &str,
        port: u16,
        ticket: Ticket,
    ) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
        let address = Address::new(host, port, &GrpcClientConfig::default());
        let unreachable = |words: String| gone(&words, &address);
        let mut client = self.take(&address).await.map_err(unreachable)?;
        let answer = match client.do_get(ticket.clone()).await {
            // The executor may have closed the connection since, or its place may have been taken by another one.
            Err(status) if status.source().is_some() => {
                client = self.open(&address).await.map_err(unreachable)?;
                client.do_get(ticket).await
            }
            answer => answer,
        };
        let answer = answer.map_err(|status| told(status, &address))?;
        let (pool, rows) = (self.clone(), answer.into_inner());
        let forwarded = stream::try_unfold((rows, Some(client)), move |(mut rows, mut client)| {
            let (pool, address) = (pool.clone(), address.clone());
            async move {
                let next = rows.message().await.map_err(|status| told(status, &address))?;
                if next.is_none()
                    && let Some(client) = client.take()
                {
                    pool.give_back(address, client);
                }
                Ok(next.map(|data| (data, (rows, client))))
            }
        });
        Ok(forwarded.boxed())
    }

    async fn open(&self, address: &Address) -> Result<Client, String> {
        // Zero stands for the transport's default.
        let window = |size: u32| (size > 0).then_some(size);
        let url = self.dialer.url(&authority(&address.host, address.port));
        let endpoint = self.dialer.endpoint(&url).map_err(|error| error.to_string())?;
        let endpoint = (self.settings)(endpoint)
            .initial_connection_window_size(window(address.connection_window))
            .initial_stream_window_size(window(address.stream_window));
        let channel = self.dialer.connect(&endpoint).await.map_err(|error| root_cause(&error))?;
        Ok(Client::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
    }
}

/// What became of a connection, in words, if the status says that the process on the other side went away.
pub(crate) fn lost_connection(status: &Status) -> Option<String> {
    is_lost_connection(status).then(|| match status.source() {
        Some(_) => root_cause(status),
        None => status.message().to_owned(),
    })
}

/// The status to hand on: a broken connection is told as such, since what only this process can see of it does not travel.
fn told(status: Status, address: &Address) -> Status {
    match lost_connection(&status) {
        Some(words) => gone(&words, address),
        None => status,
    }
}

fn gone(words: &str, address: &Address) -> Status {
    Status::unavailable(format!("{}: {words}", authority(&address.host, address.port)))
}

/// Closes connections that nobody has used for long.
fn expire(by_address: &mut HashMap<Address, Vec<Idle>>) {
    by_address.retain(|_, idle| {
        idle.retain(|idle| idle.since.elapsed() < IDLE_TIMEOUT);
        !idle.is_empty()
    });
}
