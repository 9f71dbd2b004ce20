//! Asks a control socket.
//!
//! Owns: one request and its answer. Does not know: what is asked.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;

use crate::observe::facts::RunnerFacts;

use super::command::Command;
use super::control::{BY, COMMAND, RUNNER};

/// Bytes of an answer.
const ANSWER_BYTES_MOST: usize = 1024 * 1024;

/// Why there is no answer.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Says a command, `by` somebody else where it is passed on; what comes back.
pub fn command(
    socket: &Path,
    command: &Command,
    by: Option<&str>,
    patience: Duration,
) -> Result<(StatusCode, Command), Error> {
    let (status, body) = ask(socket, Method::POST, COMMAND, serde_json::to_vec(command)?, by, patience)?;
    Ok((status, serde_json::from_slice(&body)?))
}

/// What the runner says of itself.
pub fn runner(socket: &Path, patience: Duration) -> Result<RunnerFacts, Error> {
    let (_, body) = ask(socket, Method::GET, RUNNER, Vec::new(), None, patience)?;
    Ok(serde_json::from_slice(&body)?)
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
