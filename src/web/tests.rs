//! The server over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::ledger::place::StateDir;
use crate::observe::facts::RunnerFacts;
use crate::observe::metrics::BuildInfo;
use crate::observe::tests::story::{Play, Story, quick};
use crate::observe::{Observer, Progress};

use super::{Bounds, ServerHandle, bind};

const WORDS: &str = "phase base\n zlib: build install\n bash: build < zlib";

fn over(progress: Progress) -> Arc<Observer> {
    let place = StateDir::new(std::env::temp_dir());
    Observer::here(progress, place, "".into(), Box::new(|_| Some(RunnerFacts::default())))
}

fn observer(story: &Story) -> Arc<Observer> {
    over(story.progress())
}

fn serve_within(story: &Story, bounds: Bounds) -> ServerHandle {
    let bound = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    bound.serve_within(observer(story), BuildInfo::default(), bounds).unwrap()
}

fn serve(story: &Story) -> ServerHandle {
    serve_within(story, Bounds::default())
}

fn finished() -> Story {
    let mut story = Story::new(WORDS);
    story.run(quick);
    story
}

/// Everything that comes back for these bytes.
fn send(addr: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as any.
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Head and body of the answer.
fn ask(addr: SocketAddr, method: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: kiln\r\nConnection: close\r\n{headers}\r\n");
    let answer = send(addr, &request);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

fn get(server: &ServerHandle, path: &str) -> (String, String) {
    let (head, body) = ask(server.addr(), "GET", path, "");
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn every_route_answers_with_its_type() {
    let server = serve(&finished());
    let each = [
        ("/", "text/html; charset=utf-8", "<h1>sketch</h1>"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "kiln_run_state{state=\"completed\"} 1\n"),
        ("/-/healthy", "text/plain; charset=utf-8", "healthy"),
        ("/-/ready", "text/plain; charset=utf-8", "ready"),
        ("/api/v1/status", "application/json", "\"status\": \"COMPLETED\""),
        ("/api/v1/monitoring", "application/json", "\"component\": \"BUILD_PROCESS\""),
        ("/metrics?collect=all", "text/plain; version=0.0.4; charset=utf-8", "kiln_series"),
    ];
    for (path, kind, text) in each {
        let (head, body) = get(&server, path);
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        assert!(head.contains(&format!("content-type: {kind}\r\n")), "{path}: {head}");
        assert!(body.contains(text), "{path}: {body}");
    }
    let live =
        ["kiln_filesystem_avail_bytes{role=\"cache\"}", "kiln_memory_available_bytes", "process_threads"];
    let (_, metrics) = get(&server, "/metrics");
    for name in live {
        assert!(metrics.contains(name), "{name}");
    }
    assert!(!metrics.contains("kiln_collector_success{collector=\"process\"} 0"));
    server.shutdown();
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_done_405() {
    let server = serve(&finished());
    for path in ["/api/v2/status", "/metrics/", "/../etc/passwd", "/api/v1/command"] {
        assert!(get(&server, path).0.starts_with("HTTP/1.1 404 "), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "BREW"] {
        let (head, _) = ask(server.addr(), method, "/metrics", "Content-Length: 0\r\n");
        assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
        assert!(head.contains("allow: GET, HEAD"), "{head}");
    }
    let (head, body) = ask(server.addr(), "HEAD", "/api/v1/status", "");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
}

#[test]
fn without_a_run_there_is_no_status() {
    let server = serve(&Story::new(WORDS));
    let (head, body) = get(&server, "/api/v1/status");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert!(body.contains("no run"), "{body}");
    assert!(get(&server, "/").1.contains("no run"));
    assert!(get(&server, "/-/ready").0.starts_with("HTTP/1.1 200 "));
}

#[test]
fn metrics_are_compressed_for_those_who_take_it() {
    let server = serve(&finished());
    for (accept, compressed) in [
        ("gzip", true),
        ("deflate, GZIP;q=0.5", true),
        ("gzip;q=0", false),
        ("identity", false),
        ("xgzip", false),
    ] {
        let headers = format!("Accept-Encoding: {accept}\r\n");
        let (head, body) = ask(server.addr(), "GET", "/metrics", &headers);
        assert_eq!(head.contains("content-encoding: gzip"), compressed, "{accept}: {head}");
        let mut text = String::new();
        if compressed {
            flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(body).unwrap();
        }
        assert!(text.contains("kiln_series"), "{accept}");
    }
}

#[test]
fn scrapes_of_the_final_state_are_counted_and_no_others() {
    let mut story = Story::new(WORDS);
    story.run(|task| if task == "bash.build#1" { Play::Crash(1) } else { Play::Ok(1) });
    let running = serve(&story);
    get(&running, "/metrics");
    assert_eq!(running.final_scrapes(), 0);
    story.run(quick);
    let server = serve(&story);
    get(&server, "/");
    get(&server, "/api/v1/status");
    assert_eq!(server.final_scrapes(), 0);
    get(&server, "/metrics");
    assert!(!server.wait_for_final_scrapes(Some(Duration::ZERO)));
    get(&server, "/metrics");
    assert!(server.wait_for_final_scrapes(Some(Duration::from_secs(30))));
}

#[test]
fn scrapes_of_the_run_before_are_none_of_this_ones_end() {
    let mut story = Story::new(WORDS);
    story.run(quick);
    let observer = observer(&story);
    let bound = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = bound.serve(Arc::clone(&observer), BuildInfo::default()).unwrap();
    get(&server, "/metrics");
    get(&server, "/metrics");
    assert_eq!(server.final_scrapes(), 2);
    story.run(quick);
    observer.fold(&story.entries);
    assert_eq!(server.final_scrapes(), 0);
    assert!(!server.wait_for_final_scrapes(Some(Duration::ZERO)));
    send(server.addr(), "HEAD /metrics HTTP/1.1\r\nHost: kiln\r\nConnection: close\r\n\r\n");
    assert_eq!(server.final_scrapes(), 0, "nothing was shown");
    get(&server, "/metrics");
    assert_eq!(server.awaited(), None, "it has been seen");
    assert!(server.wait_for_final_scrapes(None), "one is enough of who comes again and again");
    get(&server, "/metrics");
    assert!(server.wait_for_final_scrapes(Some(Duration::from_secs(30))));
}

#[test]
fn what_is_folded_later_is_seen_later() {
    let story = finished();
    let observer = over(story.progress_after(2));
    let bound = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = bound.serve(Arc::clone(&observer), BuildInfo::default()).unwrap();
    assert!(get(&server, "/metrics").1.contains("kiln_run_state{state=\"running\"} 1\n"));
    observer.fold(&story.entries);
    assert!(get(&server, "/metrics").1.contains("kiln_run_state{state=\"completed\"} 1\n"));
}

fn post(addr: SocketAddr, host: &str, body: &str) -> String {
    let head = format!(
        "POST /api/v1/alerts HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    String::from_utf8(send(addr, &(head + body))).unwrap().lines().next().unwrap_or_default().to_owned()
}

#[test]
fn alerts_are_taken_by_post_and_within_bounds() {
    let server = serve(&finished());
    let alert = r#"{"alerts": [{"status": "firing", "labels": {"alertname": "A"}, "annotations": {}}]}"#;
    assert_eq!(post(server.addr(), "127.0.0.1:9", alert), "HTTP/1.1 200 OK");
    assert_eq!(post(server.addr(), "localhost", "{}"), "HTTP/1.1 400 Bad Request");
    assert_eq!(post(server.addr(), "[::1]:9", &" ".repeat(1_100_000)), "HTTP/1.1 413 Payload Too Large");
    let other = post(server.addr(), "evil.example:9", alert);
    assert_eq!(other, "HTTP/1.1 421 Misdirected Request", "that name may be anybody's");
    let (head, _) = get(&server, "/api/v1/alerts");
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: POST"), "{head}");
}

#[test]
fn the_page_escapes_what_builds_print() {
    let mut story = Story::new("attempts 1\nphase base\n zlib: build");
    story.run(|_| Play::Fail(1, crate::failure::Category::LinkFailure));
    let server = serve(&story);
    let (_, body) = get(&server, "/");
    assert!(body.contains("main.c:7: error: &lt;b&gt; [31mno such thing"), "{body}");
    assert!(!body.contains("<b>") && !body.contains('\u{1b}'), "{body}");
    assert!(!body.contains("<script"), "{body}");
}

#[test]
fn a_head_that_does_not_end_or_is_too_large_is_cut_off() {
    let bounds = Bounds { read: Duration::from_millis(50), ..Bounds::default() };
    let server = serve_within(&finished(), bounds);
    // Returns at all: the server closes what does not go on.
    let answer = send(server.addr(), "GET /metrics HTTP/1.1\r\nHost: ki");
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let large = format!("GET /metrics HTTP/1.1\r\nHost: kiln\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let answer = send(server.addr(), &large);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn idle_clients_cannot_keep_others_out() {
    let bounds = Bounds { connections: 2, read: Duration::from_millis(50), ..Bounds::default() };
    let server = serve_within(&finished(), bounds);
    let idle: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
    assert!(get(&server, "/-/healthy").0.starts_with("HTTP/1.1 200 "));
    drop(idle);
}

#[test]
fn a_client_that_takes_nothing_is_let_go() {
    let bounds = Bounds { connections: 1, write: Duration::from_millis(50), ..Bounds::default() };
    let server = serve_within(&finished(), bounds);
    let greedy = TcpStream::connect(server.addr()).unwrap();
    let mut writer = greedy.try_clone().unwrap();
    // Asks for more than any socket buffers, and reads nothing of it.
    let request = "GET /metrics HTTP/1.1\r\nHost: kiln\r\n\r\n".repeat(100);
    let asking = std::thread::spawn(move || {
        for _ in 0..100 {
            if writer.write_all(request.as_bytes()).is_err() {
                break;
            }
        }
    });
    // The only connection is free again, or this would wait for ever.
    assert!(get(&server, "/-/healthy").0.starts_with("HTTP/1.1 200 "));
    greedy.shutdown(Shutdown::Both).unwrap_or_default();
    asking.join().unwrap();
}

#[test]
fn a_server_that_shuts_down_ends_its_connections_and_frees_its_address() {
    let server = serve(&finished());
    let addr = server.addr();
    let mut idle = TcpStream::connect(addr).unwrap();
    idle.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: kiln\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    server.shutdown();
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest); // returns
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn an_address_that_is_taken_is_an_error_with_its_name() {
    let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = bind(first.addr()).unwrap_err().to_string();
    assert_eq!(error, format!("cannot listen on `{}`", first.addr()));
}
