//! The HTTP server of every door: HTTP/1.1 and HTTP/2, with or without TLS.
//!
//! ```text
//!  socket ─▶ a place among the connections ─▶ TLS ─▶ first bytes ─▶ HTTP/1.1 or HTTP/2 ─▶ router
//!                    (1,024)                (10 s)     (10 s)       (headers within 10 s)
//! ```
//!
//! A peer that is slow or silent holds one place and loses it after the deadline; it does not hold up the next one, because
//! each connection has a task of its own from its first byte on. A peer of HTTP/2 that has gone without a word is found by
//! a ping. When all places are taken and somebody waits, connections on which nothing is asked that the gate has let in are
//! closed, be they idle or busy with refusals; peers with a credential connect again when they have something to ask. Messages of
//! gRPC that do not arrive as a whole have a limit on their bytes and a deadline. Once the shutdown begins, no connection is taken
//! any more, and answers under way get some time: a connection that is kept open for the next request never ends by itself.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpConnectInfo;
use tower::Service as _;

use super::messages::Incomplete;
use crate::access::is_grpc_call;
use crate::admission::Busy;
use crate::tls::ServerTls;

/// What a connection of HTTP/2 begins with.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long no connection is taken after the system could not give one, as when it has no file descriptor left.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// How often connections without a request are asked to make place, while somebody waits for one.
const MAKE_PLACE_EVERY: Duration = Duration::from_millis(100);

/// How long nothing must have been asked on a connection that makes place, and how long it may take to end.
const IDLE_FOR: Duration = Duration::from_secs(1);

/// What a server allows its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; further ones wait. 1,024.
    pub connections: usize,
    /// How long a peer may take for TLS, for its first bytes, and for the headers of each request of HTTP/1.1. 10 s.
    pub header_timeout: Duration,
    /// Requests at a time on a connection of HTTP/2. 256.
    pub streams: u32,
    /// The interval of pings on a connection of HTTP/2, and how long an answer may take. 20 s.
    pub ping: Duration,
    /// Bytes of messages of gRPC that have not arrived as a whole, over all connections. 64 MiB.
    pub message_bytes: usize,
    /// How long nothing may arrive of a message that has begun. 30 s.
    pub message_timeout: Duration,
    /// How long answers under way may take once the server is to end. 2 s.
    pub last_answers: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_timeout: Duration::from_secs(10),
            streams: 256,
            ping: Duration::from_secs(20),
            message_bytes: 64 << 20,
            message_timeout: Duration::from_secs(30),
            last_answers: Duration::from_secs(2),
        }
    }
}

/// A connection of this process's servers. No other one is the same, though its peer may have the same address later. It is
/// in the extensions of each request. Clones share it with the server, so that whoever keeps one learns of its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Connection(Arc<u64>);

impl Connection {
    /// A connection that is none of those before.
    #[must_use]
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(Arc::new(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Whether nobody but the holder of this one clone knows the connection any more: the server has closed it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A server that does not answer yet. Handlers can ask for the peer's address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
    tls: Option<ServerTls>,
    limits: Limits,
}

impl Server {
    /// Makes a server without TLS and with the usual limits.
    #[must_use]
    pub fn new(listener: TcpListener, router: Router) -> Self {
        Self { listener, router, tls: None, limits: Limits::default() }
    }

    /// Serves by TLS alone, where there is a certificate.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<ServerTls>) -> Self {
        self.tls = tls;
        self
    }

    /// Replaces the limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves until `shutdown`, and then until the answers under way are given or their time is over.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { listener, router, tls, limits } = self;
        let places = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
        let crowd = Notify::new();
        let incomplete = Arc::new(Incomplete::new(limits.message_bytes, limits.message_timeout));
        let door = Arc::new(Door { router, tls, builder: builder(&limits), limits, incomplete, crowd });
        let mut connections = JoinSet::new();
        loop {
            let taken = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                taken = take(&listener, &places, &door.crowd) => taken,
            };
            match taken {
                Ok(Taken { stream, peer, place }) => {
                    let (door, shutdown) = (Arc::clone(&door), shutdown.clone());
                    connections.spawn(async move {
                        let _place = place;
                        door.serve(stream, peer, shutdown).await;
                    });
                }
                // One that the peer has given up already.
                Err(error) if is_of_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    door.crowd.notify_waiters();
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(door.limits.last_answers, ended).await.is_err() {
            tracing::debug!("connections are still open and are cut");
        }
    }
}

/// A connection that has a place.
struct Taken {
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
}

async fn take(listener: &TcpListener, places: &Arc<Semaphore>, crowd: &Notify) -> io::Result<Taken> {
    let place = loop {
        let free = Arc::clone(places).acquire_owned();
        match tokio::time::timeout(MAKE_PLACE_EVERY, free).await {
            Ok(place) => break place.map_err(io::Error::other)?,
            Err(_) => crowd.notify_waiters(),
        }
    };
    let (stream, peer) = listener.accept().await?;
    Ok(Taken { stream, peer, place })
}

fn is_of_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.ping);
    builder
}

