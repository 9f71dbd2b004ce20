//! Whose kiln it is, and whom scripts run as.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use super::killing::with_stuck_apt;
use super::space::{RUN, Space};

/// The ids of the host's `nobody`.
const NOBODY: u32 = 65_534;

/// Whether this machine lets the test become somebody else; in CI it has to.
pub(crate) fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "{test} needs root");
    if !root {
        eprintln!("skipped: {test} needs root");
    }
    root
}

#[test]
fn what_an_ordinary_user_started_dies_with_kiln_where_the_machine_permits_that() {
    if !root("what_an_ordinary_user_started_dies_with_kiln_where_the_machine_permits_that") {
        return;
    }
    let space = Space::new();
    let (hold, mut here, never) = (space.hold("hold"), space.bell("here"), space.gate("never"));
    // Nothing tells whose it is.
    let daemon = format!("exec 9> {}; echo here > {}; read x < {}", hold.path(), here.path(), never.path());
    space.packages(&format!(
        "package: a\nversion: 1\ntasks:\n  build: |\n    (env -i setsid sh -c '{daemon}' &)\n    read x < {}\n",
        never.path()
    ));
    let kiln = space.start_command(as_nobody(&space));
    here.wait(&kiln);
    if kiln.kill().stderr.contains("without a pid namespace") {
        eprintln!("skipped: this machine permits no namespaces to ordinary users");
        fs::write(space.path("never"), "go\ngo\n").unwrap();
        return;
    }
    hold.wait_until_free();
}

/// `kiln run` by somebody without privileges.
pub(crate) fn as_nobody(space: &Space) -> Command {
    of_nobody(&space.command(&RUN))
}

/// The same where no user namespace is permitted, as the kernel permits none to who is in a chroot.
pub(crate) fn of_nobody_without_namespaces(kiln: &Command) -> Command {
    let mut by = Command::new("unshare");
    by.args(["--mount", "sh", "-c"])
        .arg(
            "/bin/mount --rbind / /mnt && exec /usr/sbin/chroot --userspec=65534:65534 --groups= /mnt \"$@\"",
        )
        .arg("sh");
    started_by(by, kiln)
}

pub(crate) fn of_nobody(kiln: &Command) -> Command {
    let mut by = Command::new("setpriv");
    by.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    started_by(by, kiln)
}

pub(crate) fn started_by(mut by: Command, kiln: &Command) -> Command {
    by.arg(kiln.get_program())
        .args(kiln.get_args())
        .env_clear()
        .envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir("/");
    by
}

#[test]
fn an_ordinary_user_can_build() {
    if root("an_ordinary_user_can_build") {
        check_ordinary_user(of_nobody, true);
    }
}

#[test]
fn an_ordinary_user_can_build_where_no_namespace_is_permitted() {
    if root("an_ordinary_user_can_build_where_no_namespace_is_permitted") {
        check_ordinary_user(of_nobody_without_namespaces, false);
    }
}

fn check_ordinary_user(of_nobody: fn(&Command) -> Command, may_be_confined: bool) {
    let space = Space::new();
    let (hold, mut here) = (space.hold("hold"), space.bell("here"));
    // A gate each: what opens one for two readers lets the second find nothing to read.
    let (go, never) = (space.gate("go"), space.gate("never"));
    let source = space.tarball("s.tar.gz", &[("s/file", "content")]);
    space.packages(&format!(
        r#"
package: a
version: 1
{source}tasks:
  build: test $(id -u) = {NOBODY}
  install: mkdir -m 2755 "$DESTDIR/bin"; cp file "$DESTDIR/bin/a"; ln -s a "$DESTDIR/bin/b"
privileged: [bin]
---
package: b
version: 1
build_deps: [a]
tasks:
  build: |
    exec 9> {hold}
    setsid sh -c 'echo here > {here}; read x < {never}' > /dev/null 2>&1 &
    read x < {go}
  install: cp "$SYSROOT/bin/b" "$DESTDIR/c"
"#,
        source = source.as_sources(),
        hold = hold.path(),
        here = here.path(),
        go = go.path(),
        never = never.path()
    ));
    let run = || space.start_command(of_nobody(&space.command(&RUN)));
    // Killed in the middle, with a daemon: the kernel ends that, or without a namespace the next start.
    let kiln = run();
    here.wait(&kiln);
    let ended = kiln.kill();
    let confined = !ended.stderr.contains("without a pid namespace");
    assert!(may_be_confined || !confined);
    if confined {
        hold.wait_until_free();
    }
    let kiln = run();
    here.wait(&kiln);
    go.open();
    kiln.wait().exits(0);
    assert!(!hold.is_held());
    let state = space.state();
    assert_eq!(fs::read_to_string(state.join("sysroot/c")).unwrap(), "content");
    let a = state.join("sysroot/bin/a").metadata().unwrap();
    assert_eq!((a.uid(), a.gid()), (NOBODY, NOBODY), "who cannot give files away keeps them");
    run().wait().exits(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);
}

