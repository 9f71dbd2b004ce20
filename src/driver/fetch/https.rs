//! `https://` and `http://` mirrors.
//!
//! Owns: requests, continuing a partial transfer, time-outs. Does not know: digests, or which mirror is next.
//!
//! A request runs in a thread of its own, so that a cancellation is heeded within `TICK` whatever the socket or the
//! resolver is at. An abandoned thread ends with its next chunk or time-out; it never touches a file.

use std::io::{self, Read};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, header};
use ureq::tls::{RootCerts, TlsConfig};

use super::Options;
use super::cache::{Origin, Partial};
use super::error::{FetchError, Reason, Stop};
use super::proxy;
use super::turns::{self, TICK};
use crate::words::count;

/// Bytes handed over at once, and how many such chunks may wait for the disk.
const CHUNK: usize = 64 * 1024;
const CHUNKS_WAITING: usize = 8;

/// Clients, one for each scheme because each has its own proxy.
#[derive(Debug)]
pub(super) struct Https {
    plain: Agent,
    secure: Agent,
}

/// Whether all bytes of the file came in one response. Bytes of several do not tell on a mirror: the older ones may
/// have been damaged on this disk, or be of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// From one response.
    Once,
    /// What was there was continued.
    Spliced,
}

/// What the request's thread says, in this order: a head, chunks, an end.
#[derive(Debug)]
enum Message {
    Head(Box<Head>),
    Chunk(Vec<u8>),
    End,
    Failed(Reason),
}

#[derive(Debug)]
struct Head {
    status: u16,
    validator: Option<String>,
    length: Option<u64>,
    /// `Content-Range`, parsed: first byte, and bytes of the whole.
    range: Option<(u64, Option<u64>)>,
}

impl Https {
    /// Opens no connection.
    pub(super) fn new(options: &Options) -> Self {
        let agent = |scheme| {
            Agent::config_builder()
                .http_status_as_error(false)
                .proxy(proxy::from_environment(scheme, |name| std::env::var(name).ok()))
                .user_agent(&options.user_agent)
                // The bytes as they lie there: a decoded `.tar.gz` would have another digest.
                .accept_encoding("identity")
                .timeout_resolve(Some(options.connect_timeout))
                .timeout_connect(Some(options.connect_timeout))
                .timeout_recv_response(Some(options.stall_timeout))
                .timeout_per_read(Some(options.stall_timeout))
                .timeout_per_write(Some(options.stall_timeout))
                .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
                .build()
                .new_agent()
        };
        Self { plain: agent("http"), secure: agent("https") }
    }

    /// Fetches `url` into `partial`, continuing what is there unless the server has another version, or will not.
    pub(super) fn get(
        &self,
        url: &str,
        partial: &mut Partial,
        cancel: &AtomicBool,
        progress: &dyn Fn(u64),
    ) -> Result<Whole, Stop> {
        let before = partial.origin().filter(|_| partial.len() > 0).unwrap_or_default();
        // Another server's validator means nothing to this one.
        let validator = before.validator.clone().filter(|_| before.url == url);
        loop {
            let have = partial.len();
            let messages = self.request(url, have, validator.as_deref())?;
            let head = match next(&messages, cancel)? {
                Message::Head(head) => head,
                Message::Failed(reason) => return Err(reason.into()),
                Message::Chunk(_) | Message::End => return Err(broken("no response").into()),
            };
            let whole = match head.status {
                200 => {
                    partial.restart()?;
                    Whole::Once
                }
                206 if have > 0 && continues(&head, have, before.total) => Whole::Spliced,
                // A range that was not asked for, or one beyond the end: once more, for everything.
                206 | 416 if have > 0 => {
                    partial.restart()?;
                    continue;
                }
                404 | 410 => return Err(Reason::NotFound(format!("http status {}", head.status)).into()),
                status => return Err(Reason::Http(status).into()),
            };
            let total = match whole {
                Whole::Once => head.length,
                Whole::Spliced => head.range.and_then(|(_, total)| total),
            };
            partial.set_origin(&Origin { url: url.to_owned(), validator: head.validator, total })?;
            receive(&messages, partial, cancel, progress)?;
            return match total {
                Some(total) if partial.len() < total => {
                    Err(broken(&format!("{} of {} came", partial.len(), count(total, "byte"))).into())
                }
                _ => Ok(whole),
            };
        }
    }

    /// Whether the server says that it has this; what it sends is not looked at.
    pub(super) fn probe(&self, url: &str, cancel: &AtomicBool) -> Result<(), Stop> {
        match next(&self.request(url, 0, None)?, cancel)? {
            Message::Head(head) => match head.status {
                200 => Ok(()),
                404 | 410 => Err(Reason::NotFound(format!("http status {}", head.status)).into()),
                status => Err(Reason::Http(status).into()),
            },
            Message::Failed(reason) => Err(reason.into()),
            Message::Chunk(_) | Message::End => Err(broken("no response").into()),
        }
    }

