//! Spark Connect: a program of PySpark's, unchanged, on this engine.
//!
//! ```text
//!  client ──gRPC──▶ service ──▶ session ──▶ operation ──▶ execute ── jobs ──▶ the engine
//!                                  │            ▲            │ relation, expression, functions: Spark's plan → the engine's
//!                                  │            └── parts ───┘ output: the engine's rows → Spark's types
//!                                  └── settings, views, errors in Spark's classes
//! ```
//!
//! What a program asks for means what it means in Spark with ANSI mode off, or it is an error that says what is not
//! supported: nothing silently means something else. Only this module and `proto` know the protocol. docs/spark.md says
//! what works.

mod analyze;
mod cast;
mod command;
mod error;
mod execute;
mod expression;
mod files;
mod frame;
mod functions;
mod literal;
mod operation;
mod output;
mod planner;
mod relation;
mod scope;
mod service;
mod session;
mod settings;
mod show;
mod statement;
mod types;

use std::net::SocketAddr;
use std::sync::Arc;

use firesteel_common::access::{Access, Doors, gate};
use firesteel_common::http;
use firesteel_common::tls::ServerTls;
use firesteel_proto::spark::connect::spark_connect_service_server::SparkConnectServiceServer;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

use self::service::Service;
use self::session::Sessions;
use crate::{ConfigField, Error, Result, Session};

const ROLE: &str = "Spark Connect";

/// The largest request, in bytes: rows of a client travel within its plan.
const LARGEST_REQUEST: usize = 128 << 20;

/// Where Spark's clients are served, and who may ask.
#[derive(Clone, Debug)]
pub struct SparkConnectConfig {
    /// The address and the port; port 0: one that the system picks.
    pub listen: SocketAddr,
    /// Who may ask.
    pub access: Arc<Access>,
    /// The certificate; `None`: without TLS.
    pub tls: Option<ServerTls>,
    /// Whether other machines may reach a port that asks nobody who they are.
    pub insecure: bool,
}

/// A server for Spark's clients that has bound its port and does not serve yet.
#[derive(Debug)]
pub struct SparkConnect {
    listener: TcpListener,
    address: SocketAddr,
    config: SparkConnectConfig,
    sessions: Arc<Sessions>,
}

impl SparkConnect {
    /// Binds the port. All clients share the engine of `session`, and each has a session of its own.
    ///
    /// # Errors
    /// An address of other machines without authentication, and a port that cannot be used.
    pub fn bind(config: SparkConnectConfig, session: Session) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let host = ConfigField::SparkConnectListen;
            crate::cluster::check_exposure(ROLE, config.listen, host, &config.access, config.insecure)?;
            let bound = async {
                let listener = TcpListener::bind(config.listen).await?;
                let address = listener.local_addr()?;
                std::io::Result::Ok((listener, address))
            };
            let (listener, address) = bound.await.map_err(|error| Error::Listen {
                role: ROLE,
                address: config.listen.to_string(),
                host,
                port: host,
                message: error.to_string(),
            })?;
            let sessions = Arc::new(Sessions::new(session));
            Ok(Self { listener, address, config, sessions })
        })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is cancelled, and ends the engine.
    ///
    /// # Errors
    /// None so far.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let service = Service { sessions: Arc::clone(&self.sessions) };
            let service = SparkConnectServiceServer::new(service).max_decoding_message_size(LARGEST_REQUEST);
            let mut routes = RoutesBuilder::default();
            routes.add_service(service);
            let router =
                routes.routes().into_axum_router().layer(gate(Arc::clone(&self.config.access), Doors::new()));
            let mut limits = http::Limits::default();
            limits.message_bytes = limits.message_bytes.max(LARGEST_REQUEST * 2);
            tracing::info!(address = %self.address, "Spark Connect is ready");
            let server =
                http::Server::new(self.listener, router).with_tls(self.config.tls).with_limits(limits);
            // An answer that is being made would keep its connection open.
            let sessions = Arc::clone(&self.sessions);
            let interrupt = async {
                shutdown.cancelled().await;
                sessions.interrupt();
            };
            tokio::join!(server.run(shutdown.clone()), interrupt);
            self.sessions.shutdown().await;
            Ok(())
        })
    }
}
