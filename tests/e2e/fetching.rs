//! Sources: where they come from, and what is done when they do not.

use std::fs;

use super::http::Mirror;
use super::sources::sha256;
use super::space::{RUN, Space};

/// A recipe with these sources that installs all that it finds in `SRC`.
pub(crate) fn recipe(sources: &str) -> String {
    format!(
        "package: sourced\nversion: 1\nsources:\n{sources}tasks: {{install: mkdir \"$DESTDIR/src\"; cp -R . \
         \"$DESTDIR/src\"}}\n"
    )
}

#[test]
fn archives_of_all_kinds_are_unpacked_and_other_files_copied() {
    let space = Space::new();
    let kinds = ["a.tar", "b.tar.gz", "c.tar.xz", "d.tar.bz2", "e.tar.zst", "f.zip"];
    let sources = kinds.map(|kind| space.tarball(kind, &[(&format!("in-{kind}"), kind), ("second", "2")]));
    let patch = space.source("fix.patch", b"--- a\n");
    // The first archive's single directory is `SRC` itself; each later archive gets one of its own.
    let main =
        space.tarball("main-1.0.tgz", &[("main-1.0/configure", "#!/bin/sh"), ("main-1.0/doc/README", "!")]);
    let mut entries = main.entry(&[&main.url()]);
    for source in sources.iter().chain([&patch]) {
        entries.push_str(&source.entry(&[&source.url()]));
    }
    space.packages(&recipe(&entries));
    space.run(0);
    let sysroot = space.sysroot();
    assert_eq!(sysroot.at("src/configure"), "file 0644 #!/bin/sh");
    assert_eq!(sysroot.at("src/doc/README"), "file 0644 !");
    assert_eq!(sysroot.at("src/fix.patch"), "file 0644 --- a");
    for kind in kinds {
        let (stem, _) = kind.split_once('.').unwrap();
        assert_eq!(sysroot.at(&format!("src/{stem}/in-{kind}")), format!("file 0644 {kind}"));
    }
    let fetched = space.ledger();
    let fetched = fetched.of("task_finished").find(|record| record["task"] == "fetch").unwrap();
    assert_eq!(fetched["usage"]["cache_requests"], 8);
}

#[test]
fn a_wrong_digest_is_a_security_violation_and_not_tried_again() {
    let space = Space::new();
    let source = space.source("data.txt", b"what upstream announced");
    space.packages(&recipe(&source.as_sources().replace("sources:\n", "")));
    fs::write(&source.path, "what somebody else put there").unwrap();
    space.run(1).says("data.txt");
    let ledger = space.ledger();
    assert_eq!(ledger.story("sourced"), ["fetch 1", "fetch 1: security_violation", "failed"]);
    let evidence = ledger.only("task_failed")["failure"]["evidence"]["text"].as_str().unwrap();
    assert!(evidence.contains(&source.sha256), "{evidence}");
    assert_eq!(space.sysroot().files(), [""; 0]);
}

#[test]
fn wrong_content_is_not_the_end_while_another_mirror_may_come_back() {
    let space = Space::new();
    let source = space.source("data.txt", b"right");
    let wrong = Mirror::of(b"wrong");
    let busy = Mirror::of(b"right");
    space.packages(&recipe(&source.entry(&[&wrong.url("data.txt"), &busy.url("data.txt")])));
    let kiln = space.start(&RUN);
    // Each connection is answered once: whoever asks the wrong one again waits for ever.
    drop(wrong.answer_but(0));
    drop(busy.answer_but(2));
    drop(busy.answer_but(0));
    kiln.wait().exits(0);
    let story = space.ledger().story("sourced");
    assert_eq!(story[..4], ["fetch 1", "fetch 1: security_violation", "fetch 2", "unpack 1"]);
}

#[test]
fn the_next_mirror_is_asked_when_one_has_nothing_or_something_else() {
    let space = Space::new();
    let source = space.source("data.txt", b"right");
    let wrong = space.source("wrong.txt", b"wrong");
    space.packages(&recipe(&source.entry(&["file:/nowhere/data.txt", &wrong.url(), &source.url()])));
    space.run(0);
    assert_eq!(space.sysroot().at("src/data.txt"), "file 0644 right");
    assert_eq!(space.ledger().story("sourced")[..2], ["fetch 1", "unpack 1"]);
}

#[test]
fn a_source_that_upstream_removed_comes_from_the_other_place_and_kiln_says_so() {
    let space = Space::new();
    let source = space.source("data.txt", b"right");
    let upstream = Mirror::of(b"");
    let removed = upstream.url("data.txt");
    space.packages(&recipe(&source.entry(&[&removed, &source.url()])));
    let kiln = space.start(&RUN);
    upstream.answer_not_found();
    kiln.wait()
        .exits(0)
        .says(&format!("warning: sourced: source `data.txt`: {removed}: not found: http status 404"))
        .says(&format!("sourced: source `data.txt` came from {}", source.url()));
    assert_eq!(space.sysroot().at("src/data.txt"), "file 0644 right");
}

