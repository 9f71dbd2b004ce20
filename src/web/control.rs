//! The control socket: what changes a run that is alive.
//!
//! Owns: where the socket is, the Command System document over it, who may speak (whoever the socket's mode lets in; the
//! kernel says who that is, and it is recorded). Does not know: what a command does (`engine::command`).
//!
//! `POST /api/v1/command` takes the framework's document (`command`), with `gate_id`, `jobs` and `note` added; the same document
//! comes back with the outcome, a refused one with `"status": "REJECTED"` and an `error` (400: not understood, 409: not now), one of
//! which nobody knows yet whether it will be done with `"UNSETTLED"` (202).
//! `GET /api/v1/runner` says what is in no record (`observe::facts`).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::engine::state::RunState;
use crate::ledger::place::{SCRATCH, StateDir};
use crate::observe::Observer;

use super::command::{Command, Operation, Rejection};
use super::routes::{Answer, in_time, respond};
use super::server::{Answers, Peer, Server};
use super::{Bounds, Thread, WebError};

/// Path of what says what to do.
pub const COMMAND: &str = "/api/v1/command";
/// Path of what the runner says of itself (`observe::facts`), for the sidecar.
pub const RUNNER: &str = "/api/v1/runner";
/// Header with which a sidecar says for whom it speaks.
pub(super) const BY: &str = "x-kiln-by";

/// Bytes of a command.
const COMMAND_BYTES_MOST: usize = 64 * 1024;
/// A longer path is none that a socket can have, its last zero included.
const PATH_BYTES_MOST: usize = 107;

/// Does what a command asks for, which is not `status`, on behalf of somebody; the number of the gate that was answered.
pub type Act = Box<dyn Fn(&Command, Operation, &str) -> Result<Option<u32>, Rejection> + Send + Sync>;

/// The gate that was answered, and its phase.
type Gate = Option<(u32, Arc<str>)>;

/// A control socket that is served.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    /// Its inode: the next runner's socket is none of ours.
    ino: u64,
    /// What says where it is.
    link: PathBuf,
    _thread: Thread,
}

struct Routes {
    observer: Arc<Observer>,
    act: Act,
    limits: Bounds,
}

/// Whose control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The runner's.
    Runner,
    /// The sidecar's, which passes on what it is told to the runner, and does what can be done without one.
    Sidecar,
}

impl Side {
    /// The socket where there is no better place for it, else a link to it.
    fn link(self, state: &StateDir) -> PathBuf {
        match self {
            Self::Runner => state.control(),
            Self::Sidecar => state.sidecar_control(),
        }
    }

    /// Who holds this may make the socket.
    fn lock(self, state: &StateDir) -> PathBuf {
        match self {
            Self::Runner => state.lock(),
            Self::Sidecar => state.sidecar_lock(),
        }
    }
}

/// Where the control socket of a state directory may be, the best place first: where its owner says that it is, the
/// system's or the user's directory for such things, else the state directory itself, if its path is short enough.
pub fn places(state: &StateDir, side: Side) -> Vec<PathBuf> {
    let link = side.link(state);
    let told = fs::read_link(&link).ok();
    let others = own_places(state, side).into_iter().filter(|path| told.is_none() || *path != link);
    let mut places: Vec<PathBuf> = told.iter().cloned().chain(others).collect();
    places.dedup();
    places
}

/// Where its owner may make it. A copied state directory has the id of its original, but not its lock.
fn own_places(state: &StateDir, side: Side) -> Vec<PathBuf> {
    let id = fs::read_to_string(state.id()).unwrap_or_default();
    let lock = fs::metadata(side.lock(state)).map_or(0, |meta| meta.ino() ^ meta.dev().rotate_left(32));
    let name = format!("{}-{lock:x}.sock", id.trim());
    let system = Some(PathBuf::from("/run/kiln"));
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("kiln"));
    let places = system.into_iter().chain(user).map(|dir| dir.join(&name)).chain([side.link(state)]);
    places.filter(|path| path.is_absolute() && path.as_os_str().len() <= PATH_BYTES_MOST).collect()
}

