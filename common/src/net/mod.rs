//! Dialling a peer over TCP, without ever reaching oneself.
//!
//! The usual ports of our servers lie in the range from which the system takes the ports of outgoing connections. A
//! client that keeps trying an address of its own machine on which nobody listens is, sooner or later, given that very
//! port, and TCP then connects the socket to itself: the client would talk to itself, and the server could not take its
//! port back. Such a socket is refused. Small messages are sent at once: with Nagle's algorithm an answer waits 40 ms for
//! an acknowledgement.

mod dialer;
mod endpoints;

use std::io;

use axum::http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub use dialer::{DialError, Dialer};
pub use endpoints::Endpoints;

/// Connects to the host and port of `uri`: the connector of a gRPC channel.
///
/// # Errors
/// A URI without a host, a peer that cannot be reached, or a socket that is connected to itself.
pub async fn dial(uri: Uri) -> io::Result<TokioIo<TcpStream>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "expected http://HOST:PORT");
    // An IPv6 address stands in brackets in a URI, and without them in an address.
    let host = uri.host().ok_or_else(invalid)?.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    refuse_itself(&stream)?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

/// Checks that a socket is not connected to itself.
///
/// # Errors
/// `ConnectionRefused` for a socket that is, as if nobody listened there, which is so.
pub fn refuse_itself(stream: &TcpStream) -> io::Result<()> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    #[tokio::test]
    async fn a_socket_that_is_connected_to_itself_is_refused() {
        // Bound and connected to the same port, with nobody listening: TCP's simultaneous open with itself.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = socket.local_addr().expect("bound");
        let stream = socket.connect(address).await.expect("connected to itself");
        let error = refuse_itself(&stream).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
