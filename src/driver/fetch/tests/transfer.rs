//! One mirror: whole, continued, broken and cancelled transfers.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::server::{part, respond, truncated, wait, whole};
use super::*;

/// Leaves the first `count` bytes in the partial file, from a transfer that broke.
fn break_off(space: &Space, count: usize) -> Server {
    let server = Server::start(move |request, stream| match request.first() {
        Some(first) => part(stream, CONTENT, first),
        None => truncated(stream, CONTENT, count),
    });
    let reason = only_reason(space.fetch(&source(&[server.url("/fox.tar")])));
    assert!(matches!(reason, Reason::Interrupted(_)), "{reason:?}");
    assert_eq!(fs::read(space.partial(&digest(CONTENT))).unwrap(), &CONTENT[..count]);
    server
}

/// A server that is asked when the first 10 bytes are there already, and how many come from it.
#[track_caller]
fn check_resume(
    bytes: u64,
    answer: impl Fn(&server::Request, &mut std::net::TcpStream) + Send + Sync + 'static,
) -> Server {
    let space = Space::new();
    drop(break_off(&space, 10));
    let server = Server::start(answer);
    let fetched = space.fetch(&source(&[server.url("/fox.tar")])).unwrap();
    assert_eq!(fs::read(&fetched.path).unwrap(), CONTENT);
    assert_eq!(server.requests()[0].first(), Some(10));
    assert_eq!(fetched.bytes_fetched, bytes);
    server
}

#[test]
fn a_download_is_verified_and_ends_up_read_only_in_the_cache() {
    use std::os::unix::fs::PermissionsExt;
    let (space, server, seen) = (Space::new(), Server::of(CONTENT), Cell::new(0));
    let source = source(&[server.url("/fox.tar")]);
    let fetched =
        space.fetcher.fetch(&source, &AtomicBool::new(false), &|bytes| seen.set(seen.get() + bytes)).unwrap();
    assert_eq!(fetched.path, space.cached(&source.sha256));
    assert_eq!(fs::read(&fetched.path).unwrap(), CONTENT);
    assert_eq!(fetched.path.metadata().unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!((fetched.from.as_str(), fetched.bytes_fetched), (server.url("/fox.tar").as_str(), 43));
    assert_eq!(seen.get(), 43);
    assert_eq!(fetched.refused, []);
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));
    assert!(server.requests()[0].header("user-agent").unwrap().starts_with("kiln/"));
    assert_eq!(fs::read_dir(space.dir.path().join("cache/partial")).unwrap().count(), 0);
}

#[test]
fn a_redirect_is_followed_and_keeps_the_range() {
    let space = Space::new();
    drop(break_off(&space, 10));
    let target = Server::of(CONTENT);
    let url = target.url("/there");
    let server = Server::start(move |_, stream| {
        respond(stream, "302 Found", &format!("Location: {url}\r\nContent-Length: 0\r\n"), b"");
    });
    let fetched = space.fetch(&source(&[server.url("/here")])).unwrap();
    assert_eq!((target.requests()[0].path.as_str(), target.requests()[0].first()), ("/there", Some(10)));
    assert_eq!((fetched.from, fetched.bytes_fetched), (server.url("/here"), 33));
}

#[test]
fn after_a_broken_transfer_only_the_rest_is_asked_for_if_the_file_is_still_the_same() {
    let space = Space::new();
    let server = break_off(&space, 10);
    // Another process, which knows only what is on the disk.
    let later = fetcher(space.dir.path(), |_| {});
    let fetched = later.fetch(&source(&[server.url("/fox.tar")]), &AtomicBool::new(false), &|_| {}).unwrap();
    assert_eq!(fetched.bytes_fetched, 33);
    assert_eq!(fs::read(fetched.path).unwrap(), CONTENT);
    let request = &server.requests()[1];
    assert_eq!((request.first(), request.header("if-range")), (Some(10), Some("\"v1\"")));
}