/// Serves a control socket at the best place that can be had. The lock must be held: what is there already is of somebody who is
/// gone.
pub fn serve(state: &StateDir, side: Side, observer: Arc<Observer>, act: Act) -> Result<Control, WebError> {
    let mut failed = None;
    let link = side.link(state);
    // It may be where a dead one's was, or say where.
    let _ = fs::remove_file(&link);
    for path in own_places(state, side) {
        match bind(&path) {
            Ok(listener) => {
                if path != link {
                    // Whoever is of another user, or has another environment, finds it there.
                    let _ = std::os::unix::fs::symlink(&path, &link);
                }
                // Whoever says nothing is not waited for: somebody may want to answer.
                let bounds = Bounds { read: Duration::from_secs(5), ..Bounds::default() };
                let routes = Arc::new(Routes { observer, act, limits: bounds });
                let server: Server<tokio::net::UnixListener, Routes> =
                    Server::new(listener, routes, bounds).map_err(WebError::Start)?;
                let thread = Thread::start("control", |stopped| server.run(stopped))?;
                let ino = fs::symlink_metadata(&path).map_or(0, |meta| meta.ino());
                return Ok(Control { path, ino, link, _thread: thread });
            }
            Err(source) => failed = failed.or(Some(WebError::Control { path, source })),
        }
    }
    Err(failed.unwrap_or_else(|| nowhere(link)))
}

/// Tries whether a runner could make its control socket somewhere, and leaves nothing behind.
pub fn attempt(state: &StateDir) -> Result<(), WebError> {
    let mut refused = None;
    for path in own_places(state, Side::Runner) {
        let directory = if path == state.control() { state.nearest() } else { path.parent() };
        match attempt_in(directory.unwrap_or(&path)) {
            Ok(()) => return Ok(()),
            // As in `serve`, the best place's reason is told.
            Err(source) => refused = refused.or(Some(WebError::Control { path, source })),
        }
    }
    Err(refused.unwrap_or_else(|| nowhere(state.control())))
}

/// A directory that is missing is tried as one with another name: a runner may be making it at this moment.
fn attempt_in(directory: &Path) -> io::Result<()> {
    let name = format!("{SCRATCH}{}", std::process::id());
    if directory.is_dir() {
        let socket = directory.join(name);
        return UnixListener::bind(&socket).and_then(|_| fs::remove_file(&socket));
    }
    let scratch = directory.parent().unwrap_or(directory).join(name);
    fs::create_dir(&scratch)?;
    let bound = UnixListener::bind(scratch.join("s")).map(drop);
    fs::remove_dir_all(&scratch).and(bound)
}

