//! The thread that serves: accepts, bounds, ends.
//!
//! Owns: the runtime and every connection. Does not know: what is answered (see `routes`).

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::Bounds;
use super::patient::Patient;
use super::routes::{self, Routes};

/// How long a server that ends waits for answers under way.
const GOODBYE: Duration = Duration::from_secs(2);

/// Everything the thread needs.
pub(super) struct Server {
    runtime: Runtime,
    listener: tokio::net::TcpListener,
    routes: Arc<Routes>,
    bounds: Bounds,
}

impl Server {
    pub(super) fn new(listener: TcpListener, routes: Arc<Routes>, bounds: Bounds) -> io::Result<Self> {
        // Snapshots are taken on a thread beside it: looking ahead in a large plan takes a second.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .thread_name("web-answer")
            .build()?;
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        Ok(Self { runtime, listener, routes, bounds })
    }

    pub(super) fn run(self, stopped: oneshot::Receiver<()>) {
        let Self { runtime, listener, routes, bounds } = self;
        runtime.block_on(accept(listener, routes, bounds, stopped));
        runtime.shutdown_timeout(GOODBYE);
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    routes: Arc<Routes>,
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
            Some((permit, listener.accept().await))
        };
        // An error means that the handle is gone, which is the same.
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = next => accepted,
        };
        match accepted {
            Some((permit, Ok((stream, _)))) => serve(stream, permit, &routes, bounds, leaving.clone()),
            Some((_, Err(error))) => {
                // Out of descriptors, most likely: others must close first.
                tracing::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None => break,
        }
    }
    drop(listener);
    drop(goodbye);
    // Every permit is back when every connection is closed. Whoever is not done by then is cut off.
    let all = free.acquire_many(u32::try_from(most).unwrap_or(u32::MAX));
    let _ = tokio::time::timeout(GOODBYE, all).await;
}

fn serve(
    stream: tokio::net::TcpStream,
    permit: OwnedSemaphorePermit,
    routes: &Arc<Routes>,
    bounds: Bounds,
    mut leaving: watch::Receiver<()>,
) {
    let routes = Arc::clone(routes);
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(routes::answer(routes, request, bounds.answer).await) }
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
