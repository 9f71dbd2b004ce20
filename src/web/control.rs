//! The control socket: what changes a run that is alive.
//!
//! Owns: where the socket is, the Command System document over it, who may speak (whoever the socket's mode lets in; the
//! kernel says who that is, and it is recorded). Does not know: what an answer means (`engine::gate`).
//!
//! `POST /api/v1/command` takes the framework's document, with `gate_id`, `jobs` and `note` added; the same document comes
//! back with the outcome, a refused one with `"status": "REJECTED"` and an `error` (400: not understood, 409: not now).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::net::unix::UCred;

use crate::engine::gate::{self, Refusal};
use crate::engine::message::{ANSWERS, Answer as Word};
use crate::ledger::place::{SCRATCH, StateDir};
use crate::observe::Observer;
use crate::observe::observer::now;
use crate::observe::status::BuildStatus;

use super::routes::{Answer, in_time, respond};
use super::server::{Answers, Server};
use super::{Bounds, Thread, WebError};

/// Path of the one thing that can be asked for.
pub const COMMAND: &str = "/api/v1/command";
/// The framework's name of what is spoken to.
pub const COMPONENT: &str = "BUILD_PROCESS";
/// What a refused command comes back with.
const REJECTED: &str = "REJECTED";

/// Bytes of a command.
const COMMAND_BYTES_MOST: usize = 64 * 1024;
/// A longer path is none that a socket can have, its last zero included.
const PATH_BYTES_MOST: usize = 107;

/// The framework's Command System document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Always `BUILD_PROCESS`.
    pub component: String,
    /// `retry`, `skip`, `abort` or `status`.
    pub operation: String,
    /// The phase that the gate is in.
    #[serde(default)]
    pub phase: String,
    /// Of the run.
    #[serde(default)]
    pub status: String,
    /// Part of the wanted work that is done.
    #[serde(default)]
    pub progress: f64,
    /// Ours: which gate; where there is one only it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_id: Option<String>,
    /// Ours: with how many jobs it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// Ours: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Ours: why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Takes an answer to the run, and says what became of it; `None`: the run is over.
pub type Answering = Box<dyn Fn(gate::Request) -> Option<Result<u32, Refusal>> + Send + Sync>;

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
    answering: Answering,
    limits: Bounds,
}

/// Where the control socket of a state directory may be, the best place first: where its runner says that it is, the
/// system's or the user's directory for such things, else the state directory itself, if its path is short enough.
pub fn places(state: &StateDir) -> Vec<PathBuf> {
    let told = fs::read_link(state.control()).ok();
    told.into_iter().chain(own_places(state)).collect()
}

/// Where a runner may make it. A copied state directory has the id of its original, but not its lock.
fn own_places(state: &StateDir) -> Vec<PathBuf> {
    let id = fs::read_to_string(state.id()).unwrap_or_default();
    let lock = fs::metadata(state.lock()).map_or(0, |meta| meta.ino() ^ meta.dev().rotate_left(32));
    let name = format!("{}-{lock:x}.sock", id.trim());
    let system = Some(PathBuf::from("/run/kiln"));
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("kiln"));
    let places = system.into_iter().chain(user).map(|dir| dir.join(&name)).chain([state.control()]);
    places.filter(|path| path.is_absolute() && path.as_os_str().len() <= PATH_BYTES_MOST).collect()
}

/// Serves the control socket of a run at the best place that can be had. The runner's lock must be held: what is there
/// already is of a runner that is gone.
pub fn serve(state: &StateDir, observer: Arc<Observer>, answering: Answering) -> Result<Control, WebError> {
    let mut failed = None;
    // It may be where a dead runner's was, or say where.
    let _ = fs::remove_file(state.control());
    for path in own_places(state) {
        match bind(&path) {
            Ok(listener) => {
                if path != state.control() {
                    // Whoever is of another user, or has another environment, finds it there.
                    let _ = std::os::unix::fs::symlink(&path, state.control());
                }
                // Whoever says nothing is not waited for: somebody may want to answer.
                let bounds = Bounds { read: Duration::from_secs(5), ..Bounds::default() };
                let routes = Arc::new(Routes { observer, answering, limits: bounds });
                let server: Server<tokio::net::UnixListener, Routes> =
                    Server::new(listener, routes, bounds).map_err(WebError::Start)?;
                let thread = Thread::start("control", |stopped| server.run(stopped))?;
                let ino = fs::symlink_metadata(&path).map_or(0, |meta| meta.ino());
                return Ok(Control { path, ino, link: state.control(), _thread: thread });
            }
            Err(source) => failed = failed.or(Some(WebError::Control { path, source })),
        }
    }
    Err(failed.unwrap_or_else(|| nowhere(state)))
}