#[test]
fn scripts_run_as_the_build_user_and_what_they_stage_is_roots() {
    if !root("scripts_run_as_the_build_user_and_what_they_stage_is_roots") {
        return;
    }
    let space = Space::new();
    let source = space.tarball("s.tar.gz", &[("s/dir/file", "content")]);
    space.packages(&format!(
        r#"
package: a
version: 1
{source}owners: {{etc/mail: '8:12'}}
tasks:
  configure: test "$(id -u):$(id -g)" = {NOBODY}:{NOBODY}; touch dir/mine; touch "$HOME/mine"
  build: echo changed > dir/file
  install: |
    mkdir -p "$DESTDIR/etc"
    cp dir/file "$DESTDIR/etc/conf"; touch "$DESTDIR/etc/mail"
    if touch "$SYSROOT/intruder"; then exit 1; fi
"#,
        source = source.as_sources()
    ));
    let mut command = space.command(&RUN);
    command.env("KILN_SET_BUILD_USER", "nobody");
    space.start_command(command).wait().exits(0);
    let sysroot = space.sysroot();
    assert_eq!(sysroot.at("etc"), "directory 0755");
    assert_eq!(sysroot.at("etc/conf"), "file 0644 changed");
    assert_eq!(sysroot.at("etc/mail"), "file 0644 8:12");
}

#[test]
fn who_may_not_write_the_state_is_told_so() {
    if !root("who_may_not_write_the_state_is_told_so") {
        return;
    }
    let space = Space::with("package: a\nversion: 1\ntasks: {build: 'true'}\n");
    space.run(0);
    space.start_command(as_nobody(&space)).wait().exits(5).says("Permission denied");
    fs::remove_dir_all(space.state()).unwrap();
    fs::create_dir(space.state()).unwrap();
    space.start_command(as_nobody(&space)).wait().exits(5).says("Permission denied");
}

#[test]
fn a_build_user_that_the_host_does_not_know_ends_the_run_before_it_begins() {
    if !root("a_build_user_that_the_host_does_not_know_ends_the_run_before_it_begins") {
        return;
    }
    let space = Space::with("package: a\nversion: 1\ntasks: {build: 'true'}\n");
    let mut command = space.command(&RUN);
    command.env("KILN_SET_BUILD_USER", "nobody_here");
    space.start_command(command).wait().exits(5).says("nobody_here");
}

#[test]
fn without_privileges_the_next_fetch_ends_what_a_killed_one_left_and_nothing_of_a_live_one() {
    if !root("without_privileges_the_next_fetch_ends_what_a_killed_one_left_and_nothing_of_a_live_one") {
        return;
    }
    let space = Space::new();
    let (hold, mut here) = (space.hold("hold"), space.bell("here"));
    let stuck = with_stuck_apt(&space, &["fetch"], &hold, &here);
    let kiln = space.start_command(of_nobody_without_namespaces(&stuck));
    here.wait(&kiln);
    // Others must not wait for the first one's apt.
    space.packages(&format!(
        "package: local\nversion: 1\nsources: [{{file: data, sha256: {}, from: ['file:/nowhere/data']}}]\ntasks: \
         {{build: 'true'}}\n",
        "1".repeat(64)
    ));
    let next = |arguments: &[&str]| {
        space
            .start_command(of_nobody_without_namespaces(&space.command(arguments)))
            .wait()
            .exits(1)
            .says("nowhere to be had");
    };
    next(&["fetch"]);
    next(&RUN);
    assert!(hold.is_held(), "the first one is alive");
    kiln.kill();
    assert!(hold.is_held(), "nobody has ended it yet");
    next(&["fetch"]);
    assert!(!hold.is_held());
}