#[test]
fn a_mirror_may_have_a_file_of_its_own() {
    let space = Space::new();
    let source = space.source("data.txt", b"of the recipe");
    let other = space.source("other.txt", b"of the mirror");
    fs::remove_file(&source.path).unwrap();
    let mirror = format!("{{url: '{}', file: other.txt, sha256: {}}}", other.url(), other.sha256);
    space.packages(&recipe(&source.entry(&[&source.url(), &mirror])));
    space.run(0);
    assert_eq!(space.sysroot().at("src/data.txt"), "file 0644 of the mirror");
}

#[test]
fn a_source_that_is_nowhere_is_a_network_issue_and_tried_again() {
    let space = Space::new();
    let source = space.source("data.txt", b"gone");
    fs::remove_file(&source.path).unwrap();
    space.packages(&recipe(&source.entry(&[&source.url()])));
    space.run(1);
    let failed = "network_issues";
    assert_eq!(
        space.ledger().story("sourced"),
        [
            "fetch 1".to_owned(),
            format!("fetch 1: {failed}"),
            "fetch 2".to_owned(),
            format!("fetch 2: {failed}"),
            "fetch 3".to_owned(),
            format!("fetch 3: {failed}"),
            "failed".to_owned()
        ]
    );
}

#[test]
fn offline_an_empty_cache_fails_once_and_clearly() {
    let space = Space::new();
    let source = space.source("data.txt", b"on a mirror");
    space.packages(&recipe(&source.entry(&[&source.url()])));
    let offline = [&RUN[..], &["--offline"]].concat();
    space.kiln(&offline).exits(1).says("offline");
    assert_eq!(space.ledger().story("sourced"), ["fetch 1", "fetch 1: network_issues", "failed"]);
}

#[test]
fn what_was_fetched_ahead_needs_no_mirror() {
    let space = Space::new();
    let one = space.tarball("one.tar.xz", &[("one/a", "a")]);
    let two = space.source("two.txt", b"two");
    space.packages(&recipe(&(one.entry(&[&one.url()]) + &two.entry(&[&two.url()]))));
    let answer = space.kiln(&["fetch", "--json"]).exits(0).json();
    let rows: Vec<_> = answer.as_array().unwrap().iter().map(|row| (&row["file"], &row["error"])).collect();
    assert_eq!(rows, [(&"one.tar.xz".into(), &().into()), (&"two.txt".into(), &().into())]);

    fs::remove_dir_all(space.path("upstream")).unwrap();
    assert_eq!(space.kiln(&["fetch", "--json"]).exits(0).json()[0]["from"], "cache");
    let offline = [&RUN[..], &["--offline"]].concat();
    space.kiln(&offline).exits(0);
    let ledger = space.ledger();
    let fetched = ledger.of("task_finished").find(|record| record["task"] == "fetch").unwrap();
    assert_eq!(fetched["usage"]["cache_hits"], 2);
    assert_eq!(space.sysroot().at("src/a"), "file 0644 a");
}

#[test]
fn a_damaged_file_in_the_cache_is_fetched_again() {
    let space = Space::new();
    let source = space.source("data.txt", b"right");
    space.packages(&recipe(&source.entry(&[&source.url()])));
    space.kiln(&["fetch"]).exits(0);
    let cached = space.state().join("sources/sha256").join(&source.sha256[..2]).join(&source.sha256);
    fs::remove_file(&cached).unwrap();
    fs::write(&cached, "wrong").unwrap();
    space.run(0);
    assert_eq!(space.sysroot().at("src/data.txt"), "file 0644 right");
}

#[test]
fn a_mirror_that_is_no_file_is_not_waited_for() {
    let space = Space::new();
    let gate = space.gate("gate");
    let source = space.source("data.txt", b"right");
    let fifo = format!("'file:{}'", gate.path());
    space.packages(&recipe(&source.entry(&[&fifo, "file:/proc", &source.url()])));
    space.run(0);
    assert_eq!(space.sysroot().at("src/data.txt"), "file 0644 right");
}

#[test]
fn only_bytes_of_the_network_are_counted_and_those_that_came_in_vain_too() {
    let space = Space::new();
    let local = space.source("local.txt", b"of this machine");
    let announced = [1; 1000];
    let mirror = Mirror::of(&[2; 1000]);
    space.packages(&recipe(&format!(
        "{}  - {{file: data, sha256: {}, from: ['{}']}}\n",
        local.entry(&[&local.url()]),
        sha256(&announced),
        mirror.url("data")
    )));
    let kiln = space.start(&RUN);
    drop(mirror.answer_but(0));
    kiln.wait().exits(1);
    assert_eq!(space.ledger().only("task_failed")["usage"]["fetched"], 1000);
}

#[test]
fn fetch_fails_when_a_source_is_missing_and_gets_the_others() {
    let space = Space::new();
    let gone = space.source("gone.txt", b"gone");
    fs::remove_file(&gone.path).unwrap();
    let there = space.source("there.txt", b"there");
    space.packages(&recipe(&(gone.entry(&[&gone.url()]) + &there.entry(&[&there.url()]))));
    let answer = space.kiln(&["fetch", "--json"]).exits(1).json();
    assert!(answer[0]["error"].as_str().unwrap().contains("gone.txt"), "{answer}");
    assert_eq!(answer[1]["error"], serde_json::Value::Null);
}
