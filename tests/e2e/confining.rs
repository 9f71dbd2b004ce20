//! The sandbox: what tasks that leave it come to, what is said of it, and what is required.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use super::http::Mirror;
use super::process::Ended;
use super::space::{RUN, Space};
use super::users::{as_nobody, root, started_by};

/// `kiln run` with the sandbox as it is by default.
fn confined(space: &Space) -> Command {
    let mut command = space.command(&RUN);
    command.env("KILN_SET_SANDBOX", "on");
    command
}

/// A directory beside the definition that everybody may write to, and a recipe whose tasks are these.
fn space(tasks: &str) -> Space {
    let space = Space::new();
    let outside = space.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    space.packages(&format!(
        "package: p\nversion: 1\n{}",
        tasks.replace("OUTSIDE", &outside.display().to_string())
    ));
    space
}

/// Whether this was said to be in force, as it must be in CI.
#[track_caller]
fn in_force(test: &str, ended: &Ended, what: &str) -> bool {
    let is = ended.stderr.contains(what);
    assert!(is || std::env::var_os("CI").is_none(), "{test}: {}", ended.stderr);
    if !is {
        eprintln!("skipped: {test}: {}", ended.stderr);
    }
    is
}

const LANDLOCK: &str = "tasks may write only below their work directories (Landlock ABI";
const NO_NETWORK: &str = "have no network";

/// The only failure.
#[track_caller]
fn failure(space: &Space) -> Value {
    space.ledger().only("task_failed")["failure"].clone()
}

#[track_caller]
fn check_violation(space: &Space, story: &[&str], evidence: &str, hint: &str) {
    assert_eq!(space.ledger().story("p"), story);
    let failure = failure(space);
    assert_eq!(failure["category"], "security_violation");
    assert_eq!(failure["evidence"]["source"], "output");
    let text = failure["evidence"]["text"].as_str().unwrap();
    assert!(text.contains(evidence), "{failure}");
    assert!(failure["hint"].as_str().unwrap().contains(hint), "{failure}");
}

/// Something to say before, and the attempt on its third line.
const WRITES: &str = "tasks: {build: 'echo one; echo two; touch OUTSIDE/x || exit 7; echo done'}\n";
/// Nobody is at that address.
const CONNECTS: &str = "tasks: {build: 'bash -c \": > /dev/tcp/192.0.2.1/80\"'}\n";
const VIOLATION: [&str; 3] = ["build 1", "build 1: security_violation", "failed"];

#[test]
fn a_task_that_writes_outside_is_a_security_violation_and_not_tried_again() {
    let space = space(WRITES);
    let ended = space.start_command(confined(&space)).wait();
    let test = "a_task_that_writes_outside_is_a_security_violation_and_not_tried_again";
    if !in_force(test, &ended, LANDLOCK) {
        return;
    }
    let ended = ended.exits(1);
    assert!(ended.stdout.contains("p failed at build (security_violation)"), "{}", ended.stdout);
    let path = space.path("outside/x").display().to_string();
    check_violation(&space, &VIOLATION, &path, &path);
    assert_eq!(failure(&space)["evidence"]["line"], 3);
    assert_eq!(fs::read_dir(space.path("outside")).unwrap().count(), 0);
}

#[test]
fn an_ordinary_user_is_kept_in_too() {
    let test = "an_ordinary_user_is_kept_in_too";
    if !root(test) {
        return;
    }
    for (tasks, wall, evidence, hint) in [
        (WRITES, LANDLOCK, "outside/x", "TMPDIR"),
        (CONNECTS, NO_NETWORK, "Network is unreachable", "`sources`"),
    ] {
        let space = space(tasks);
        let mut command = as_nobody(&space);
        command.env("KILN_SET_SANDBOX", "on");
        let ended = space.start_command(command).wait();
        if in_force(test, &ended, wall) {
            ended.exits(1);
            check_violation(&space, &VIOLATION, evidence, hint);
        }
    }
}

#[test]
fn what_the_build_user_may_not_do_anyhow_is_no_violation() {
    let test = "what_the_build_user_may_not_do_anyhow_is_no_violation";
    if !root(test) {
        return;
    }
    for (mode, category) in [(0o777, "security_violation"), (0o755, "configuration_error")] {
        let space = space(WRITES);
        fs::set_permissions(space.path("outside"), fs::Permissions::from_mode(mode)).unwrap();
        let mut command = confined(&space);
        command.env("KILN_SET_BUILD_USER", "nobody");
        let ended = space.start_command(command).wait();
        if !in_force(test, &ended, LANDLOCK) {
            return;
        }
        ended.exits(1);
        let ledger = space.ledger();
        let failure = &ledger.of("task_failed").next().unwrap()["failure"];
        assert_eq!(failure["category"], category, "{failure}");
    }
}

#[test]
fn a_denial_that_a_task_gets_over_is_no_failure() {
    let space = space("tasks: {build: 'touch OUTSIDE/x || touch x', install: cp x \"$DESTDIR\"}\n");
    let ended = space.start_command(confined(&space)).wait();
    if in_force("a_denial_that_a_task_gets_over_is_no_failure", &ended, LANDLOCK) {
        ended.exits(0);
        assert_eq!(space.sysroot().files(), ["x"]);
    }
}

