//! Who may ask, and how connections are encrypted: the settings of a server of the cluster and of a client.
//!
//! Without any of them everybody who reaches a port may do everything, which is for loopback alone: a server refuses to
//! listen on another address then, unless `insecure` is set.

use std::path::PathBuf;

use firesteel_common::access::Secret;

/// How a scheduler or an executor knows who asks, and how its connections are encrypted.
#[derive(Clone, Debug, Default)]
pub struct ServerSecurity {
    /// The file of the users, a line each: name, role (`reader`, `writer`, `admin`) and token. It is read again when it
    /// changes.
    pub tokens_file: Option<PathBuf>,
    /// What scheduler and executors of one cluster share, and prove to each other.
    pub cluster_secret: Option<Secret>,
    /// Secrets that the cluster had before and that are accepted still, while the secret is replaced.
    pub former_cluster_secrets: Vec<Secret>,
    /// The server's certificate and key. `None`: no TLS.
    pub tls: Option<TlsFiles>,
    /// The certificates of the authorities that sign those of the cluster's other servers. `None`: those of the system.
    pub tls_ca: Option<PathBuf>,
    /// Host names under which the port may be asked, besides the address, `localhost` and the external host.
    pub allow_hosts: Vec<String>,
    /// Whether the port may be open to other machines without authentication, and credentials may travel without TLS.
    pub insecure: bool,
}

impl ServerSecurity {
    /// Whether a caller has to say who it is.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        self.tokens_file.is_some() || self.cluster_secret.is_some()
    }
}

/// A certificate and its key, as PEM files. They are read again when they change, for new connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with those between it and its authority behind it.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How a session proves who it is, and whom it trusts.
#[derive(Clone, Debug, Default)]
pub struct ClientSecurity {
    /// The token of the user, which the scheduler looks up in its file.
    pub token: Option<Secret>,
    /// The certificates of the authorities that sign the scheduler's, as a PEM file. `None`: those of the system.
    pub tls_ca: Option<PathBuf>,
    /// Whether the token may travel to another machine without TLS.
    pub insecure: bool,
}
