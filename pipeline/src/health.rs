//! The health server of a component, for Kubernetes and for Prometheus.
//!
//! A component counts where the facts come true (its `Stats`); its `Metrics` reads them when somebody asks and is the
//! [`HealthSource`] of a [`Server`], which the binary runs beside the component. There is no global registry: what is
//! reported on is passed. The routes are those of [`firesteel_common::http`].

use crate::error::{Error, Result};
use firesteel_common::http::HealthServer;
pub use firesteel_common::http::{HealthSource, Readiness};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A health server that has its address and does not answer yet.
#[derive(Debug)]
pub struct Server(HealthServer);

impl Server {
    /// Binds an address; port 0 is any free one.
    ///
    /// # Errors
    /// [`Error::Health`], which names it.
    pub async fn bind(listen: SocketAddr) -> Result<Self> {
        let bound = HealthServer::bind(listen).await;
        bound.map(Self).map_err(|source| Error::Health { address: listen, source })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Reports on `source` until `shutdown`.
    pub async fn run(self, source: Arc<dyn HealthSource>, shutdown: CancellationToken) {
        self.0.run(source, shutdown).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_its_setting() {
        let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let taken = Server::bind(server.address()).await.expect_err("a port is one's own").to_string();
        assert!(taken.contains(&server.address().to_string()) && taken.contains("health.listen"), "{taken}");
    }
}
