//! TLS for servers and clients, with certificates that are read again when they change.
//!
//! A [`ServerTls`] holds a certificate chain and its key, a [`ClientTls`] the authorities that a client trusts. Both look at
//! their files when a connection is made, so a new certificate counts from the next connection on, and those that exist
//! go on. Ciphers are those of *ring*; the versions are TLS 1.2 and 1.3.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::TlsAcceptor;

use crate::ConfigField;
use crate::files::{Watched, private_text};

/// The protocols that a server offers, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate, key or authority that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be used ({field}): {source}", path.display())]
pub struct TlsError {
    /// The field of the configuration that names the file.
    pub field: ConfigField,
    /// The file.
    pub path: PathBuf,
    /// The problem.
    pub source: io::Error,
}

/// The certificate of a server. Clones share it.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Reads a chain of certificates and the key of the first, both as PEM, and reads them again when they change.
    ///
    /// # Errors
    /// [`TlsError`]: a file that cannot be read, a key that everybody can read, or a key that is not the certificate's.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        // One after the other first, so that an error names the right file.
        certificates(certificate).map_err(|source| TlsError {
            field: ConfigField::TlsCert,
            path: certificate.to_owned(),
            source,
        })?;
        let of_key = |source| TlsError { field: ConfigField::TlsKey, path: key.to_owned(), source };
        private_key(key).map_err(of_key)?;

        let files = vec![certificate.to_owned(), key.to_owned()];
        let (certificate, key_file) = (certificate.to_owned(), key.to_owned());
        let read = move || certified(&certificate, &key_file);
        let current = Current(Watched::open(files, read).map_err(of_key)?);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| of_key(io::Error::other(error)))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(current));
        config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        Ok(Self { config: Arc::new(config) })
    }

    /// What accepts connections with the current certificate.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// Answers each connection with the certificate that the files hold then.
struct Current(Watched<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

/// The authorities that a client trusts. Clones share them.
#[derive(Clone)]
pub struct ClientTls {
    verifier: Arc<Verifier>,
}

impl ClientTls {
    /// Reads certificates of authorities as PEM, and reads them again when they change.
    ///
    /// # Errors
    /// [`TlsError`]: a file that cannot be read or that holds no certificate.
    pub fn open(authorities: &Path) -> Result<Self, TlsError> {
        let file = authorities.to_owned();
        let watched = Watched::open(vec![authorities.to_owned()], move || verifier(&file))
            .map_err(|source| TlsError { field: ConfigField::TlsCa, path: authorities.to_owned(), source })?;
        Ok(Self { verifier: Arc::new(Verifier(watched)) })
    }

    /// The authorities that are trusted now.
    pub(crate) fn authorities(&self) -> Authorities {
        Authorities(Arc::clone(&self.verifier.0.get()))
    }

    /// What checks the certificate of a server against the current authorities.
    #[must_use]
    pub fn verifier(&self) -> Arc<dyn ServerCertVerifier> {
        Arc::<Verifier>::clone(&self.verifier)
    }
}

/// The authorities that were trusted at some moment. They equal others that are the same reading of the same file.
#[derive(Clone)]
pub(crate) struct Authorities(Arc<WebPkiServerVerifier>);

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// Checks each certificate against the authorities that the file holds then.
struct Verifier(Watched<Arc<WebPkiServerVerifier>>);

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.get().verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.get().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.get().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.get().supported_verify_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn invalid(problem: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| invalid(error.to_string()))?;
    if chain.is_empty() {
        return Err(invalid("it holds no certificate in PEM"));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> io::Result<PrivateKeyDer<'static>> {
    // The error of a parser may quote what it read, so its words are not taken over.
    PrivateKeyDer::from_pem_slice(private_text(path)?.as_bytes())
        .map_err(|_| invalid("it holds no private key in PEM (PKCS#8, PKCS#1 or SEC1, without a password)"))
}

fn certified(certificate: &Path, key: &Path) -> io::Result<CertifiedKey> {
    let (chain, key) = (certificates(certificate)?, private_key(key)?);
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            invalid(format!("it is not the key of {}", certificate.display()))
        }
        other => invalid(other),
    })
}

fn verifier(path: &Path) -> io::Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(invalid)?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(invalid)
}
