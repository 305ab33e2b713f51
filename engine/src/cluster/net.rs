//! The sockets of the cluster: listeners, and channels to other processes.
//!
//! Every socket has Nagle's algorithm off: with it each answer waits 40 ms for an acknowledgement, and a query needs a
//! dozen answers. Outgoing connections are dialled by [`firesteel_common::net`], which refuses a socket that is connected
//! to itself, speaks TLS and sends the credential.

use std::io;
use std::net::SocketAddr;

use firesteel_common::error::root_cause;
use firesteel_common::net::Dialer;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::peers::limited;
use crate::{ConfigField, Error, Result};

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

/// Opens a channel to `url`, which reconnects by itself and refuses to connect to itself. An error is the innermost cause.
pub(super) async fn connect(dialer: &Dialer, url: &str) -> Result<Channel, String> {
    let endpoint = dialer.endpoint(url).map_err(|error| error.to_string())?;
    dialer.connect(&limited(endpoint)).await.map_err(|error| root_cause(&error))
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
}
