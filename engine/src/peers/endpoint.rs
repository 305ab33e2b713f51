//! The timeouts and windows of connections within a cluster, and of those of its clients.

use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::Authority;
use ballista_core::extension::EndpointOverrideFn;
use firesteel_common::net::{Dialer, Endpoints};
use tonic::transport::Endpoint;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The interval of keepalive pings to a silent peer, and how long an answer may take. A machine that fails closes no
/// connection, so only a missing answer shows that it is gone.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for a client.
const CLIENT_PING_INTERVAL: Duration = Duration::from_secs(10);
const CLIENT_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How many bytes may be on the way to a client, over a connection and in one stream of it.
const CLIENT_CONNECTION_WINDOW: u32 = 64 << 20;
const CLIENT_STREAM_WINDOW: u32 = 16 << 20;

/// Sets the timeouts and the keepalive that every connection within the cluster has.
pub(crate) fn limited(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// Sets what connections of a client to the cluster have. A scheduler may be busy for longer than one member of the cluster is
/// patient with another, and an answer takes as long as a query does: only a peer that answers no ping is given up.
pub(crate) fn patient(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(CLIENT_PING_INTERVAL)
        .keep_alive_timeout(CLIENT_PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(CLIENT_CONNECTION_WINDOW)
        .initial_stream_window_size(CLIENT_STREAM_WINDOW)
}

/// Returns what gives the endpoints that Ballista makes TLS and the credential of `dialer`, and `settings`.
pub(crate) fn customize(dialer: Dialer, settings: fn(Endpoint) -> Endpoint) -> EndpointOverrideFn {
    let endpoints = Endpoints::new(dialer, settings);
    Arc::new(move |endpoint| Ok(endpoints.instead_of(endpoint)?))
}

/// Formats host and port as in a URL.
pub(crate) fn authority(host: &str, port: u16) -> String {
    // An IPv6 address needs brackets.
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Host and port in what [`authority`] has made.
pub(crate) fn host_and_port(authority: &str) -> Option<(String, u16)> {
    let authority: Authority = authority.parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), authority.port_u16()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_has_brackets() {
        assert_eq!(authority("::1", 7), "[::1]:7");
        assert_eq!(authority("host", 7), "host:7");
        for host in ["::1", "host", "10.0.0.7"] {
            assert_eq!(host_and_port(&authority(host, 7)), Some((host.to_owned(), 7)));
        }
        assert_eq!(host_and_port("host"), None);
    }
}
