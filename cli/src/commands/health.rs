//! `firesteel health`: asks the health server of a role over HTTP, for a container that holds no other program.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::context::{Context, Outcome};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How many bytes of an answer are read. An answer has a line or two.
const MOST: u64 = 64 << 10;

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// What to ask
    #[arg(
        value_name = "URL",
        env = "FIRESTEEL_HEALTH_URL",
        default_value = "http://127.0.0.1:50050/healthz"
    )]
    pub(crate) url: Url,
}

pub(crate) async fn run(args: HealthArgs, context: Context) -> anyhow::Result<Outcome> {
    tokio::select! {
        asked = tokio::time::timeout(TIMEOUT, ask(&args.url)) => match asked {
            Ok(asked) => asked.map(|()| Outcome::Done),
            Err(_) => bail!("{} does not answer within {} s", args.url, TIMEOUT.as_secs()),
        },
        () = context.signals.shutdown.cancelled() => Ok(Outcome::Interrupted),
    }
}

/// Fails unless the answer is 200.
async fn ask(url: &Url) -> anyhow::Result<()> {
    let failed = || format!("{url} does not answer (FIRESTEEL_HEALTH_URL)");
    ensure!(url.scheme() == "http", "{url} is not an http:// address (FIRESTEEL_HEALTH_URL)");
    let addresses = url.socket_addrs(|| None).with_context(failed)?;
    let mut stream = TcpStream::connect(addresses.as_slice()).await.with_context(failed)?;
    let host = url.host_str().unwrap_or_default();
    let request = format!("GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", url.path());
    stream.write_all(request.as_bytes()).await.with_context(failed)?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await.with_context(failed)?;
    match status(&answer) {
        Some(200) => Ok(()),
        Some(status) => bail!("{url} answers {status}: {}", body(&answer)),
        None => bail!("{url} does not speak HTTP (FIRESTEEL_HEALTH_URL)"),
    }
}

/// The status of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// The body of an answer on one line.
fn body(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    body.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn an_answer_is_read_and_nothing_else_is_one() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\nok\n", Some(200)),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\nno", Some(503)),
            ("HTTP/1.1 \r\n", None),
            ("SSH-2.0\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(answer.as_bytes()), expected, "{answer}");
        }
        assert_eq!(body(b"HTTP/1.1 503 x\r\nA: b\r\n\r\nno oil\nno match\n"), "no oil no match");
    }

    /// The result of `ask` for a server with this answer.
    async fn told(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("a reader");
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let url = format!("http://{address}/readyz").parse().expect("an address");
        let told = ask(&url).await.map_err(|error| error.to_string());
        assert!(server.await.expect("no panic").starts_with("GET /readyz HTTP/1.1\r\n"));
        told
    }

    #[tokio::test]
    async fn only_200_is_well() {
        assert_eq!(told("HTTP/1.1 200 OK\r\n\r\nok\n").await, Ok(()));
        let away =
            told("HTTP/1.1 503 Service Unavailable\r\n\r\nKafka is away\n").await.expect_err("not well");
        assert!(away.contains("503: Kafka is away"), "{away}");
        let other = told("hello").await.expect_err("no HTTP");
        assert!(other.contains("FIRESTEEL_HEALTH_URL"), "{other}");
    }
}