/// What every connection is served with.
struct Door {
    router: Router,
    tls: Option<ServerTls>,
    builder: Builder<TokioExecutor>,
    limits: Limits,
    incomplete: Arc<Incomplete>,
    /// Says that places are wanted.
    crowd: Notify,
}

impl Door {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, shutdown: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch Nagle's algorithm off");
        }
        let ends = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: Some(peer) };
        let Some(tls) = &self.tls else { return self.speak(stream, ends, peer, shutdown).await };
        let handshake = tokio::time::timeout(self.limits.header_timeout, tls.acceptor().accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = shutdown.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.speak(stream, ends, peer, shutdown).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a peer did not agree on TLS"),
            Err(_) => tracing::debug!(%peer, "a peer took too long for TLS"),
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        ends: TcpConnectInfo,
        peer: SocketAddr,
        shutdown: CancellationToken,
    ) {
        let (router, busy, id) = (self.router.clone(), Busy::default(), Connection::next());
        let (of_connection, incomplete) = (busy.clone(), Arc::clone(&self.incomplete));
        let service = tower::service_fn(move |request: Request<_>| {
            let is_call = is_grpc_call(request.headers());
            let mut request = request.map(|body| match Body::new(body) {
                body if is_call => incomplete.watch(body),
                body => body,
            });
            let admission = of_connection.request();
            request.extensions_mut().insert(admission.clone());
            request.extensions_mut().insert(id.clone());
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(ends.clone());
            let answer = router.clone().call(request);
            async move { answer.await.map(|response| response.map(|body| admission.until_the_end_of(body))) }
        });
        let stream = TokioIo::new(Prompt::new(stream, self.limits.header_timeout));
        let connection = self.builder.serve_connection(stream, TowerToHyperService::new(service));
        tokio::pin!(connection);
        let served = tokio::select! {
            served = &mut connection => served,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = self.makes_place(&busy) => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(IDLE_FOR, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}

impl Door {
    /// Waits until places are wanted and nothing that was let in has been asked on this connection for a while.
    async fn makes_place(&self, busy: &Busy) {
        loop {
            self.crowd.notified().await;
            if busy.is_idle_for(IDLE_FOR) {
                return;
            }
        }
    }
}

/// A connection whose first bytes have to arrive in time. Which protocol a peer speaks shows in them, and before it is known
/// no other deadline holds.
struct Prompt<S> {
    stream: S,
    /// Bytes of [`HTTP2`] that have arrived.
    seen: usize,
    /// `None` once the protocol is known.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Prompt<S> {
    fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, seen: 0, deadline: Some(Box::pin(tokio::time::sleep(timeout))) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(deadline) = self.deadline.as_mut() else { return read };
        if read.is_pending() {
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)));
        }
        let new = buffer.filled().get(before..).unwrap_or_default();
        let expected = HTTP2.get(self.seen..).unwrap_or_default();
        self.seen += new.len();
        if new.is_empty() || self.seen >= HTTP2.len() || !expected.starts_with(new) {
            self.deadline = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
