//! apt itself, where it and a network are there.

use std::sync::atomic::AtomicBool;

use super::super::{FetchError, Fetcher, Options, Place, Reason, Source};
use super::*;

/// A small package, in Debian for decades.
const PACKAGE: &str = "hello";

fn mirror(name: &str, file: &str, sha256: &str) -> Mirror {
    Mirror { place: Place::Apt(name.to_owned()), file: file.to_owned(), sha256: sha256.to_owned() }
}

fn source(mirror: Mirror) -> Source {
    Source { file: mirror.file.clone(), sha256: mirror.sha256.clone(), mirrors: vec![mirror] }
}

fn fetcher(dir: &Path) -> Fetcher {
    Fetcher::new(Options::new(dir.join("cache"), dir.to_owned()), Helpers::for_tests()).unwrap()
}

#[track_caller]
fn reason(result: Result<super::super::Fetched, FetchError>) -> Reason {
    match result {
        Err(FetchError::Unavailable { mut failures, .. }) => failures.remove(0).reason,
        other => panic!("{other:?}"),
    }
}

/// The system's entries, and two of others whose hosts do not answer.
fn with_dead_entries(dir: &Path) -> PathBuf {
    let etc = dir.join("etc");
    let parts = etc.join("sources.list.d");
    fs::create_dir_all(&parts).unwrap();
    let system = Entries::of_system(Path::new("/etc/apt"));
    fs::write(etc.join("sources.list"), system.lines + "deb http://127.0.0.1:1/x stable main\n").unwrap();
    fs::write(parts.join("a.sources"), "Types: deb\nURIs: http://127.0.0.1:2/x\nSuites: s\nComponents: m\n")
        .unwrap();
    fs::write(parts.join("b.sources"), system.stanzas).unwrap();
    etc
}

#[test]
fn a_source_package_is_fetched_even_when_other_entries_are_dead() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = AtomicBool::new(false);
    let mut fetcher = fetcher(dir.path());
    fetcher.apt.system = with_dead_entries(dir.path());
    let ask = |mirror| fetcher.fetch(&source(mirror), &cancel, &|_| {});
    // The real names and digests: those of whatever version this distribution has.
    let missing = reason(ask(mirror(PACKAGE, "hello_0.tar", &"0".repeat(64))));
    let Some(name) = matches!(missing, Reason::NotFound(_))
        .then(|| missing.to_string())
        .and_then(|text| text.split('`').nth(3).map(str::to_owned))
    else {
        assert!(std::env::var_os("CI").is_none(), "CI has apt and a network, but: {missing}");
        println!("skipped a_source_package_is_fetched_even_when_other_entries_are_dead: {missing}");
        return;
    };
    let item = fetcher.apt.find(PACKAGE, &name, &fetcher.turns, &cancel).unwrap();
    let digest = item.sha256.unwrap();

    let hello = ask(mirror(PACKAGE, &name, &digest)).unwrap();
    assert_eq!((hello.from.as_str(), hello.file.as_str()), ("apt:hello", name.as_str()));
    assert_eq!(hello.bytes_fetched, hello.path.metadata().unwrap().len());
    assert!(hello.bytes_fetched > 100_000);

    let mismatch = ask(mirror(PACKAGE, &name, &"0".repeat(64)));
    assert!(matches!(mismatch, Err(FetchError::DigestMismatch { got, .. }) if got == digest));
    let nowhere = reason(ask(mirror("no-such-package", "a.tar", &"1".repeat(64))));
    assert!(matches!(nowhere, Reason::NotFound(text) if text.contains("no source package")));
}

#[test]
fn without_entries_apt_counts_as_down() {
    let dir = tempfile::tempdir().unwrap();
    let mut fetcher = fetcher(dir.path());
    fetcher.apt.system = dir.path().join("nothing");
    let result = fetcher.fetch(
        &source(mirror(PACKAGE, "hello.tar", &"0".repeat(64))),
        &AtomicBool::new(false),
        &|_| {},
    );
    let reason = reason(result);
    // The second is what a machine without apt says.
    assert!(matches!(reason, Reason::Connect(_) | Reason::Unsupported(_)), "{reason:?}");
}

#[test]
fn a_name_never_becomes_an_option_of_apts() {
    let dir = tempfile::tempdir().unwrap();
    let apt = Apt::new(dir.path(), Duration::from_secs(1), Helpers::for_tests());
    for name in ["-oDir=/", "", "a b", "a=1", "hello/unstable"] {
        let found = apt.find(name, "f", &Turns::default(), &AtomicBool::new(false));
        assert!(matches!(found, Err(Stop::Mirror(Reason::NotFound(_)))), "{name}");
    }
}
