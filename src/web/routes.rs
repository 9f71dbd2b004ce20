//! What each path answers.
//!
//! Owns: paths, methods, headers. Does not know: sockets (see `server`), what documents say (see `observe`).

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use crate::observe::metrics::{self, BuildInfo};
use crate::observe::observer::now;
use crate::observe::status::{BuildStatus, Monitoring};
use crate::observe::{Observer, Snapshot};

use super::alerts::{self, Alerts, Refused};
use super::scrapes::Scrapes;
use super::server::{Answers, Peer};
use super::{Bounds, page};

/// Answers below this many bytes are not worth compressing.
const COMPRESS_FROM: usize = 1024;

/// What answers are made from.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) observer: Arc<Observer>,
    pub(super) build: BuildInfo,
    pub(super) scrapes: Arc<Scrapes>,
    pub(super) alerts: Alerts,
    pub(super) bounds: Bounds,
}

/// A path that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Page,
    Metrics,
    Healthy,
    Ready,
    Status,
    Monitoring,
    Alerts,
}

/// An answer before it is on the wire.
pub(super) struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: Vec<u8>,
    gzip: bool,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Page),
            "/metrics" => Some(Self::Metrics),
            "/-/healthy" => Some(Self::Healthy),
            "/-/ready" => Some(Self::Ready),
            "/api/v1/status" => Some(Self::Status),
            "/api/v1/monitoring" => Some(Self::Monitoring),
            "/api/v1/alerts" => Some(Self::Alerts),
            _ => None,
        }
    }
}

impl Answers for Routes {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
        answer(self, request, peer).await
    }
}

async fn answer(routes: Arc<Routes>, request: Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
    let Some(route) = Route::of(request.uri().path()) else {
        return respond(Answer::text(StatusCode::NOT_FOUND, "not found\n"));
    };
    let (allowed, allow): (&[Method], _) = match route {
        Route::Alerts => (&[Method::POST], "POST"),
        Route::Page | Route::Metrics | Route::Healthy | Route::Ready | Route::Status | Route::Monitoring => {
            (&[Method::GET, Method::HEAD], "GET, HEAD")
        }
    };
    if !allowed.contains(request.method()) {
        let mut response = respond(Answer::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"));
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        return response;
    }
    if route == Route::Alerts {
        return respond(routes.alerts(request, peer).await);
    }
    if route == Route::Healthy {
        return respond(Answer::text(StatusCode::OK, "healthy\n"));
    }
    let gzip = route == Route::Metrics && takes_gzip(request.headers());
    // HEAD shows nothing.
    let scraper = match peer {
        Peer::Remote(address) if *request.method() == Method::GET => Some(address.ip()),
        Peer::Remote(_) | Peer::Local(_) => None,
    };
    let limit = routes.bounds.answer;
    let observer = Arc::clone(&routes.observer);
    let answer = in_time(limit, move || routes.make(route, gzip, scraper)).await;
    if route == Route::Metrics && !answer.status.is_success() {
        observer.not_shown();
    }
    respond(answer)
}

/// What is made beside the thread that serves, unless it takes too long.
pub(super) async fn in_time(limit: Duration, make: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(make)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            // A panic, which has been told as what it is.
            tracing::warn!("cannot answer a request: {error}");
            Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "cannot answer\n")
        }
        Err(_) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "took too long\n"),
    }
}

