//! Fetching, with real files and a real server on the loopback interface.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{
    FROM_CACHE, FetchError, Fetched, Fetcher, Helpers, Mirror, MirrorFailure, Options, Place, Reason, Source,
};
use server::Server;

mod cache;
mod mirrors;
mod server;
mod transfer;

const CONTENT: &[u8] = b"the quick brown fox jumps over the lazy dog";

/// A directory with a cache, and a fetcher on it.
struct Space {
    dir: TempDir,
    fetcher: Fetcher,
}

impl Space {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fetcher = fetcher(dir.path(), change);
        Self { dir, fetcher }
    }

    fn fetch(&self, source: &Source) -> Result<Fetched, FetchError> {
        self.fetcher.fetch(source, &AtomicBool::new(false), &|_| {})
    }

    /// Where the cache keeps it, whether it is there or not.
    fn cached(&self, digest: &str) -> std::path::PathBuf {
        self.dir.path().join("cache/sha256").join(&digest[..2]).join(digest)
    }

    fn partial(&self, digest: &str) -> std::path::PathBuf {
        self.dir.path().join("cache/partial").join(digest)
    }
}

fn fetcher(dir: &Path, change: impl FnOnce(&mut Options)) -> Fetcher {
    let mut options = Options::new(dir.join("cache"), dir.to_owned());
    change(&mut options);
    Fetcher::new(options, Helpers::for_tests()).unwrap()
}

fn digest(content: &[u8]) -> String {
    super::cache::hex(Sha256::new_with_prefix(content))
}

/// `CONTENT`, from these URLs.
fn source(urls: &[String]) -> Source {
    let mirror = |url: &String| Mirror {
        place: Place::Url(url.clone()),
        file: "fox.tar".to_owned(),
        sha256: digest(CONTENT),
    };
    Source { file: "fox.tar".to_owned(), sha256: digest(CONTENT), mirrors: urls.iter().map(mirror).collect() }
}

/// A URL whose host refuses connections.
fn closed() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/fox.tar", listener.local_addr().unwrap())
}

#[track_caller]
fn failures(result: Result<Fetched, FetchError>) -> Vec<MirrorFailure> {
    match result {
        Err(FetchError::Unavailable { failures, .. }) => failures,
        other => panic!("expected `Unavailable`, got {other:?}"),
    }
}

#[track_caller]
fn only_reason(result: Result<Fetched, FetchError>) -> Reason {
    let failures = failures(result);
    assert_eq!(failures.len(), 1, "{failures:?}");
    failures[0].reason.clone()
}