#[test]
fn another_mirror_continues_without_the_first_ones_validator() {
    let server = check_resume(33, |request, stream| part(stream, CONTENT, request.first().unwrap()));
    assert_eq!(server.requests()[0].header("if-range"), None);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_ignores_the_range_sends_everything() {
    let server = check_resume(43, |_, stream| whole(stream, CONTENT));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_wrong_content_range_is_answered_by_starting_anew() {
    let server = check_resume(43, |request, stream| match request.first() {
        Some(_) => part(stream, CONTENT, 5),
        None => whole(stream, CONTENT),
    });
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_file_of_another_size_is_fetched_anew() {
    let server = check_resume(43, |request, stream| match request.first() {
        Some(first) => part(stream, &[CONTENT, b"!"].concat(), first),
        None => whole(stream, CONTENT),
    });
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_server_that_gives_less_than_the_rest_breaks_the_transfer_off() {
    let space = Space::new();
    drop(break_off(&space, 10));
    let server = Server::start(|_, stream| {
        let headers = "Content-Range: bytes 10-14/43\r\nContent-Length: 5\r\n";
        respond(stream, "206 Partial Content", headers, &CONTENT[10..15]);
    });
    let reason = only_reason(space.fetch(&source(&[server.url("/fox.tar")])));
    assert_eq!(reason, Reason::Interrupted("15 of 43 bytes came".to_owned()));
    assert_eq!(fs::read(space.partial(&digest(CONTENT))).unwrap(), &CONTENT[..15]);
}

#[test]
fn a_range_beyond_the_end_is_answered_by_starting_anew() {
    let server = check_resume(43, |request, stream| match request.first() {
        Some(_) => respond(stream, "416 Range Not Satisfiable", "Content-Length: 0\r\n", b""),
        None => whole(stream, CONTENT),
    });
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_partial_file_damaged_on_this_disk_does_not_tell_on_the_mirror() {
    let (space, server) = (Space::new(), Server::of(CONTENT));
    fs::write(space.partial(&digest(CONTENT)), [0; 10]).unwrap();
    let fetched = space.fetch(&source(&[server.url("/fox.tar")])).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), CONTENT);
    assert_eq!(server.requests().iter().map(server::Request::first).collect::<Vec<_>>(), [Some(10), None]);
    assert_eq!((fetched.refused, fetched.bytes_fetched), (vec![], 33 + 43));
}

#[test]
fn a_partial_file_that_is_whole_needs_no_request() {
    let (space, server) = (Space::new(), Server::of(CONTENT));
    fs::write(space.partial(&digest(CONTENT)), CONTENT).unwrap();
    let fetched = space.fetch(&source(&[server.url("/fox.tar")])).unwrap();
    assert_eq!((server.requests().len(), fetched.bytes_fetched), (0, 0));
}

#[test]
fn a_file_without_a_known_length_is_taken_as_it_comes() {
    let space = Space::new();
    let server = Server::start(|_, stream| respond(stream, "200 OK", "", CONTENT));
    assert!(space.fetch(&source(&[server.url("/fox.tar")])).is_ok());
}

#[test]
fn statuses_are_told_apart() {
    for (status, expected) in [
        ("404 Not Found", Reason::NotFound("http status 404".to_owned())),
        ("410 Gone", Reason::NotFound("http status 410".to_owned())),
        ("403 Forbidden", Reason::Http(403)),
        ("503 Busy", Reason::Http(503)),
        ("206 Partial Content", Reason::Http(206)),
    ] {
        let space = Space::new();
        let server = Server::start(move |_, stream| respond(stream, status, "Content-Length: 2\r\n", b"no"));
        assert_eq!(only_reason(space.fetch(&source(&[server.url("/fox.tar")]))), expected);
        assert_eq!(fs::read_dir(space.dir.path().join("cache/partial")).unwrap().count(), 0);
    }
}

#[test]
fn a_closed_port_fails_as_no_connection_with_and_without_tls() {
    for url in [closed(), closed().replace("http:", "https:")] {
        let reason = only_reason(Space::new().fetch(&source(&[url])));
        assert!(matches!(reason, Reason::Connect(_)), "{reason:?}");
    }
}

#[test]
fn a_name_that_does_not_resolve_fails_as_no_connection() {
    // Too long for a label, so that no resolver need be asked.
    let url = format!("https://{}/fox.tar", "x".repeat(70));
    let reason = only_reason(Space::new().fetch(&source(&[url])));
    assert!(matches!(reason, Reason::Connect(_)), "{reason:?}");
}

#[test]
fn a_server_that_does_not_speak_tls_fails_as_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/fox.tar", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Until the client has gone: closing at once might take the answer back.
        drop(std::io::copy(&mut stream, &mut std::io::sink()));
    });
    let reason = only_reason(Space::new().fetch(&source(&[url])));
    assert!(matches!(reason, Reason::Tls(_)), "{reason:?}");
    server.join().unwrap();
}

#[test]
fn a_server_that_says_nothing_times_out() {
    let space = Space::with(|options| options.stall_timeout = Duration::from_millis(20));
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let server = Server::start(move |_, _| wait(&held));
    let reason = only_reason(space.fetch(&source(&[server.url("/fox.tar")])));
    assert!(matches!(reason, Reason::Timeout(_)), "{reason:?}");
    drop(release);
}

#[test]
fn a_cancelled_transfer_ends_at_once_and_keeps_what_came() {
    let space = Space::new();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let server = Server::start(move |_, stream| {
        truncated(stream, CONTENT, 20);
        wait(&held);
    });
    let cancel = AtomicBool::new(false);
    let came = Cell::new(0);
    let result = space.fetcher.fetch(&source(&[server.url("/fox.tar")]), &cancel, &|bytes| {
        came.set(came.get() + bytes);
        cancel.store(came.get() == 20, Ordering::Relaxed);
    });
    assert!(matches!(result, Err(FetchError::Cancelled)), "{result:?}");
    assert_eq!(fs::read(space.partial(&digest(CONTENT))).unwrap(), &CONTENT[..20]);
    drop(release);
}

#[test]
fn a_request_without_an_answer_can_be_cancelled() {
    let space = Space::new();
    let cancel = std::sync::Arc::new(AtomicBool::new(false));
    let (release, held) = channel::<()>();
    let (held, cancelled) = (Mutex::new(held), std::sync::Arc::clone(&cancel));
    let server = Server::start(move |_, _| {
        cancelled.store(true, Ordering::Relaxed);
        wait(&held);
    });
    let result = space.fetcher.fetch(&source(&[server.url("/fox.tar")]), &cancel, &|_| {});
    assert!(matches!(result, Err(FetchError::Cancelled)), "{result:?}");
    drop(release);
}
