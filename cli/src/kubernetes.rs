//! The one call of Kubernetes' API that the binary makes: to create an object, from inside a pod, as the pod's account.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use firesteel_common::tls::ClientTls;

/// How long the API server may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many bytes of an answer are read.
const MOST: u64 = 64 << 10;

/// The API server as a pod's account sees it.
pub(crate) struct Api {
    host: String,
    port: u16,
    namespace: String,
    token: String,
    tls: TlsConnector,
}

impl Api {
    /// Reads `namespace`, `token` and `ca.crt` in the folder that Kubernetes mounts into a pod.
    ///
    /// # Errors
    /// A file that cannot be read or used, and an address that is none.
    pub(crate) fn open(url: &Url, account: &Path) -> anyhow::Result<Self> {
        ensure!(url.scheme() == "https", "{url} is not an https:// address (--api-server)");
        let host = url.host_str().with_context(|| format!("{url} names no host (--api-server)"))?;
        let read = |name: &str| {
            let path = account.join(name);
            let text = std::fs::read_to_string(&path);
            text.with_context(|| format!("cannot read {} (--service-account)", path.display()))
        };
        let verifier = ClientTls::open(&account.join("ca.crt")).context("--service-account")?.verifier();
        let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self {
            host: host.to_owned(),
            port: url.port_or_known_default().unwrap_or(443),
            namespace: read("namespace")?.trim().to_owned(),
            token: read("token")?.trim().to_owned(),
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Creates an object of the account's namespace; says whether it did, or one of its name was there.
    ///
    /// # Errors
    /// Whatever else the API server says, and none of it within 30 s.
    pub(crate) async fn create(&self, resource: &str, object: Value) -> anyhow::Result<bool> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let asked = tokio::time::timeout(TIMEOUT, self.post(resource, object)).await;
        let (status, words) = asked.with_context(|| {
            format!("{} does not answer within {} s (--api-server)", self.host, TIMEOUT.as_secs())
        })??;
        match status {
            200..=299 => Ok(true),
            409 => Ok(false),
            _ => bail!("{} does not create {resource}/{name}: {status}: {words}", self.host),
        }
    }

    async fn post(&self, resource: &str, object: Value) -> anyhow::Result<(u16, String)> {
        let Self { host, port, namespace, token, tls } = self;
        let failed = || format!("{host}:{port} does not answer (--api-server)");
        let stream = TcpStream::connect((host.as_str(), *port)).await.with_context(failed)?;
        let name = ServerName::try_from(host.clone()).with_context(failed)?;
        let mut stream = tls.connect(name, stream).await.with_context(failed)?;
        let body = object.to_string();
        let request = format!(
            "POST /api/v1/namespaces/{namespace}/{resource} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nAccept: application/json\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.with_context(failed)?;
        let mut answer = Vec::new();
        // A server may close without TLS' own goodbye; what it said before counts.
        let read = stream.take(MOST).read_to_end(&mut answer).await;
        if answer.is_empty() {
            read.with_context(failed)?;
        }
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("{host} does not speak HTTP (--api-server)"))?;
        Ok((status, message(&answer)))
    }
}

/// The message of an answer's JSON, which names what was wrong and holds nothing of the object.
fn message(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json = body.find('{').zip(body.rfind('}')).and_then(|(start, end)| body.get(start..=end));
    let json = json.and_then(|json| serde_json::from_str::<Value>(json).ok());
    json.and_then(|json| json["message"].as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_message_alone() {
        let answer = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n\r\n\
                      {\"kind\":\"Status\",\"message\":\"secrets is forbidden\",\"code\":403}\n";
        assert_eq!(message(answer), "secrets is forbidden");
        assert_eq!(message("HTTP/1.1 500 No\r\n\r\nnothing"), "");
    }
}
