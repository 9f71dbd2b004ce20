//! The thread that serves: accepts, bounds, ends.
//!
//! Owns: the runtime and every connection. Does not know: what is answered (see `routes`).

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::UCred;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::Bounds;
use super::patient::Patient;

/// How long a server that ends waits for answers under way.
const GOODBYE: Duration = Duration::from_secs(2);

/// Who a client is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Peer {
    /// A process of this host, which the kernel knows.
    Local(UCred),
    /// Whoever is at this address.
    Remote(SocketAddr),
}

/// Where clients come in.
pub(super) trait Door: Sized + Send + 'static {
    /// Before there is a runtime.
    type Socket;
    /// A client.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn open(socket: Self::Socket) -> io::Result<Self>;

    /// The next client, and who that is.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Door for tokio::net::TcpListener {
    type Socket = std::net::TcpListener;
    type Stream = tokio::net::TcpStream;

    fn open(socket: Self::Socket) -> io::Result<Self> {
        Self::from_std(socket)
    }

    async fn next(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, address) = self.accept().await?;
        Ok((stream, Peer::Remote(address)))
    }
}

impl Door for tokio::net::UnixListener {
    type Socket = std::os::unix::net::UnixListener;
    type Stream = tokio::net::UnixStream;

    fn open(socket: Self::Socket) -> io::Result<Self> {
        Self::from_std(socket)
    }

    async fn next(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, _) = self.accept().await?;
        let peer = stream.peer_cred()?;
        Ok((stream, Peer::Local(peer)))
    }
}

/// What answers requests.
pub(super) trait Answers: Send + Sync + 'static {
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// Everything the thread needs.
pub(super) struct Server<D, A> {
    runtime: Runtime,
    door: D,
    answers: Arc<A>,
    bounds: Bounds,
}

impl<D: Door, A: Answers> Server<D, A> {
    pub(super) fn new(socket: D::Socket, answers: Arc<A>, bounds: Bounds) -> io::Result<Self> {
        // Snapshots are taken on a thread beside it: looking ahead in a large plan takes a second.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(8)
            .thread_name("web-answer")
            .build()?;
        let door = {
            let _guard = runtime.enter();
            D::open(socket)?
        };
        Ok(Self { runtime, door, answers, bounds })
    }

    pub(super) fn run(self, stopped: oneshot::Receiver<()>) {
        let Self { runtime, door, answers, bounds } = self;
        runtime.block_on(accept(door, answers, bounds, stopped));
        runtime.shutdown_timeout(GOODBYE);
    }
}

async fn accept<D: Door, A: Answers>(
    door: D,
    answers: Arc<A>,
    bounds: Bounds,
    stopped: oneshot::Receiver<()>,
) {
    let most = bounds.connections.clamp(1, Semaphore::MAX_PERMITS);
    let free = Arc::new(Semaphore::new(most));
    let (goodbye, leaving) = watch::channel(());
    let mut stopped = pin!(stopped);
    loop {
        let next = async {
            let permit = Arc::clone(&free).acquire_owned().await.ok()?;
            Some((permit, door.next().await))
        };
        // An error means that the handle is gone, which is the same.
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = next => accepted,
        };
        match accepted {
            Some((permit, Ok((stream, peer)))) => {
                serve(stream, peer, permit, &answers, bounds, leaving.clone());
            }
            Some((_, Err(error))) => {
                // Out of descriptors, most likely: others must close first.
                tracing::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None => break,
        }
    }
    drop(door);
    drop(goodbye);
    // Every permit is back when every connection is closed. Whoever is not done by then is cut off.
    let all = free.acquire_many(u32::try_from(most).unwrap_or(u32::MAX));
    let _ = tokio::time::timeout(GOODBYE, all).await;
}

fn serve<A: Answers>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    permit: OwnedSemaphorePermit,
    answers: &Arc<A>,
    bounds: Bounds,
    mut leaving: watch::Receiver<()>,
) {
    let answers = Arc::clone(answers);
    let service = service_fn(move |request| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.answer(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.read)
        .max_buf_size(bounds.head.max(8192)) // hyper's least
        .serve_connection(TokioIo::new(Patient::new(stream, bounds.write)), service);
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            // The sender is gone: what is being answered is finished, nothing more is read.
            _ = leaving.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a client's connection ended: {error}");
        }
        drop(permit);
    });
}
