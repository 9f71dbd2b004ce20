//! SIGKILL in the middle of each kind of task: nothing survives it, and nothing that was recorded is lost.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;

use super::fifo::{Bell, Hold};
use super::http::{Mirror, wait_for_hangup};
use super::sources::sha256;
use super::space::{RUN, Space};
use super::tree::Tree;

/// `before` is complete when `victim` is reached; each of `victim`'s scripts stops at `TASK.go` if that exists.
fn recipes(space: &Space, hold: &Hold, here: &Bell) -> String {
    let stop = |task: &str| {
        format!(
            r"if test -p {go}.{task}; then
      exec 9> {hold}
      mkfifo ready.{task}
      setsid sh -c 'exec 9> {hold}; echo > ready.{task}; while :; do sleep 1000; done' > /dev/null 2>&1 &
      read x < ready.{task}
      echo here > {here}
      read x < {go}.{task}
    fi",
            go = space.path("go").display(),
            hold = hold.path(),
            here = here.path(),
        )
    };
    format!(
        r#"
package: before
version: 1
tasks: {{install: mkdir "$DESTDIR/bin"; echo before > "$DESTDIR/bin/before"}}
---
package: victim
version: 1
build_deps: [before]
tasks:
  configure: |
    test ! -e configured
    echo configured > configured
    {configure}
  build: |
    test ! -e built
    cat configured > built
    {build}
  check: |
    grep configured built
    {check}
  install: |
    test -z "$(ls -A "$DESTDIR")"
    mkdir -p "$DESTDIR/bin"
    cp built "$DESTDIR/bin/victim"
    {install}
    ln -s victim "$DESTDIR/bin/link"
---
package: after
version: 1
build_deps: [victim]
tasks: {{install: mkdir "$DESTDIR/bin"; cat "$SYSROOT/bin/link" "$SYSROOT/bin/before" > "$DESTDIR/bin/after"}}
"#,
        configure = stop("configure"),
        build = stop("build"),
        check = stop("check"),
        install = stop("install"),
    )
}

fn undisturbed() -> Tree {
    let space = Space::new();
    let (hold, here) = (space.hold("hold"), space.bell("here"));
    space.packages(&recipes(&space, &hold, &here));
    space.run(0);
    space.sysroot()
}

#[test]
fn whatever_a_script_was_doing_dies_with_kiln_and_is_done_again() {
    let undisturbed = undisturbed();
    let space = Space::new();
    let (hold, mut here) = (space.hold("hold"), space.bell("here"));
    space.packages(&recipes(&space, &hold, &here));
    for task in ["configure", "build", "check", "install"] {
        let stop = space.path(&format!("go.{task}"));
        space.gate(&format!("go.{task}"));
        let kiln = space.start(&RUN);
        here.wait(&kiln);
        assert!(hold.is_held());
        kiln.kill();
        if rustix::process::geteuid().is_root() {
            hold.wait_until_free();
        }
        std::fs::remove_file(&stop).unwrap();
    }
    space.run(0);
    assert!(!hold.is_held(), "nobody, not even who called setsid");
    let ledger = space.ledger();
    assert_eq!(ledger.of("run_started").count(), 1, "one run, however often it was killed");
    assert_eq!(ledger.of("run_resumed").count(), 4);
    assert_eq!(ledger.story("before"), ["install 1", "merge 1", "completed"]);
    assert_eq!(ledger.of("task_failed").count(), 0);
    let story = ledger.story("victim");
    for task in ["configure", "build", "check", "install"] {
        let interrupted = format!("{task} 1: interrupted");
        assert_eq!(story.iter().filter(|line| **line == interrupted).count(), 1, "{story:?}");
    }
    space.sysroot().assert_identical(&undisturbed);
}

#[test]
fn a_fetch_that_was_cut_off_is_continued() {
    let space = Space::new();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let mirror = Mirror::of(&content);
    space.packages(&format!(
        "package: remote\nversion: 1\nsources: [{{file: data, sha256: {}, from: ['{}']}}]\ntasks: {{install: cp data \
         \"$DESTDIR\"}}\n",
        sha256(&content),
        mirror.url("data")
    ));
    let kiln = space.start(&RUN);
    let (stream, from) = mirror.answer_but(1_000_000);
    assert_eq!(from, 0);
    kiln.kill();
    wait_for_hangup(stream);

    let kiln = space.start(&RUN);
    let (stream, from) = mirror.answer_but(0);
    drop(stream);
    kiln.wait().exits(0);
    let ledger = space.ledger();
    assert_eq!(ledger.story("remote")[..3], ["fetch 1", "fetch 1: interrupted", "fetch 2"]);
    let fetched = ledger.of("task_finished").find(|record| record["task"] == "fetch").unwrap();
    assert_eq!(fetched["usage"]["fetched"], content.len() - from, "only what was missing");
    assert_eq!(std::fs::read(space.state().join("sysroot/data")).unwrap(), content);
}

/// A command whose `apt-get` waits for ever, holding `hold`, and has a child in another session that does so too and
/// rings `here`.
pub(crate) fn with_stuck_apt(space: &Space, arguments: &[&str], hold: &Hold, here: &Bell) -> Command {
    let bin = space.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\nexec 9> {}\nsetsid sh -c 'echo here > {}; while :; do sleep 1000; done' &\nwait\n",
        hold.path(),
        here.path()
    );
    for name in ["apt-get", "apt-cache"] {
        std::fs::write(bin.join(name), &script).unwrap();
        std::fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    space.packages(&format!(
        "package: remote\nversion: 1\nsources: [{{file: data, sha256: {}, from: [{{apt: data}}]}}]\ntasks: {{build: \
         'true'}}\n",
        "0".repeat(64)
    ));
    let mut command = space.command(arguments);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    command
}

#[test]
fn what_helps_to_fetch_dies_with_kiln() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped what_helps_to_fetch_dies_with_kiln: it needs root");
        return;
    }
    for arguments in [&RUN[..], &["fetch"]] {
        let space = Space::new();
        let (hold, mut here) = (space.hold("hold"), space.bell("here"));
        let kiln = space.start_command(with_stuck_apt(&space, arguments, &hold, &here));
        here.wait(&kiln);
        kiln.kill();
        hold.wait_until_free();
    }
}

#[test]
fn a_fetch_that_is_interrupted_ends_what_it_has_started() {
    for signal in [Signal::INT, Signal::TERM] {
        let space = Space::new();
        let (hold, mut here) = (space.hold("hold"), space.bell("here"));
        let kiln = space.start_command(with_stuck_apt(&space, &["fetch", "--json"], &hold, &here));
        here.wait(&kiln);
        kiln.signal(signal);
        kiln.wait().exits(130);
        assert!(!hold.is_held());
    }
}

#[test]
fn a_kiln_that_was_killed_leaves_no_lock_behind() {
    let space = Space::new();
    let mut here = space.bell("here");
    let go = space.gate("go");
    space.packages(&format!(
        "package: a\nversion: 1\ntasks: {{build: 'echo here > {}; read x < {}'}}\n",
        here.path(),
        go.path()
    ));
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    kiln.kill();
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    go.open();
    kiln.wait().exits(0);
}
