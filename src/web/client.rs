//! Asks the runner of a state directory, through its control socket.
//!
//! Owns: finding the socket, one request and its answer. Does not know: what is asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;

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
    },
}

/// Says a command, `by` somebody else where it is passed on; what comes back.
pub fn command(
    state: &StateDir,
    command: &Command,
    by: Option<&str>,
    patience: Duration,
) -> Result<(StatusCode, Command), Silence> {
    first(state, |socket| {
        let (status, body) = ask(socket, Method::POST, COMMAND, serde_json::to_vec(command)?, by, patience)?;
        Ok((status, serde_json::from_slice(&body)?))
    })
}

/// What the runner says of itself.
pub fn runner(state: &StateDir, patience: Duration) -> Result<RunnerFacts, Silence> {
    first(state, |socket| {
        let (_, body) = ask(socket, Method::GET, RUNNER, Vec::new(), None, patience)?;
        Ok(serde_json::from_slice(&body)?)
    })
}

/// The first answer of the places where the socket may be; or why the best of them gives none.
fn first<T>(state: &StateDir, ask: impl Fn(&Path) -> Result<T, Error>) -> Result<T, Silence> {
    let mut silence = None;
    for socket in control::places(state, Side::Runner).into_iter().filter(|path| path.exists()) {
        match ask(&socket) {
            Ok(answer) => return Ok(answer),
            Err(why) => silence = silence.or(Some(Silence::At { socket, why })),
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
) -> Result<(StatusCode, Bytes), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MOST).collect().await?.to_bytes();
        Ok((status, body))
    };
    runtime.block_on(async { tokio::time::timeout(patience, asked).await })?
}
