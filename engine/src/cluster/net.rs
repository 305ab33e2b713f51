//! The sockets of the cluster: listeners, and channels to other processes.
//!
//! Every socket has Nagle's algorithm off: with it each answer waits 40 ms for an acknowledgement, and a query needs a
//! dozen answers. Outgoing connections are dialled by [`firesteel_common::net`], which refuses a socket that is connected
//! to itself, speaks TLS and sends the credential.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::EndpointOverrideFn;
use firesteel_common::error::root_cause;
use firesteel_common::net::{Dialer, Endpoints};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

use crate::{ConfigField, Error, Result};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The interval of keepalive pings to a silent peer, and how long an answer may take. A machine that fails closes no
/// connection, so only a missing answer shows that it is gone.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for a client, while it waits for an answer.
const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const CLIENT_PING_INTERVAL: Duration = Duration::from_secs(20);
const CLIENT_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How many bytes of results may be on the way to a client, over a connection and in one stream of it.
const CLIENT_CONNECTION_WINDOW: u32 = 64 << 20;
const CLIENT_STREAM_WINDOW: u32 = 16 << 20;

/// Listens on `host` and `port`. An error names `fields`, those of the configuration that hold the two.
pub(super) async fn listen(
    host: &str,
    port: u16,
    role: &'static str,
    fields: (ConfigField, ConfigField),
) -> Result<(TcpListener, SocketAddr)> {
    let bound = async {
        let listener = TcpListener::bind((host, port)).await?;
        let address = listener.local_addr()?;
        io::Result::Ok((listener, address))
    };
    bound.await.map_err(|error| Error::Listen {
        role,
        address: format!("{host}:{port}"),
        host: fields.0,
        port: fields.1,
        message: error.to_string(),
    })
}

/// Sets the timeouts and the keepalive that every connection within the cluster has.
pub(super) fn limited(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// Sets what connections of a client to the cluster have. Its answers may take as long as a query does, so that only a peer
/// that answers no ping is given up; a scheduler may be busy for longer than one member of the cluster is patient with another.
fn patient(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CLIENT_CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(CLIENT_PING_INTERVAL)
        .keep_alive_timeout(CLIENT_PING_TIMEOUT)
        .initial_connection_window_size(CLIENT_CONNECTION_WINDOW)
        .initial_stream_window_size(CLIENT_STREAM_WINDOW)
}

/// Opens a channel to `url`, which reconnects by itself and refuses to connect to itself. An error is the innermost cause.
pub(super) async fn connect(dialer: &Dialer, url: &str) -> Result<Channel, String> {
    let endpoint = dialer.endpoint(url).map_err(|error| error.to_string())?;
    dialer.connect(&limited(endpoint)).await.map_err(|error| root_cause(&error))
}

/// Returns what gives an endpoint of Ballista's client the timeouts, TLS and the credential of `dialer`.
pub(crate) fn customize_client(dialer: Dialer) -> EndpointOverrideFn {
    let endpoints = Endpoints::new(dialer, patient);
    Arc::new(move |endpoint| Ok(endpoints.instead_of(endpoint)?))
}

/// Returns what gives an endpoint of Ballista within the cluster the timeouts, TLS and the credential of `dialer`.
pub(super) fn customize(dialer: Dialer) -> EndpointOverrideFn {
    let endpoints = Endpoints::new(dialer, limited);
    Arc::new(move |endpoint| Ok(endpoints.instead_of(endpoint)?))
}

/// Formats host and port as in a URL.
pub(crate) fn authority(host: &str, port: u16) -> String {
    // An IPv6 address needs brackets.
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_names_the_field() {
        let fields = (ConfigField::SchedulerBindHost, ConfigField::SchedulerBindPort);
        let (_taken, address) = listen("127.0.0.1", 0, "the test", fields).await.unwrap();
        let error = listen("127.0.0.1", address.port(), "the test", fields).await.unwrap_err();
        assert!(error.to_string().contains("scheduler.bind_port"), "{error}");
        assert_eq!(error.field(), Some(ConfigField::SchedulerBindPort));
    }

    #[test]
    fn an_ipv6_address_has_brackets() {
        assert_eq!(authority("::1", 7), "[::1]:7");
        assert_eq!(authority("host", 7), "host:7");
    }
}
