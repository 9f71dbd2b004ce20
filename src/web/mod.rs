//! The web server: what is seen of a run, over HTTP.
//!
//! Owns: the listening socket, the thread that serves it, what a client may take of both. Does not know: what
//! a run is (see `observe`), who may listen where (the command line decides that).
//!
//! | path | answer |
//! | --- | --- |
//! | `/` | a page for people |
//! | `/metrics` | Prometheus's text format |
//! | `/-/healthy` | 200 while the server runs |
//! | `/-/ready` | 200 if a snapshot can be taken in time |
//! | `/api/v1/status` | the Build Status document; 404 before the first run |
//! | `/api/v1/monitoring` | the Monitoring Integration document |
//! | `POST /api/v1/alerts` | takes what Alertmanager's webhook sends, from this host only, into the journal |
//!
//! All else is read-only. What changes a run goes through the control socket (`control`).

pub mod alertmanager;
mod alerts;
pub mod client;
pub mod command;
pub mod control;
mod page;
mod patient;
mod routes;
mod scrapes;
mod server;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::observe::Observer;
use crate::observe::metrics::BuildInfo;

use alerts::Alerts;
use scrapes::Scrapes;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address cannot be listened on.
    #[error("cannot listen on `{addr}`")]
    Bind {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no directory for the control socket, or it cannot be made there.
    #[error("cannot listen on the control socket `{}`", path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread or its runtime cannot be made.
    #[error("cannot start the web server")]
    Start(#[source] io::Error),
}

/// What clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head: usize,
    /// From the start, or the end of the last answer, to the end of a request's head.
    pub read: Duration,
    /// From a request to its answer.
    pub answer: Duration,
    /// How long a client may take no byte of an answer.
    pub write: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 64,
            head: 16 * 1024,
            read: Duration::from_secs(20),
            answer: Duration::from_secs(10),
            write: Duration::from_secs(10),
        }
    }
}

/// A socket that listens, and is not served yet: clients wait.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
}

/// Listens on an address; port 0 takes any that is free.
pub fn bind(addr: SocketAddr) -> Result<Bound, WebError> {
    let wrap = |source| WebError::Bind { addr, source };
    let listener = TcpListener::bind(addr).map_err(wrap)?;
    listener.set_nonblocking(true).map_err(wrap)?;
    let addr = listener.local_addr().map_err(wrap)?;
    Ok(Bound { listener, addr })
}

impl Bound {
    /// The address, with the port that was taken.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves on a thread of its own until the handle is shut down or dropped.
    pub fn serve(self, observer: Arc<Observer>, build: BuildInfo) -> Result<ServerHandle, WebError> {
        self.serve_within(observer, build, Bounds::default())
    }

    /// The same with other bounds.
    pub fn serve_within(
        self,
        observer: Arc<Observer>,
        build: BuildInfo,
        bounds: Bounds,
    ) -> Result<ServerHandle, WebError> {
        let scrapes = Arc::new(Scrapes::default());
        let routes = routes::Routes {
            observer: Arc::clone(&observer),
            build,
            scrapes: Arc::clone(&scrapes),
            alerts: Alerts::default(),
            bounds,
        };
        type Server = server::Server<tokio::net::TcpListener, routes::Routes>;
        let server = Server::new(self.listener, Arc::new(routes), bounds).map_err(WebError::Start)?;
        let thread = Thread::start("web", |stopped| server.run(stopped))?;
        Ok(ServerHandle { addr: self.addr, thread, scrapes, observer })
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct ServerHandle {
    addr: SocketAddr,
    thread: Thread,
    scrapes: Arc<Scrapes>,
    observer: Arc<Observer>,
}

/// A thread that serves until it is told to stop, or nobody has this any more.
#[derive(Debug)]
struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Ends a server's waiting for scrapes from another thread.
#[derive(Debug, Clone)]
pub struct Patience(Arc<Scrapes>);

impl Patience {
    /// Who waits, or is about to, waits no longer.
    pub fn give_up(&self) {
        self.0.give_up();
    }
}

impl ServerHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many scrapes showed the run as it is now, ended or stopped.
    pub fn final_scrapes(&self) -> u32 {
        self.scrapes.of(self.end())
    }

    /// Ends `wait_for_final_scrapes` from another thread.
    pub fn patience(&self) -> Patience {
        Patience(Arc::clone(&self.scrapes))
    }

    /// Who has come again and again, and has not seen the run as it is now; and for how long he is waited for at most.
    pub fn awaited(&self) -> Option<(IpAddr, Duration)> {
        self.scrapes.awaited(self.end())
    }

    /// Waits until two scrapes have shown the run as it is now, for `most`; without that for those who are `awaited`. Patience that was
    /// given up ends it. Returns whether all have come.
    pub fn wait_for_final_scrapes(&self, most: Option<Duration>) -> bool {
        self.scrapes.wait(self.end(), most)
    }

    fn end(&self) -> u64 {
        self.observer.with(|progress| progress.counters().records)
    }

    /// Accepts no more, finishes what is being answered, and ends.
    pub fn shutdown(self) {
        drop(self.thread);
    }
}

impl Thread {
    fn start(
        name: &str,
        serve: impl FnOnce(oneshot::Receiver<()>) + Send + 'static,
    ) -> Result<Self, WebError> {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || serve(stopped));
        Ok(Self { stop: Some(stop), thread: Some(thread.map_err(WebError::Start)?) })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // A server that is gone has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the web server's thread panicked");
        }
    }
}
