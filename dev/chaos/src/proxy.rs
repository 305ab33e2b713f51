//! A TCP forwarder that makes a network as bad as a fault wants it.
//!
//! An open proxy forwards. A delayed one waits before each piece of data. One that is cut closes every connection, also new ones.
//! A black hole takes connections and data and hands nothing on; when it ends, what was held goes on its way, as TCP sends again
//! what was lost.

use anyhow::Context as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long the forwarder waits for a server before it asks the next one.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Bytes that are forwarded at once.
const PIECE: usize = 64 << 10;

/// The state of the network in front of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As it should be.
    Open,
    /// Each piece of data comes this much later.
    Delayed(Duration),
    /// Closed.
    Cut,
    /// Nothing comes through.
    BlackHole,
}

/// A running forwarder. It ends with the runtime.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
}

impl Proxy {
    /// Listens on `address` and forwards each connection to the first of `servers` that takes it.
    pub(crate) async fn start(address: SocketAddr, servers: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("no proxy at {address}"))?;
        let address = listener.local_addr()?;
        let mode = Arc::new(watch::Sender::new(Mode::Open));
        let state = Arc::clone(&mode);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = state.subscribe();
                if *state.borrow() != Mode::Cut {
                    tokio::spawn(forward(client, servers.clone(), state));
                }
            }
        });
        Ok(Self { address, mode })
    }

    /// Makes the network so from now on, for connections under way too.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn forward(client: TcpStream, servers: Vec<SocketAddr>, mut mode: watch::Receiver<Mode>) {
    // A closed watch is the end of the harness, and so of the connection.
    if mode.wait_for(|mode| *mode != Mode::BlackHole).await.is_err() {
        return;
    }
    let mut server = None;
    for address in servers {
        if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            server = Some(stream);
            break;
        }
    }
    let Some(server) = server else { return };
    // Without it the forwarder itself would delay small messages.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let both = async {
        tokio::try_join!(
            pump(from_client, to_server, mode.clone()),
            pump(from_server, to_client, mode.clone())
        )
    };
    let mut cut = mode.clone();
    tokio::select! {
        _ = both => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// Forwards one direction to its end, which is passed on.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        let now = *mode.borrow();
        match now {
            Mode::Delayed(by) => tokio::time::sleep(by).await,
            Mode::BlackHole => drop(mode.wait_for(|mode| *mode != Mode::BlackHole).await),
            Mode::Open | Mode::Cut => {}
        }
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Instant;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(ANY).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x").await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        Ok(byte[0])
    }

    #[tokio::test]
    async fn each_mode_does_what_it_says() {
        let nobody = {
            let listener = TcpListener::bind(ANY).await.expect("a port");
            listener.local_addr().expect("bound")
        };
        let proxy = Proxy::start(ANY, vec![nobody, echo().await]).await.expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address).await.expect("connected");
        assert_eq!(ask(&mut stream).await.expect("forwarded"), b'x');

        proxy.set(Mode::Delayed(Duration::from_millis(50)));
        let started = Instant::now();
        ask(&mut stream).await.expect("forwarded");
        assert!(started.elapsed() >= Duration::from_millis(100), "both ways");

        proxy.set(Mode::BlackHole);
        let late = tokio::time::timeout(Duration::from_millis(100), ask(&mut stream)).await;
        assert!(late.is_err(), "nothing comes through");
        proxy.set(Mode::Open);
        let mut byte = [0];
        stream.read_exact(&mut byte).await.expect("what was held comes");

        proxy.set(Mode::Cut);
        assert!(ask(&mut stream).await.is_err());
        let mut refused = TcpStream::connect(proxy.address).await.expect("the listener is there");
        assert!(ask(&mut refused).await.is_err());
        proxy.set(Mode::Open);
        let mut again = TcpStream::connect(proxy.address).await.expect("connected");
        assert_eq!(ask(&mut again).await.expect("forwarded"), b'x');
    }
}
