//! SIGINT and SIGTERM: a run is paused, and goes on.

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use super::fifo::{Bell, Gate, Hold};
use super::http::Mirror;
use super::process::Running;
use super::sources::sha256;
use super::space::{RUN, Space};

/// A kiln whose package `done` is completed and whose package `blocked` waits in its `build`.
struct Blocked {
    space: Space,
    here: Bell,
    hold: Hold,
    go: Gate,
}

/// What `blocked` does while it builds, where `@` tells names from what the directory is called: it says `here`, holds `hold`, and waits for an answer at `go`.
const PATIENT: &str =
    "trap 'echo ended > ended; exit 1' TERM; exec 9> @HOLD@; echo here > @HERE@; read x < @GO@";
/// One who will not hear of TERM, but says each time that it came.
const STUBBORN: &str = "trap 'echo heard > @HERE@' TERM; exec 9> @HOLD@; echo here > @HERE@; while :; do read x < @GO@ || :; done";

impl Blocked {
    fn new(build: &str) -> Self {
        let space = Space::new();
        let (here, hold, go) = (space.bell("here"), space.hold("hold"), space.gate("go"));
        let build = build
            .replace("@HOLD@", &hold.path().to_string())
            .replace("@HERE@", &here.path().to_string())
            .replace("@GO@", &go.path().to_string());
        space.packages(&format!(
            r#"
package: done
version: 1
tasks: {{install: touch "$DESTDIR/done"}}
---
package: blocked
version: 1
build_deps: [done]
tasks:
  configure: touch configured
  build: |
    test -e configured
    {build}
  install: touch "$DESTDIR/blocked"
"#
        ));
        Self { space, here, hold, go }
    }

    /// A kiln that is there.
    fn start(&mut self) -> Running {
        let mut command = self.space.command(&RUN);
        command.env("KILN_SET_GRACE", "1h");
        let kiln = self.space.start_command(command);
        self.here.wait(&kiln);
        kiln
    }

    /// A kiln that is let go on to its end.
    fn finish(&mut self) {
        let kiln = self.start();
        self.go.open();
        kiln.wait().exits(0);
    }
}

#[test]
fn sigint_and_sigterm_pause_the_run_and_the_next_goes_on_with_it() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut blocked = Blocked::new(PATIENT);
        let kiln = blocked.start();
        kiln.signal(signal);
        let ended = kiln.wait().exits(130);
        assert!(ended.stdout.contains("PAUSED"), "{}", ended.stdout);
        assert!(!blocked.hold.is_held());
        // TERM, not KILL: the script could still say something.
        let said = blocked.space.state().join("work/blocked/src/ended");
        assert_eq!(std::fs::read_to_string(said).unwrap(), "ended\n");
        assert_eq!(blocked.space.ledger().last()["record"], "run_paused");
        let status = blocked.space.kiln(&["status"]).exits(0).stdout;
        assert!(status.contains("packages_running=0") && status.contains("running=none"), "{status}");
        let graph = blocked.space.kiln(&["graph", "--json"]).exits(0).json();
        assert_eq!(graph["nodes"][1]["package_name"], "blocked");
        assert_eq!(graph["nodes"][1]["build_status"], "pending");

        blocked.finish();
        let ledger = blocked.space.ledger();
        assert_eq!(ledger.of("run_started").count(), 1, "the same run");
        assert_eq!(ledger.of("run_resumed").count(), 1);
        assert_eq!(ledger.last_start().worked_on(), ["blocked"]);
        assert_eq!(ledger.last()["state"], "completed");
        assert_eq!(
            ledger.story("blocked"),
            [
                "configure 1",
                "build 1",
                "build 1: interrupted",
                "configure 1 again",
                "build 2",
                "install 1",
                "merge 1",
                "completed"
            ]
        );
        assert_eq!(ledger.of("task_failed").count(), 0, "an interruption is no failure");
        assert_eq!(blocked.space.sysroot().files(), ["blocked", "done"]);
    }
}

#[test]
fn the_second_signal_kills_at_once_who_ignores_the_first() {
    for (first, second) in
        [(Signal::INT, Signal::INT), (Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)]
    {
        let mut blocked = Blocked::new(STUBBORN);
        let kiln = blocked.start();
        kiln.signal(first);
        blocked.here.wait(&kiln);
        assert!(blocked.hold.is_held(), "it was asked politely");
        kiln.signal(second);
        let ended = kiln.wait().exits(130).says("ending the running tasks").says("killing the running tasks");
        assert_eq!(ended.stderr.matches("ending the running tasks").count(), 1, "{}", ended.stderr);
        assert!(!blocked.hold.is_held());
        assert_eq!(blocked.space.ledger().last()["record"], "run_paused");
        assert_eq!(blocked.space.ledger().story("blocked").last().unwrap(), "build 1: interrupted");
    }
}

#[test]
fn a_fetch_that_hangs_does_not_keep_a_run_from_stopping() {
    let content = vec![7; 100_000];
    let mirror = Mirror::of(&content);
    let space = Space::with(&format!(
        "package: remote\nversion: 1\nsources: [{{file: data, sha256: {}, from: ['{}']}}]\ntasks: {{build: test -e \
         data}}\n",
        sha256(&content),
        mirror.url("data")
    ));
    let kiln = space.start(&RUN);
    let (stalled, _) = mirror.answer_but(50_000);
    kiln.signal(Signal::INT);
    kiln.wait().exits(130);
    drop(stalled);
    assert_eq!(space.ledger().story("remote"), ["fetch 1", "fetch 1: interrupted"]);
    let kiln = space.start(&RUN);
    drop(mirror.answer_but(0));
    kiln.wait().exits(0);
}

#[test]
fn a_signal_ends_the_lingering_of_a_run_that_is_over() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut blocked = Blocked::new(PATIENT);
        let arguments = ["run", "--jobs", "2", "--listen", "127.0.0.1:0", "--linger", "3600"];
        let kiln = blocked.space.start(&arguments);
        blocked.here.wait(&kiln);
        let lock = std::fs::File::open(blocked.space.state().join("lock")).unwrap();
        blocked.go.open();
        // It is let go of with the run's end.
        flock(&lock, FlockOperation::LockShared).unwrap();
        kiln.signal(signal);
        let ended = kiln.wait().exits(0);
        assert!(ended.stdout.contains("COMPLETED"), "{}", ended.stdout);
    }
}

#[test]
fn a_paused_run_goes_on_when_the_definition_has_changed() {
    let mut blocked = Blocked::new(PATIENT);
    let kiln = blocked.start();
    kiln.signal(Signal::INT);
    kiln.wait().exits(130);
    let file = blocked.space.definition().join("packages/all.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("touch \"$DESTDIR/done\"", "echo changed > \"$DESTDIR/done\""))
        .unwrap();
    blocked.finish();
    let ledger = blocked.space.ledger();
    assert_eq!(ledger.of("run_started").count(), 1, "the same run");
    assert_eq!(ledger.last_start().worked_on(), ["blocked", "done"]);
    assert_eq!(blocked.space.sysroot().at("done"), "file 0644 changed");
}