#[test]
fn only_the_install_of_a_direct_package_writes_to_the_sysroot() {
    let test = "only_the_install_of_a_direct_package_writes_to_the_sysroot";
    let direct =
        space("direct: true\ntasks: {install: echo x > \"$SYSROOT/x\"; mv \"$SYSROOT/x\" \"$DESTDIR/y\"}\n");
    let ended = direct.start_command(confined(&direct)).wait().exits(0);
    assert_eq!(direct.sysroot().files(), ["y"]);
    if !in_force(test, &ended, LANDLOCK) {
        return;
    }
    for tasks in [
        "direct: true\ntasks: {build: 'echo x > \"$SYSROOT/x\"', install: 'true'}\n",
        "tasks: {build: 'echo x > \"$SYSROOT/x\"', install: 'true'}\n",
    ] {
        let space = space(tasks);
        space.start_command(confined(&space)).wait().exits(1);
        check_violation(&space, &VIOLATION, "sysroot/x", "sysroot/x");
    }
}

#[test]
fn a_task_that_uses_the_network_is_a_security_violation_and_not_tried_again() {
    let test = "a_task_that_uses_the_network_is_a_security_violation_and_not_tried_again";
    let space = space(CONNECTS);
    let ended = space.start_command(confined(&space)).wait();
    if in_force(test, &ended, NO_NETWORK) {
        ended.exits(1);
        check_violation(&space, &VIOLATION, "Network is unreachable", "`sources`");
    }
}

#[test]
fn fetching_has_the_network_that_tasks_have_not() {
    let test = "fetching_has_the_network_that_tasks_have_not";
    let space = Space::new();
    let source = space.source("data.txt", b"right");
    let mirror = Mirror::of(b"right");
    let url = mirror.url("data.txt");
    let port = url.trim_start_matches("http://127.0.0.1:").trim_end_matches("/data.txt");
    space.packages(&format!(
        "package: p\nversion: 1\nsources:\n{}tasks: {{build: 'bash -c \": > /dev/tcp/127.0.0.1/{port}\" && exit 0; touch \
         lonely', install: cp lonely \"$DESTDIR\"}}\n",
        source.entry(&[&url])
    ));
    let kiln = space.start_command(confined(&space));
    let answered = mirror.answer_but(0);
    let ended = kiln.wait();
    drop(answered);
    if in_force(test, &ended, NO_NETWORK) {
        ended.exits(0);
        assert_eq!(space.sysroot().files(), ["lonely"]);
    }
}

#[test]
fn what_helps_to_fetch_has_the_network_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let space = Space::new();
    let bin = space.path("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["apt-get", "apt-cache"] {
        fs::write(bin.join(name), format!("#!/bin/bash\n: > /dev/tcp/127.0.0.1/{port}\nexit 100\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let digest = "0".repeat(64);
    space.packages(&format!(
        "package: p\nversion: 1\nsources: [{{file: data, sha256: {digest}, from: [{{apt: data}}]}}]\ntasks: {{build: 'true'}}\n"
    ));
    let mut command = confined(&space);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    space.start_command(command).wait().exits(1);
    // Who has reached it waits there.
    listener.set_nonblocking(true).unwrap();
    listener.accept().unwrap();
}

#[test]
fn off_is_said_and_nothing_is_forbidden() {
    let space = space("tasks: {build: touch OUTSIDE/x}\n");
    let mut command = confined(&space);
    command.env("KILN_SET_SANDBOX", "off");
    space.start_command(command).wait().exits(0).says("`sandbox: off`");
    assert!(space.path("outside/x").exists());
}

/// The same without the capability that a network namespace needs.
fn without_admin(kiln: &Command) -> Command {
    let mut by = Command::new("setpriv");
    by.args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]);
    started_by(by, kiln)
}

#[test]
fn what_is_required_and_not_there_ends_the_run_before_it_begins() {
    if !root("what_is_required_and_not_there_ends_the_run_before_it_begins") {
        return;
    }
    let space = space("tasks: {build: touch OUTSIDE/x}\n");
    let mut command = confined(&space);
    command.env("KILN_SET_SANDBOX", "require");
    let ended = space.start_command(without_admin(&command)).wait().exits(5);
    let ended =
        ended.says("`sandbox: require`").says("have the host's network (cannot make a network namespace");
    assert!(!ended.stderr.contains("wherever"), "only what is missing: {}", ended.stderr);
    assert_eq!(space.ledger().worked_on(), [""; 0]);
    assert!(!space.path("outside/x").exists());
}

#[test]
fn what_is_not_there_and_not_required_is_said() {
    let test = "what_is_not_there_and_not_required_is_said";
    if !root(test) {
        return;
    }
    let space = space(WRITES);
    let ended = space.start_command(without_admin(&confined(&space))).wait();
    let ended = ended.exits(1).says("tasks have the host's network (cannot make a network namespace");
    assert!(!ended.stderr.contains(NO_NETWORK), "{}", ended.stderr);
    // The other wall stands.
    if in_force(test, &ended, LANDLOCK) {
        check_violation(&space, &VIOLATION, "outside/x", "outside/x");
    }
}

#[test]
fn what_is_required_and_there_is_no_hindrance() {
    let test = "what_is_required_and_there_is_no_hindrance";
    if !root(test) {
        return;
    }
    let space = space("tasks: {build: 'true'}\n");
    let mut command = confined(&space);
    command.env("KILN_SET_SANDBOX", "require");
    let ended = space.start_command(command).wait();
    if in_force(test, &ended, LANDLOCK) && in_force(test, &ended, NO_NETWORK) {
        ended.exits(0);
    }
}
