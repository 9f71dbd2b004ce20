//! The cache: damage, offline, and several who want the same.

use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use rustix::fs::{FlockOperation, flock};

use super::server::{wait, whole};
use super::*;

fn damage(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, b"the quick brown fox jumps over the lazy cat").unwrap();
}

#[test]
fn what_is_cached_is_not_asked_for() {
    let (space, server) = (Space::new(), Server::of(CONTENT));
    let mut source = source(&[server.url("/fox.tar")]);
    space.fetch(&source).unwrap();
    source.sha256.make_ascii_uppercase();
    for fetcher in [&space.fetcher, &fetcher(space.dir.path(), |options| options.offline = true)] {
        let fetched = fetcher.fetch(&source, &AtomicBool::new(false), &|_| panic!("nothing comes")).unwrap();
        assert_eq!((fetched.from.as_str(), fetched.bytes_fetched), (FROM_CACHE, 0));
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_damaged_file_is_noticed_said_and_fetched_again() {
    let (space, server) = (Space::new(), Server::of(CONTENT));
    let source = source(&[server.url("/fox.tar")]);
    let path = space.fetch(&source).unwrap().path;
    damage(&path);
    assert_eq!(space.fetch(&source).unwrap().from, server.url("/fox.tar"));
    // As a power cut may leave it.
    fs::write(&path, b"").unwrap();
    let fetched = space.fetch(&source).unwrap();
    assert_eq!(fs::read(&fetched.path).unwrap(), CONTENT);
    assert_eq!(fetched.from, server.url("/fox.tar"));
    let got = digest(b"");
    assert_eq!(
        fetched.refused,
        [MirrorFailure { mirror: FROM_CACHE.to_owned(), reason: Reason::DigestMismatch { got } }]
    );
}

#[test]
fn a_file_that_looks_untouched_is_read_once_by_a_process() {
    let space = Space::new();
    fs::write(space.dir.path().join("fox.tar"), CONTENT).unwrap();
    let source = source(&["file:fox.tar".to_owned()]);
    let path = space.fetch(&source).unwrap().path;
    let before = path.metadata().unwrap().modified().unwrap();
    damage(&path);
    fs::File::open(&path).unwrap().set_modified(before).unwrap();
    assert_eq!(space.fetch(&source).unwrap().from, FROM_CACHE);
    let other = fetcher(space.dir.path(), |_| {});
    assert_eq!(other.fetch(&source, &AtomicBool::new(false), &|_| {}).unwrap().from, "file:fox.tar");
}

#[test]
fn a_damaged_file_that_nobody_has_is_unavailable_and_no_violation() {
    let space = Space::new();
    fs::write(space.dir.path().join("fox.tar"), CONTENT).unwrap();
    let source = source(&["file:fox.tar".to_owned()]);
    damage(&space.fetch(&source).unwrap().path);
    fs::remove_file(space.dir.path().join("fox.tar")).unwrap();
    let failures = failures(space.fetch(&source));
    assert_eq!(failures.len(), 2);
    assert_eq!(failures[0].mirror, FROM_CACHE);
}

#[test]
fn offline_asks_nobody() {
    let space = Space::with(|options| options.offline = true);
    let server = Server::of(CONTENT);
    fs::write(space.dir.path().join("fox.tar"), CONTENT).unwrap();
    let result = space.fetch(&source(&[server.url("/fox.tar"), "file:fox.tar".to_owned()]));
    assert!(matches!(result, Err(FetchError::Offline { file }) if file == "fox.tar"));
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_file_in_the_way_is_an_error_with_its_path() {
    let space = Space::new();
    fs::create_dir(space.partial(&digest(CONTENT))).unwrap();
    let error = space.fetch(&source(&["file:fox.tar".to_owned()])).unwrap_err();
    assert!(matches!(error, FetchError::Io { path, .. } if path == space.partial(&digest(CONTENT))));
}

#[test]
fn two_threads_that_want_the_same_ask_once() {
    let space = Space::new();
    let (release, held) = channel::<()>();
    let (asked, first_asked) = channel();
    let (held, asked) = (Mutex::new(held), Mutex::new(asked));
    let server = Server::start(move |_, stream| {
        asked.lock().unwrap().send(()).unwrap();
        wait(&held);
        whole(stream, CONTENT);
    });
    let source = source(&[server.url("/fox.tar")]);
    let mut from = thread::scope(|scope| {
        let first = scope.spawn(|| space.fetch(&source).unwrap().from);
        first_asked.recv().unwrap();
        let second = scope.spawn(|| space.fetch(&source).unwrap().from);
        while space.fetcher.turns.waiting() == 0 && !second.is_finished() && server.requests().len() == 1 {
            thread::yield_now();
        }
        drop(release);
        [first.join().unwrap(), second.join().unwrap()]
    });
    from.sort();
    assert_eq!(from, [FROM_CACHE.to_owned(), server.url("/fox.tar")]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn another_process_at_work_is_waited_for_and_its_result_used() {
    let (space, server) = (Space::new(), Server::of(CONTENT));
    let source = source(&[server.url("/fox.tar")]);
    let (partial, cached) = (space.partial(&source.sha256), space.cached(&source.sha256));
    // A lock belongs to the open file, so another one in this process is as good as another process.
    let theirs = fs::File::create(&partial).unwrap();
    flock(&theirs, FlockOperation::LockExclusive).unwrap();
    let fetched = thread::scope(|scope| {
        let ours = scope.spawn(|| space.fetch(&source).unwrap());
        while space.fetcher.turns.waiting() == 0 && !ours.is_finished() {
            thread::yield_now();
        }
        fs::write(&partial, CONTENT).unwrap();
        fs::create_dir_all(cached.parent().unwrap()).unwrap();
        fs::rename(&partial, &cached).unwrap();
        drop(theirs);
        ours.join().unwrap()
    });
    assert_eq!((fetched.from.as_str(), server.requests().len()), (FROM_CACHE, 0));
}

#[test]
fn a_partial_file_that_another_process_threw_away_is_begun_anew() {
    let (space, server) = (Space::new(), Server::of(CONTENT));
    let source = source(&[server.url("/fox.tar")]);
    let theirs = fs::File::create(space.partial(&source.sha256)).unwrap();
    flock(&theirs, FlockOperation::LockExclusive).unwrap();
    let fetched = thread::scope(|scope| {
        let ours = scope.spawn(|| space.fetch(&source).unwrap());
        while space.fetcher.turns.waiting() == 0 && !ours.is_finished() {
            thread::yield_now();
        }
        fs::remove_file(space.partial(&source.sha256)).unwrap();
        drop(theirs);
        ours.join().unwrap()
    });
    assert_eq!(fs::read(fetched.path).unwrap(), CONTENT);
}

#[test]
fn waiting_for_another_process_can_be_cancelled() {
    let space = Space::new();
    let source = source(&["file:fox.tar".to_owned()]);
    let theirs = fs::File::create(space.partial(&source.sha256)).unwrap();
    flock(&theirs, FlockOperation::LockExclusive).unwrap();
    let cancel = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        let ours = scope.spawn(|| space.fetcher.fetch(&source, &cancel, &|_| {}));
        while space.fetcher.turns.waiting() == 0 && !ours.is_finished() {
            thread::yield_now();
        }
        cancel.store(true, Ordering::Relaxed);
        ours.join().unwrap()
    });
    assert!(matches!(result, Err(FetchError::Cancelled)));
}
