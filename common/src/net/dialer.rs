//! How a client reaches a server: by TLS or not, and with which credential.
//!
//! Ballista makes most of the channels of a cluster itself, and lets us change the endpoint of each before it connects. So a
//! credential travels in the one header that an endpoint can carry, the user agent; the
//! [`gate`](crate::access::gate()) reads it there and takes it out. Outside of TLS it is sent to this machine only.

use std::fmt;
use std::net::IpAddr;

use axum::http::Uri;
use axum::http::uri::Scheme;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::dial;
use crate::ConfigField;
use crate::access::{IN_USER_AGENT, Secret};
use crate::tls::{Authorities, ClientTls};

/// The name and version of this program, for the user agent.
const AGENT: &str = concat!("firesteel/", env!("CARGO_PKG_VERSION"));

/// How a client reaches servers. The default knows neither TLS nor a credential.
#[derive(Clone, Default)]
pub struct Dialer {
    tls: Option<ClientTls>,
    credential: Option<Secret>,
    insecure: bool,
}

/// Why a server cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The credential would leave this machine unencrypted.
    #[error(
        "the credential would travel to {host} unencrypted: name the authority of its certificate ({}), or say that the \
         network is to be trusted ({})",
        ConfigField::TlsCa,
        ConfigField::AccessInsecure
    )]
    Exposed {
        /// The host of the server.
        host: String,
    },
    /// A server that speaks TLS, and nobody to trust.
    #[error("{url} asks for TLS, and no authority is trusted ({})", ConfigField::TlsCa)]
    NoAuthority {
        /// The address of the server.
        url: String,
    },
    /// An address or a setting that the transport cannot use.
    #[error("cannot prepare a connection: {0}")]
    Transport(#[from] tonic::transport::Error),
}

impl Dialer {
    /// Reaches servers by TLS, and trusts these authorities.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<ClientTls>) -> Self {
        self.tls = tls;
        self
    }

    /// Sends a credential: a user's token, or the secret of the cluster.
    #[must_use]
    pub fn with_credential(mut self, credential: Option<Secret>) -> Self {
        self.credential = credential;
        self
    }

    /// Sends the credential to other machines without TLS, too.
    #[must_use]
    pub fn with_insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }

    /// The credential, for a header where one can be set.
    #[must_use]
    pub fn credential(&self) -> Option<&Secret> {
        self.credential.as_ref()
    }

    /// Whether servers are reached by TLS.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whom the certificates of servers are checked against now, where servers are reached by TLS.
    pub(super) fn authorities(&self) -> Option<Authorities> {
        self.tls.as_ref().map(ClientTls::authorities)
    }

    /// The scheme of the servers' addresses.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.uses_tls() { "https" } else { "http" }
    }

    /// The address of the server at `authority`, a host and a port.
    #[must_use]
    pub fn url(&self, authority: &str) -> String {
        format!("{}://{authority}", self.scheme())
    }

    /// The endpoint of `url`, whose scheme becomes the dialer's.
    ///
    /// # Errors
    /// [`DialError`].
    pub fn endpoint(&self, url: &str) -> Result<Endpoint, DialError> {
        self.prepare(Endpoint::from_shared(url.to_owned())?, |endpoint| endpoint)
    }

    /// Adds TLS and credential to an endpoint that somebody else has made, and `settings`. An endpoint has the scheme that it
    /// was made with, so one of `http` is made anew where the dialer uses TLS. [`Endpoints`](super::Endpoints) do so once for
    /// each server.
    ///
    /// # Errors
    /// [`DialError`].
    pub fn prepare(
        &self,
        endpoint: Endpoint,
        settings: impl FnOnce(Endpoint) -> Endpoint,
    ) -> Result<Endpoint, DialError> {
        let uri = endpoint.uri().clone();
        let by_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let endpoint = match &self.tls {
            None if by_tls => return Err(DialError::NoAuthority { url: uri.to_string() }),
            None => settings(endpoint),
            Some(tls) => {
                let endpoint = if by_tls { endpoint } else { Endpoint::from_shared(as_https(&uri))? };
                settings(endpoint).tls_config_with_verifier(ClientTlsConfig::new(), tls.verifier())?
            }
        };
        let Some(credential) = &self.credential else { return Ok(endpoint.user_agent(AGENT)?) };
        if self.tls.is_none() && !self.insecure && !is_loopback(&uri) {
            return Err(DialError::Exposed { host: uri.host().unwrap_or_default().to_owned() });
        }
        Ok(endpoint.user_agent(format!("{AGENT} {IN_USER_AGENT}{}", credential.expose()))?)
    }

    /// Connects to an endpoint of this dialer. The channel reconnects by itself and refuses to connect to itself.
    ///
    /// # Errors
    /// The transport's.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
        endpoint.connect_with_connector(tower::service_fn(dial)).await
    }

    /// A channel to an endpoint of this dialer, which connects when it is first used. Must be called inside a runtime.
    #[must_use]
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        endpoint.connect_with_connector_lazy(tower::service_fn(dial))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("tls", &self.tls.is_some())
            .field("credential", &self.credential)
            .field("insecure", &self.insecure)
            .finish()
    }
}

fn as_https(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("https://{authority}")
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_leaves_the_machine_only_by_tls_or_on_demand() {
        let dialer = Dialer::default().with_credential(Some(Secret::random()));
        for (url, allowed) in [
            ("http://127.0.0.1:50050", true),
            ("http://[::1]:50050", true),
            ("http://localhost:50050", true),
            ("http://10.0.0.7:50050", false),
            ("http://localhost.example:50050", false),
        ] {
            let endpoint = dialer.endpoint(url);
            assert_eq!(endpoint.is_ok(), allowed, "{url}");
            if let Err(error) = endpoint {
                let words = error.to_string();
                assert!(words.contains("tls.ca") && words.contains("access.insecure"), "{words}");
            }
            assert!(dialer.clone().with_insecure(true).endpoint(url).is_ok(), "{url}");
            assert!(Dialer::default().endpoint(url).is_ok(), "{url}");
        }
        let error = dialer.endpoint("https://127.0.0.1:50050").expect_err("nobody to trust").to_string();
        assert!(error.contains("tls.ca"), "{error}");
    }

    #[test]
    fn a_dialer_does_not_print_its_credential() {
        let secret = Secret::random();
        let shown = format!("{:?}", Dialer::default().with_credential(Some(secret.clone())));
        assert!(shown.contains("redacted") && !shown.contains(secret.expose()), "{shown}");
    }
}
