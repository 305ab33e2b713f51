//! Requests as anybody can write them: bytes on a socket, HTTP/1.1, and calls of gRPC over HTTP/2, with or without TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use firesteel_common::tls::ClientTls;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::{HeaderMap, Request};

/// How long an answer may take before there is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a call may be silent before it counts as one that goes on.
const QUIET: Duration = Duration::from_secs(1);

/// A connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Somebody who may connect to a port.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    tls: Option<ClientTls>,
}

/// What a request says of the one who sends it.
#[derive(Clone, Copy, Default)]
pub(super) struct Manner<'a> {
    pub(super) token: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
}

impl Peer {
    /// Somebody who uses TLS where they trust an authority.
    pub(super) fn new(address: SocketAddr, authority: Option<&Path>) -> Self {
        let tls = authority.map(|file| ClientTls::open(file).expect("an authority"));
        Self { address, tls }
    }

    /// Connects, and says which protocol it is going to speak.
    pub(super) async fn open(&self, protocol: &str) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(io::Error::other)?.dangerous();
        let mut config = builder.with_custom_certificate_verifier(tls.verifier()).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::from(self.address.ip());
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }

    /// The status and the body of a GET; `None` where there is no answer of HTTP.
    pub(super) async fn get(&self, path: &str, token: Option<&str>) -> Option<(u16, String)> {
        self.http("GET", path, Manner { token, ..Manner::default() }).await
    }

    /// The status and the body of a request of HTTP/1.1; `None` where there is no answer of HTTP.
    pub(super) async fn http(&self, method: &str, path: &str, manner: Manner<'_>) -> Option<(u16, String)> {
        let address = self.address.to_string();
        let host = manner.host.unwrap_or(&address);
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n");
        if let Some(token) = manner.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        if let Some(origin) = manner.origin {
            head += &format!("Origin: {origin}\r\n");
        }
        let request = format!("{head}\r\n");
        let mut sent = self.send(request.as_bytes(), PATIENCE).await;
        // A connection that the other side closes at once may be reset before its answer has been read.
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset) {
            sent = self.send(request.as_bytes(), PATIENCE).await;
        }
        let bytes = sent.ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some((status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
    }

    /// Sends bytes, and returns what comes back until the other side closes or nothing has come for a while.
    pub(super) async fn send(&self, bytes: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
        let asked = async {
            let mut stream = self.open("http/1.1").await?;
            // Whoever is refused early may be cut off while still sending.
            let written = stream.write_all(bytes).await;
            let mut answer = Vec::new();
            let read = timeout(patience, stream.read_to_end(&mut answer)).await;
            match (written, read) {
                _ if !answer.is_empty() => Ok(answer),
                (Err(error), _) | (_, Ok(Err(error))) => Err(error),
                _ => Ok(answer),
            }
        };
        timeout(patience * 2, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// What a call of gRPC with these bytes is answered; `None` where there is no answer of HTTP/2.
    pub(super) async fn call(&self, path: &str, body: Bytes, manner: Manner<'_>) -> Option<Called> {
        timeout(PATIENCE, self.called(path, body, manner)).await.ok()?
    }

    async fn called(&self, path: &str, body: Bytes, manner: Manner<'_>) -> Option<Called> {
        let stream = timeout(PATIENCE, self.open("h2")).await.ok()?.ok()?;
        let (client, connection) = h2::client::handshake(stream).await.ok()?;
        let driver = tokio::spawn(connection);
        let answer = Self::over(client, path, body, manner, self.address).await;
        driver.abort();
        answer
    }

    async fn over(
        client: h2::client::SendRequest<Bytes>,
        path: &str,
        body: Bytes,
        manner: Manner<'_>,
        address: SocketAddr,
    ) -> Option<Called> {
        let mut client = client.ready().await.ok()?;
        let host = manner.host.map_or_else(|| address.to_string(), str::to_owned);
        let mut request = Request::post(format!("http://{host}{path}"))
            .header("content-type", "application/grpc")
            .header("ballista-version", "55.0.0")
            .header("te", "trailers");
        if let Some(token) = manner.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(origin) = manner.origin {
            request = request.header("origin", origin);
        }
        let (answer, mut sending) = client.send_request(request.body(()).ok()?, false).ok()?;
        // The answer may be there before the body has gone.
        let _ = sending.send_data(body, true);
        let answer = answer.await.ok()?;
        let (parts, mut body) = answer.into_parts();
        if let Some(code) = code(&parts.headers) {
            return Some(Called::Grpc(code));
        }
        if parts.status != 200 {
            return Some(Called::Http(parts.status.as_u16()));
        }
        loop {
            match timeout(QUIET, body.data()).await {
                Ok(Some(Ok(data))) => {
                    let _ = body.flow_control().release_capacity(data.len());
                }
                Ok(Some(Err(_))) => return None,
                Ok(None) => break,
                Err(_) => return Some(Called::GoesOn),
            }
        }
        let trailers = body.trailers().await.ok()??;
        code(&trailers).map(Called::Grpc)
    }
}

fn code(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The answer to a call of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// A status of gRPC.
    Grpc(i32),
    /// A status of HTTP: the call did not come as far as gRPC.
    Http(u16),
    /// It is being answered.
    GoesOn,
}