/// Tries whether a runner could make its control socket somewhere, and leaves nothing behind.
pub fn attempt(state: &StateDir) -> Result<(), WebError> {
    let mut refused = None;
    for path in own_places(state) {
        let directory = if path == state.control() { state.nearest() } else { path.parent() };
        match attempt_in(directory.unwrap_or(&path)) {
            Ok(()) => return Ok(()),
            // As in `serve`, the best place's reason is told.
            Err(source) => refused = refused.or(Some(WebError::Control { path, source })),
        }
    }
    Err(refused.unwrap_or_else(|| nowhere(state)))
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
fn nowhere(state: &StateDir) -> WebError {
    WebError::Control { path: state.control(), source: io::Error::from(io::ErrorKind::InvalidFilename) }
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
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Option<UCred>,
    ) -> Response<Full<Bytes>> {
        if request.uri().path() != COMMAND {
            return respond(Answer::text(StatusCode::NOT_FOUND, "not found\n"));
        }
        if request.method() != Method::POST {
            let mut response = respond(Answer::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"));
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        let body = Limited::new(request.into_body(), COMMAND_BYTES_MOST).collect();
        let body = match tokio::time::timeout(self.limits.read, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return respond(refused(Command::default(), &error.to_string())),
            Err(_) => return respond(Answer::text(StatusCode::REQUEST_TIMEOUT, "took too long\n")),
        };
        let limit = self.limits.answer;
        respond(in_time(limit, move || self.command(&body, peer)).await)
    }
}

fn rejected(status: StatusCode, command: Command, error: &str) -> Answer {
    let command = Command { status: REJECTED.into(), error: Some(error.to_owned()), ..command };
    Answer::json(status, &command)
}

/// It is not understood.
fn refused(command: Command, error: &str) -> Answer {
    rejected(StatusCode::BAD_REQUEST, command, error)
}

/// Not now.
fn conflict(command: Command, error: &str) -> Answer {
    rejected(StatusCode::CONFLICT, command, error)
}

impl Routes {
    fn command(&self, body: &[u8], peer: Option<UCred>) -> Answer {
        let command: Command = match serde_json::from_slice(body) {
            Ok(command) => command,
            Err(error) => {
                return refused(Command::default(), &format!("no Command System document: {error}"));
            }
        };
        if command.component != COMPONENT {
            let error = format!("component `{}` is not here: this is {COMPONENT}", command.component);
            return refused(command, &error);
        }
        if command.operation == "status" {
            return self.status(command);
        }
        let Some(answer) = ANSWERS.into_iter().find(|answer| answer.name() == command.operation) else {
            let error = format!("operation `{}` is none of retry, skip, abort, status", command.operation);
            return refused(command, &error);
        };
        if command.jobs == Some(0) || command.jobs.is_some() && answer != Word::Retry {
            return refused(command, "`jobs` is at least 1, and goes with `retry`");
        }
        // Where that is none, the run itself says so.
        let meant = self.observer.with(|progress| {
            let state = progress.state();
            let number = state.gate(command.gate_id.as_deref()).ok()?;
            Some((number, Arc::clone(&state.gates.get(&number)?.phase)))
        });
        if let Some((number, phase)) =
            meant.as_ref().filter(|(_, phase)| !command.phase.is_empty() && **phase != *command.phase)
        {
            let error = format!("gate {number} is of phase `{phase}`");
            return conflict(command, &error);
        }
        let request = gate::Request {
            gate: command.gate_id.clone(),
            answer,
            jobs: command.jobs,
            by: peer.map_or_else(|| "somebody".to_owned(), |peer| name(peer.uid())),
            note: command.note.clone().unwrap_or_default(),
        };
        match (self.answering)(request).unwrap_or(Err(Refusal::Ending)) {
            Ok(number) => {
                let status = if answer == Word::Abort { "ERROR" } else { "RUNNING" }.to_owned();
                let phase = meant.map_or_else(String::new, |(_, phase)| phase.to_string());
                let progress = self.observer.snapshot(now()).run.ratio;
                let gate_id = Some(number.to_string());
                Answer::json(StatusCode::OK, &Command { phase, status, progress, gate_id, ..command })
            }
            Err(refusal) => conflict(command, &refusal.to_string()),
        }
    }

    fn status(&self, command: Command) -> Answer {
        let snapshot = self.observer.snapshot(now());
        let Some(status) = BuildStatus::of(&snapshot) else {
            return conflict(command, "there has been no run yet");
        };
        let (phase, status) = (status.phase, status.status.name().to_owned());
        Answer::json(StatusCode::OK, &Command { phase, status, progress: snapshot.run.ratio, ..command })
    }
}

/// A user by name and number. `id` asks whatever the host keeps its users in.
pub fn name(uid: u32) -> String {
    let asked = std::process::Command::new("id").args(["-n", "-u", "--", &uid.to_string()]).output();
    let name = asked.ok().filter(|output| output.status.success());
    let name = name.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}
