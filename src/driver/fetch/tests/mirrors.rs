//! Several mirrors, `file:` mirrors, and the verdict.

use super::server::{Request, respond, truncated, whole};
use super::*;

type Answer = Box<dyn Fn(&Request, &mut std::net::TcpStream) + Send + Sync>;

fn serve(content: &'static [u8]) -> Server {
    Server::start(move |_, stream| whole(stream, content))
}

#[test]
fn wrong_content_is_refused_and_the_next_mirror_asked() {
    let (space, wrong, right) = (Space::new(), serve(b"a trojan horse"), serve(CONTENT));
    let source = source(&[wrong.url("/fox.tar"), right.url("/fox.tar")]);
    let fetched = space.fetch(&source).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), CONTENT);
    let got = digest(b"a trojan horse");
    assert_eq!(
        fetched.refused,
        [MirrorFailure { mirror: wrong.url("/fox.tar"), reason: Reason::DigestMismatch { got } }]
    );
    assert_eq!((fetched.from, fetched.bytes_fetched), (right.url("/fox.tar"), 43 + 14));
}

#[test]
fn wrong_content_outweighs_every_other_failure() {
    let (space, wrong) = (Space::new(), serve(b"a trojan horse"));
    let source = source(&[closed(), wrong.url("/fox.tar"), "file:missing".to_owned()]);
    let error = space.fetch(&source).unwrap_err();
    assert!(error.to_string().starts_with(&format!(
        "`fox.tar` from {} has sha256 {}, expected {}; http://127",
        wrong.url("/fox.tar"),
        digest(b"a trojan horse"),
        digest(CONTENT)
    )));
    let FetchError::DigestMismatch { expected, got, from, failures, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((expected, got), (digest(CONTENT), digest(b"a trojan horse")));
    assert_eq!((from, failures.len()), (wrong.url("/fox.tar"), 2));
    assert!(!space.cached(&source.sha256).exists());
    assert!(!space.partial(&source.sha256).exists());
}

#[test]
fn a_place_that_gave_wrong_content_is_not_asked_again() {
    let (space, wrong) = (Space::new(), serve(b"a trojan horse"));
    let source = source(&[wrong.url("/fox.tar")]);
    for _ in 0..2 {
        assert!(matches!(space.fetch(&source), Err(FetchError::DigestMismatch { .. })));
    }
    assert_eq!(wrong.requests().len(), 1);
}

#[test]
fn all_failures_are_told_in_order() {
    let missing = Server::start(|_, stream| respond(stream, "404 Not Found", "Content-Length: 0\r\n", b""));
    let space = Space::new();
    let urls = [missing.url("/fox.tar"), "gopher://x/".to_owned(), "file:none".to_owned()];
    let result = space.fetch(&source(&urls));
    let text = result.as_ref().unwrap_err().to_string();
    assert!(text.starts_with("`fox.tar` is nowhere to be had; http://127"), "{text}");
    let failures = failures(result);
    assert_eq!(failures.iter().map(|failure| failure.mirror.clone()).collect::<Vec<_>>(), urls);
    assert!(matches!(failures[0].reason, Reason::NotFound(_)));
    assert!(matches!(failures[1].reason, Reason::Unsupported(_)));
    assert!(matches!(failures[2].reason, Reason::NotFound(_)));
}

#[test]
fn a_host_that_is_down_is_asked_last_from_then_on() {
    let (space, good, down) = (Space::new(), serve(CONTENT), closed());
    let urls = [down.clone(), good.url("/fox.tar")];
    assert_eq!(space.fetch(&source(&urls)).unwrap().refused.len(), 1);
    fs::remove_file(space.cached(&digest(CONTENT))).unwrap();
    // The second time nothing is lost on it.
    assert_eq!(space.fetch(&source(&urls)).unwrap().refused, []);
    assert_eq!(good.requests().len(), 2);
    // It is still asked when nobody else has the file.
    let other = Source { sha256: digest(b"?"), ..source(&[]) };
    let mirrors = [down.clone(), "file:none".to_owned()].map(|url| Mirror {
        place: Place::Url(url),
        file: "fox.tar".to_owned(),
        sha256: digest(b"?"),
    });
    let failures = failures(space.fetch(&Source { mirrors: mirrors.to_vec(), ..other }));
    assert_eq!(
        failures.iter().map(|failure| failure.mirror.as_str()).collect::<Vec<_>>(),
        ["file:none", &down]
    );
}

#[test]
fn whatever_is_the_hosts_failure_puts_it_last_and_what_concerns_one_file_does_not() {
    let empty = "Content-Length: 0\r\n";
    let interrupted: Answer = Box::new(|_, stream| truncated(stream, CONTENT, 5));
    let status =
        |status: &'static str| -> Answer { Box::new(move |_, stream| respond(stream, status, empty, b"")) };
    for (answer, asked_first_again) in [
        (status("500 Internal Server Error"), false),
        (status("503 Service Unavailable"), false),
        (status("429 Too Many Requests"), false),
        (interrupted, false),
        (status("404 Not Found"), true),
        (status("403 Forbidden"), true),
    ] {
        let (space, bad, good) = (Space::new(), Server::start(answer), serve(CONTENT));
        let source = source(&[bad.url("/fox.tar"), good.url("/fox.tar")]);
        space.fetch(&source).unwrap();
        fs::remove_file(space.cached(&digest(CONTENT))).unwrap();
        let refused = space.fetch(&source).unwrap().refused;
        assert_eq!(refused.len(), usize::from(asked_first_again), "{refused:?}");
    }
}

#[test]
fn failures_of_tls_and_apt_are_the_hosts() {
    let text = || "words".to_owned();
    for reason in [Reason::Tls(text()), Reason::Apt(text()), Reason::Connect(text()), Reason::Timeout(text())]
    {
        assert!(reason.is_the_hosts(), "{reason}");
    }
}

#[test]
fn a_file_is_copied_from_the_definition_or_from_anywhere() {
    let space = Space::new();
    let file = space.dir.path().join("a b.tar");
    fs::write(&file, CONTENT).unwrap();
    for url in ["file:a%20b.tar".to_owned(), format!("file://{}", file.display())] {
        let fetched = space.fetch(&source(std::slice::from_ref(&url))).unwrap();
        assert_eq!((fetched.from, fetched.bytes_fetched), (url, 0));
        assert_eq!(fs::read(&fetched.path).unwrap(), CONTENT);
        fs::remove_file(fetched.path).unwrap();
    }
    assert_eq!(fs::read(&file).unwrap(), CONTENT);
}

#[test]
fn a_file_with_other_content_is_a_mismatch_and_a_directory_is_none() {
    let space = Space::new();
    fs::write(space.dir.path().join("fox.tar"), b"other").unwrap();
    let result = space.fetch(&source(&["file:fox.tar".to_owned()]));
    assert!(matches!(result, Err(FetchError::DigestMismatch { got, .. }) if got == digest(b"other")));
    let reason = only_reason(space.fetch(&source(&["file:.".to_owned()])));
    assert!(matches!(reason, Reason::Unreadable(_)), "{reason:?}");
}

#[test]
fn a_mirror_may_have_another_file_with_another_digest() {
    let (space, server) = (Space::new(), serve(b"repacked"));
    let mut source = source(&[closed(), server.url("/fox.orig.tar")]);
    source.mirrors[1].sha256 = digest(b"repacked");
    source.mirrors[1].file = "fox.orig.tar".to_owned();
    let fetched = space.fetch(&source).unwrap();
    assert_eq!((fetched.sha256, fetched.file), (digest(b"repacked"), "fox.orig.tar".to_owned()));
    assert_eq!(fetched.path, space.cached(&digest(b"repacked")));
    // Found again under that digest, without asking anybody.
    let offline = fetcher(space.dir.path(), |options| options.offline = true);
    let fetched = offline.fetch(&source, &AtomicBool::new(false), &|_| {}).unwrap();
    assert_eq!((fetched.from.as_str(), fetched.file.as_str()), (FROM_CACHE, "fox.orig.tar"));
}

#[test]
fn what_is_no_digest_never_becomes_a_path() {
    let space = Space::new();
    for text in ["../../../etc/passwd", "", "é", &"g".repeat(64)] {
        let mut source = source(&["file:x".to_owned()]);
        source.mirrors[0].sha256 = text.to_owned();
        assert!(matches!(space.fetch(&source), Err(FetchError::Invalid { .. })), "{text}");
    }
}

#[test]
fn credentials_of_a_url_stay_out_of_messages() {
    let place = Place::Url("https://me:secret@host:8443/a@b?c".to_owned());
    assert_eq!(place.to_string(), "https://host:8443/a@b?c");
    assert_eq!(Place::Url("https://host/a@b".to_owned()).to_string(), "https://host/a@b");
    assert_eq!(Place::Apt("zlib".to_owned()).to_string(), "apt:zlib");
}
