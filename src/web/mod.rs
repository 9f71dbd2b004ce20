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
mod server;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::observe::Observer;
use crate::observe::metrics::BuildInfo;

use alerts::Alerts;

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

/// How many answers of `/metrics` showed a run that has ended or was stopped, for those who wait for them.
#[derive(Debug, Default)]
struct Scrapes {
    seen: Mutex<Seen>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    /// How many answers showed a run that did not go on, with so many records: before this run began those of the last were such,
    /// too.
    last: u32,
    records: u64,
    given_up: bool,
}

/// Ends a server's waiting for scrapes from another thread.
#[derive(Debug, Clone)]
pub struct Patience(Arc<Scrapes>);

impl Patience {
    /// Who waits, or is about to, waits no longer.
    pub fn give_up(&self) {
        self.0.seen.lock().given_up = true;
        self.0.more.notify_all();
    }
}

impl ServerHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many answers of `/metrics` showed the run as it is now, ended or stopped.
    pub fn final_scrapes(&self) -> u32 {
        self.of_now(&self.scrapes.seen.lock())
    }

    fn of_now(&self, seen: &Seen) -> u32 {
        let records = self.observer.with(|progress| progress.counters().records);
        if seen.records == records { seen.last } else { 0 }
    }

    /// Ends `wait_for_final_scrapes` from another thread.
    pub fn patience(&self) -> Patience {
        Patience(Arc::clone(&self.scrapes))
    }

    /// Waits until there were that many, for `most`, or until patience was given up. Returns whether there were.
    pub fn wait_for_final_scrapes(&self, count: u32, most: Duration) -> bool {
        let until = Instant::now() + most;
        let mut seen = self.scrapes.seen.lock();
        while self.of_now(&seen) < count {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || seen.given_up {
                return false;
            }
            self.scrapes.more.wait_for(&mut seen, left);
        }
        true
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

impl Scrapes {
    fn count(&self, records: u64) {
        let mut seen = self.seen.lock();
        if seen.records != records {
            (seen.records, seen.last) = (records, 0);
        }
        seen.last += 1;
        self.more.notify_all();
    }
}
