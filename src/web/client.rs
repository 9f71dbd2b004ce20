//! Asks the runner of a state directory, through its control socket.
//!
//! Owns: finding the socket, one request and its answer. Does not know: what is asked.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

use crate::ledger::place::StateDir;
use crate::observe::facts::RunnerFacts;

use super::command::Command;
use super::control::{self, BY, COMMAND, RUNNER, Side};

/// Bytes of an answer.
const ANSWER_BYTES_MOST: usize = 1024 * 1024;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    /// There is no socket.
    #[error("it has no control socket")]
    NoSocket,
    /// Nobody answers at the socket.
    #[error("{why}")]
    At {
        /// Where.
        socket: PathBuf,
        /// What is wrong.
        why: Error,
        /// It was said, and may have been heard.
        sent: bool,
    },
}

impl Silence {
    /// Whether what was said may have been heard.
    pub fn may_be_heard(&self) -> bool {
        matches!(self, Self::At { sent: true, .. })
    }

    /// Whether there is no use in saying it again.
    pub fn is_final(&self) -> bool {
        let Self::At { why, sent, .. } = self else { return false };
        let refused = why.downcast_ref::<std::io::Error>();
        *sent || refused.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    }
}

/// Says a command, `by` somebody else where it is passed on; what comes back.
pub fn command(
    state: &StateDir,
    command: &Command,
    by: Option<&str>,
    patience: Duration,
) -> Result<(StatusCode, Command), Silence> {
    first(state, |socket| {
        let text = serde_json::to_vec(command).map_err(|error| Failed { sent: false, why: error.into() })?;
        let (status, body) = ask(socket, Method::POST, COMMAND, text, by, patience)?;
        read(status, &body)
    })
}

/// What the runner says of itself.
pub fn runner(state: &StateDir, patience: Duration) -> Result<RunnerFacts, Silence> {
    first(state, |socket| {
        let (status, body) = ask(socket, Method::GET, RUNNER, Vec::new(), None, patience)?;
        Ok(read(status, &body)?.1)
    })
}

/// Why there is no answer at one place.
struct Failed {
    /// It was said, and may have been heard.
    sent: bool,
    why: Error,
}

fn read<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<(StatusCode, T), Failed> {
    let answer = serde_json::from_slice(body).map_err(|_| Failed {
        sent: true,
        why: format!("{status}: {}", String::from_utf8_lossy(body).trim()).into(),
    })?;
    Ok((status, answer))
}

/// The first answer of the places where the socket may be; or why the best of them gives none.
fn first<T>(state: &StateDir, ask: impl Fn(&Path) -> Result<T, Failed>) -> Result<T, Silence> {
    let mut silence = None;
    for socket in control::places(state, Side::Runner).into_iter().filter(|path| path.exists()) {
        match ask(&socket) {
            Ok(answer) => return Ok(answer),
            // Nothing is said twice.
            Err(Failed { sent: true, why }) => return Err(Silence::At { socket, why, sent: true }),
            Err(Failed { why, .. }) => silence = silence.or(Some(Silence::At { socket, why, sent: false })),
        }
    }
    Err(silence.unwrap_or(Silence::NoSocket))
}

fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
    by: Option<&str>,
    patience: Duration,
) -> Result<(StatusCode, Bytes), Failed> {
    let sent = Cell::new(false);
    let asked = async {
        let stream = tokio::net::UnixStream::connect(socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder();
        if let Some(by) = by {
            request = request.header(BY, by);
        }
        let request = request
            .method(method)
            .uri(path)
            .header("host", "kiln")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        sent.set(true);
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MOST).collect().await?.to_bytes();
        Ok::<_, Error>((status, body))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed { sent: false, why: error.into() })?;
    let answer = runtime.block_on(async { tokio::time::timeout(patience, asked).await });
    answer.map_err(Error::from).flatten().map_err(|why| Failed { sent: sent.get(), why })
}