    /// Starts the request's thread.
    fn request(
        &self,
        url: &str,
        have: u64,
        validator: Option<&str>,
    ) -> Result<Receiver<Message>, FetchError> {
        let agent = if url.starts_with("https:") { &self.secure } else { &self.plain };
        let mut request = agent.get(url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
            if let Some(validator) = validator {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        let (sender, receiver) = sync_channel(CHUNKS_WAITING);
        thread::Builder::new()
            .name("kiln-fetch".to_owned())
            .spawn(move || {
                // A send fails when nobody waits for it any more.
                let end = match request.call() {
                    Ok(response) => transfer(response, &sender),
                    Err(error) => Some(Message::Failed(reason(&error))),
                };
                if let Some(end) = end {
                    drop(sender.send(end));
                }
            })
            .map_err(FetchError::io(std::path::Path::new("kiln-fetch")))?;
        Ok(receiver)
    }
}

/// Says what comes. Returns the last message, or nothing once nobody listens.
fn transfer(response: ureq::http::Response<ureq::Body>, sender: &SyncSender<Message>) -> Option<Message> {
    let head = Head::of(response.status().as_u16(), response.headers());
    let wanted = matches!(head.status, 200 | 206);
    sender.send(Message::Head(Box::new(head))).ok()?;
    if !wanted {
        return None;
    }
    let mut body = response.into_body().into_reader();
    loop {
        let mut chunk = vec![0; CHUNK];
        match body.read(&mut chunk) {
            Ok(0) => return Some(Message::End),
            Ok(count) => {
                chunk.truncate(count);
                sender.send(Message::Chunk(chunk)).ok()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Some(Message::Failed(reason(&ureq::Error::from(error)))),
        }
    }
}

/// Writes what comes, to the end.
fn receive(
    messages: &Receiver<Message>,
    partial: &mut Partial,
    cancel: &AtomicBool,
    progress: &dyn Fn(u64),
) -> Result<(), Stop> {
    loop {
        match next(messages, cancel)? {
            Message::Chunk(bytes) => {
                partial.write(&bytes)?;
                progress(bytes.len() as u64);
            }
            Message::End => return Ok(()),
            Message::Failed(reason) => return Err(reason.into()),
            Message::Head(_) => return Err(broken("a second response").into()),
        }
    }
}

fn next(messages: &Receiver<Message>, cancel: &AtomicBool) -> Result<Message, Stop> {
    loop {
        turns::check(cancel)?;
        match messages.recv_timeout(TICK) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(broken("the request was given up").into()),
        }
    }
}

/// Whether a partial response goes on where we are, in a file of the size that we know of.
fn continues(head: &Head, have: u64, total: Option<u64>) -> bool {
    head.range.is_some_and(|(first, of)| first == have && (total.is_none() || of.is_none() || of == total))
}

impl Head {
    fn of(status: u16, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        // Weak tags say that the content is as good, not that its bytes are the same.
        let tag = text(header::ETAG).filter(|tag| !tag.starts_with("W/"));
        Self {
            status,
            validator: tag.or_else(|| text(header::LAST_MODIFIED)).map(str::to_owned),
            length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            range: text(header::CONTENT_RANGE).and_then(content_range),
        }
    }
}

/// `bytes 100-199/200`, `bytes 100-199/*`: the first byte, and the whole's size.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

fn broken(what: &str) -> Reason {
    Reason::Interrupted(what.to_owned())
}

/// Which of our reasons an error of the client is.
#[expect(clippy::wildcard_enum_match_arm, reason = "others' enums, which grow")]
fn reason(error: &ureq::Error) -> Reason {
    let text = error.to_string();
    match error {
        ureq::Error::StatusCode(404 | 410) => Reason::NotFound(text),
        ureq::Error::StatusCode(status) => Reason::Http(*status),
        ureq::Error::HostNotFound => Reason::Connect("the host's name does not resolve".to_owned()),
        ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
            Reason::Connect(text)
        }
        ureq::Error::Timeout(ureq::Timeout::Resolve) => {
            Reason::Connect("resolving the host's name takes too long".to_owned())
        }
        ureq::Error::Timeout(ureq::Timeout::Connect) => Reason::Connect("no answer".to_owned()),
        ureq::Error::Timeout(_) => Reason::Timeout("nothing came for too long".to_owned()),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) | ureq::Error::TlsRequired => {
            Reason::Tls(text)
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Reason::Unsupported(text),
        // The standard library gives this error no kind that could be named.
        ureq::Error::Io(error) if error.to_string().starts_with("failed to lookup address") => {
            Reason::Connect(error.to_string())
        }
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
            // A firewall's way of saying no.
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::TimedOut => Reason::Connect(error.to_string()),
            // rustls reports a bad certificate so.
            io::ErrorKind::InvalidData => Reason::Tls(error.to_string()),
            _ => Reason::Interrupted(error.to_string()),
        },
        _ => Reason::Interrupted(text),
    }
}

/// The stall time-out that suits downloads over bad lines.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_tells_where_it_begins_and_how_large_the_whole_is() {
        assert_eq!(content_range("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(content_range("bytes 0-9/*"), Some((0, None)));
        assert_eq!(content_range("bytes */200"), None);
        assert_eq!(content_range("lines 1-2/3"), None);
    }

    #[test]
    fn a_strong_tag_is_preferred_and_a_weak_one_ignored() {
        let validator = |tag: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ETAG, tag.parse().unwrap());
            headers.insert(header::LAST_MODIFIED, "Mon, 02 Jun 2025 00:00:00 GMT".parse().unwrap());
            Head::of(200, &headers).validator.unwrap()
        };
        assert_eq!(validator("\"a\""), "\"a\"");
        assert!(validator("W/\"a\"").starts_with("Mon"));
    }
}