/// No path is short enough.
fn nowhere(path: PathBuf) -> WebError {
    WebError::Control { path, source: io::Error::from(io::ErrorKind::InvalidFilename) }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent().filter(|dir| !dir.is_dir()) {
        fs::DirBuilder::new().mode(0o755).create(dir)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Drop for Control {
    fn drop(&mut self) {
        // Whoever comes next removes what cannot be removed now.
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.ino) {
            let _ = fs::remove_file(&self.path);
            if fs::read_link(&self.link).is_ok_and(|told| told == self.path) {
                let _ = fs::remove_file(&self.link);
            }
        }
    }
}

impl Answers for Routes {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
        if request.uri().path() == RUNNER && request.method() == Method::GET {
            let limit = self.limits.answer;
            return respond(in_time(limit, move || self.runner()).await);
        }
        if request.uri().path() != COMMAND {
            return respond(Answer::text(StatusCode::NOT_FOUND, "not found\n"));
        }
        if request.method() != Method::POST {
            let mut response = respond(Answer::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"));
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        let by =
            request.headers().get(BY).and_then(|by| str::from_utf8(by.as_bytes()).ok()).map(str::to_owned);
        let body = Limited::new(request.into_body(), COMMAND_BYTES_MOST).collect();
        let body = match tokio::time::timeout(self.limits.read, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => {
                return respond(rejected(Command::nothing(), &Rejection::Wrong(error.to_string())));
            }
            Err(_) => return respond(Answer::text(StatusCode::REQUEST_TIMEOUT, "took too long\n")),
        };
        let limit = self.limits.answer;
        let answer = in_time(limit, move || self.command(&body, by.as_deref(), peer)).await;
        if answer.is_late() {
            let late =
                Rejection::Unsettled("it takes long: `kiln status` says what has come of it".to_owned());
            return respond(rejected(Command::nothing(), &late));
        }
        respond(answer)
    }
}

fn rejected(command: Command, rejection: &Rejection) -> Answer {
    let (status, command) = command.rejected(rejection);
    Answer::json(status, &command)
}

impl Routes {
    fn runner(&self) -> Answer {
        match self.observer.facts() {
            Some(facts) => Answer::json(StatusCode::OK, &facts),
            None => Answer::text(StatusCode::NOT_FOUND, "there is no runner\n"),
        }
    }

    fn command(&self, body: &[u8], by: Option<&str>, peer: Peer) -> Answer {
        let command = match Command::read(body) {
            Ok(command) => command,
            Err(rejection) => return rejected(Command::nothing(), &rejection),
        };
        match self.perform(&command, by, peer) {
            Ok((operation, gate)) => {
                Answer::json(StatusCode::OK, &command.done(operation, &self.observer, gate))
            }
            Err(rejection) => rejected(command, &rejection),
        }
    }

    fn perform(
        &self,
        command: &Command,
        by: Option<&str>,
        peer: Peer,
    ) -> Result<(Operation, Gate), Rejection> {
        let operation = command.operation()?;
        self.observer.refresh();
        if operation == Operation::Status {
            let idle = self.observer.with(|progress| progress.state().run == RunState::Idle);
            let none = || Rejection::NotNow("there has been no run yet".to_owned());
            return if idle { Err(none()) } else { Ok((operation, None)) };
        }
        // Where that is none, the run itself says so.
        let meant = match operation {
            Operation::Answer(_) => self.observer.with(|progress| command.gate(progress))?,
            Operation::BuildPhase
            | Operation::Pause
            | Operation::Resume
            | Operation::Stop
            | Operation::Checkpoint
            | Operation::Status => None,
        };
        let answered = (self.act)(command, operation, &speaker(by, peer))?;
        Ok((operation, answered.map(|number| (number, meant.map_or_else(|| "".into(), |(_, phase)| phase)))))
    }
}

/// Who speaks: the kernel knows; or, for a sidecar that passes on what it was told, what that says.
fn speaker(by: Option<&str>, peer: Peer) -> String {
    match peer {
        Peer::Local(peer) => {
            let trusted = peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw();
            by.filter(|_| trusted).map_or_else(|| name(peer.uid()), str::to_owned)
        }
        Peer::Remote(address) => format!("somebody at {address}"),
    }
}

/// How long it may take to find out what a user is called: it may be kept far away.
const NAMING: Duration = Duration::from_secs(2);

/// A user by name and number. `id` asks whatever the host keeps its users in.
pub fn name(uid: u32) -> String {
    // Of another user namespace the kernel says only that it is none of ours.
    let unknown = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    let unknown = unknown.and_then(|text| text.trim().parse().ok());
    if unknown == Some(uid) && rustix::process::geteuid().as_raw() != uid {
        return "another user of this host".to_owned();
    }
    let (sender, asked) = mpsc::channel();
    let ask = move || {
        let output = std::process::Command::new("id").args(["-n", "-u", "--", &uid.to_string()]).output();
        // Whoever has lost patience hears no more.
        let _ = sender.send(output);
    };
    let asking = std::thread::Builder::new().name("id".into()).spawn(ask);
    let asked = asking.ok().and_then(|_| asked.recv_timeout(NAMING).ok()?.ok());
    let name = asked.filter(|output| output.status.success());
    let name = name.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}