impl Routes {
    fn make(&self, route: Route, gzip: bool, scraper: Option<IpAddr>) -> Answer {
        let snapshot = self.observer.snapshot(now());
        if !self.observer.has_read() {
            return Answer::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the ledger cannot be read: see the messages of `kiln serve`\n",
            );
        }
        match route {
            Route::Page => Answer::new("text/html; charset=utf-8", page::render(&snapshot).into_bytes()),
            Route::Metrics => self.metrics(snapshot, gzip, scraper),
            Route::Healthy => Answer::text(StatusCode::OK, "healthy\n"),
            Route::Ready => Answer::text(StatusCode::OK, "ready\n"),
            Route::Status => match BuildStatus::of(&snapshot) {
                Some(status) => Answer::json(StatusCode::OK, &status),
                None => Answer::json(
                    StatusCode::NOT_FOUND,
                    &serde_json::json!({"error": "there has been no run yet"}),
                ),
            },
            Route::Monitoring => Answer::json(StatusCode::OK, &Monitoring::of(&snapshot)),
            Route::Alerts => Answer::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
        }
    }

    /// Whoever is elsewhere is none of ours: it would write into the journal.
    async fn alerts(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        if let Peer::Remote(address) = peer
            && !address.ip().to_canonical().is_loopback()
        {
            return Answer::text(StatusCode::FORBIDDEN, "alerts are taken from this host only\n");
        }
        // A page in somebody's browser cannot send that here without being asked whether it may, unless it has this host's address
        // under a name of its own.
        if !is_of_this_host(request.headers()) {
            return Answer::text(
                StatusCode::MISDIRECTED_REQUEST,
                "alerts are taken at an address, localhost, or this host's name\n",
            );
        }
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
        let body = Limited::new(request.into_body(), alerts::BYTES_MOST).collect();
        let body = match tokio::time::timeout(self.bounds.read, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "at most 1 MiB\n"),
            Err(_) => return Answer::text(StatusCode::REQUEST_TIMEOUT, "took too long\n"),
        };
        if !is_json {
            return Answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json is wanted\n");
        }
        match self.alerts.take(&body, Instant::now()) {
            Ok(_) => Answer::text(StatusCode::OK, "ok\n"),
            Err(refused @ Refused::Wrong(_)) => {
                Answer::text(StatusCode::BAD_REQUEST, &format!("{refused}\n"))
            }
            // With 429 Alertmanager would give up.
            Err(refused @ Refused::TooMany) => {
                Answer::text(StatusCode::SERVICE_UNAVAILABLE, &format!("{refused}\n"))
            }
        }
    }

    fn metrics(&self, snapshot: Snapshot, gzip: bool, scraper: Option<IpAddr>) -> Answer {
        let end = snapshot.is_final().then_some(snapshot.counters.records);
        let answer = match metrics::render(self.build.clone(), snapshot, self.observer.sample()) {
            Ok(text) => Answer::new(metrics::CONTENT_TYPE, text.into_bytes()),
            Err(error) => return Answer::text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        };
        if let Some(scraper) = scraper {
            self.scrapes.count(scraper, end);
        }
        if gzip { answer.compressed() } else { answer }
    }
}

/// Whether the name that was asked for is an address, or one of this host's.
fn is_of_this_host(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let name = host.host();
    let own = rustix::system::uname();
    let own = own.nodename().to_string_lossy();
    let short = own.split('.').next().unwrap_or_default();
    name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || [&own, short].iter().any(|own| name.eq_ignore_ascii_case(own))
}

impl Answer {
    fn new(kind: &'static str, body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, kind, body, gzip: false }
    }

    pub(super) fn text(status: StatusCode, text: &str) -> Self {
        Self { status, ..Self::new("text/plain; charset=utf-8", text.into()) }
    }

    pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Self {
        match serde_json::to_vec_pretty(document) {
            Ok(mut body) => {
                body.push(b'\n');
                Self { status, ..Self::new("application/json", body) }
            }
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }

    /// Whether it is what is said of one that took too long.
    pub(super) fn is_late(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    fn compressed(self) -> Self {
        if self.body.len() < COMPRESS_FROM {
            return self;
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(self.body.len() / 4), Compression::fast());
        match encoder.write_all(&self.body).and_then(|()| encoder.finish()) {
            Ok(body) => Self { body, gzip: true, ..self },
            Err(_) => self, // memory does not fail; plain is right anyway
        }
    }
}

pub(super) fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    if answer.gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

/// Whether `Accept-Encoding` names gzip, and not with a quality of 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts
            .filter_map(|part| part.strip_prefix("q="))
            .any(|quality| quality.parse::<f32>().is_ok_and(|quality| quality == 0.0));
        named && !refused
    })
}
