//! What a person says to a run that is alive: pause, resume, stop, build a phase, take a checkpoint.

use serde_json::{Value, json};

use super::fifo::{Bell, Gate};
use super::gates::{ask, command};
use super::space::{RUN, Space};

/// Two packages, one after the other; the first waits at a gate.
fn held() -> (Space, Bell, Gate) {
    let space = Space::new();
    let (here, go) = (space.bell("here"), space.gate("go"));
    space.packages(&format!(
        "
package: first
version: 1
tasks: {{build: 'echo > {}; read x < {}', install: 'echo 1 > \"$DESTDIR/first\"'}}
---
package: second
version: 1
build_deps: [first]
tasks: {{install: 'echo 2 > \"$DESTDIR/second\"'}}
",
        here.path(),
        go.path()
    ));
    (space, here, go)
}

fn said(space: &Space, operation: &str) -> (u16, Value) {
    ask(space, "POST", &command(&json!({"operation": operation})))
}

fn status(space: &Space) -> Value {
    space.kiln(&["status", "--json"]).exits(0).json()
}

#[test]
fn a_paused_run_starts_nothing_more_until_it_is_resumed() {
    let (space, mut here, go) = held();
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    space.kiln(&["resume"]).exits(2).says("the run is not paused");
    space.kiln(&["pause", "--note", "new disk"]).exits(0);
    let refused = space.kiln(&["pause", "--json"]).exits(2).says("the run is paused already");
    assert_eq!(refused.json()["status"], "REJECTED");
    let document = status(&space);
    assert_eq!(
        (&document["status"], &document["progress"]["current_package"]),
        (&json!("PAUSED"), &json!("first"))
    );
    assert_eq!(document["progress"]["estimated_completion"], json!(null));
    go.open();
    // Its end is recorded, and nothing follows from it.
    let ended = || space.ledger().of("task_finished").any(|task| task["task"] == "build");
    while !ended() {
        space.settle();
    }
    assert_eq!(status(&space)["status"], "PAUSED");
    let begun = |space: &Space| space.ledger().of("task_started").count();
    assert_eq!(begun(&space), 1);
    let (code, document) = said(&space, "resume");
    assert_eq!((code, &document["status"], &document["phase"]), (200, &json!("RUNNING"), &json!("main")));
    kiln.wait().exits(0);
    let ledger = space.ledger();
    let paused = ledger.only("run_paused");
    let me = rustix::process::getuid().as_raw();
    let reason = paused["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("(uid {me}): new disk")), "{reason}");
    assert_eq!(space.sysroot().files(), ["first", "second"]);
    space.kiln(&["history"]).exits(0);
}

#[test]
fn a_run_that_was_paused_when_it_was_killed_is_paused_still() {
    let (space, mut here, go) = held();
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    space.kiln(&["pause"]).exits(0);
    kiln.kill();
    let kiln = space.start(&RUN);
    kiln.says("it was paused when kiln ended");
    // Nothing waits for the gate: nothing was started.
    let (code, document) = said(&space, "status");
    assert_eq!((code, &document["status"]), (200, &json!("PAUSED")));
    let (code, document) = said(&space, "stop");
    assert_eq!((code, &document["status"]), (200, &json!("PAUSED")));
    kiln.wait().exits(130);
    // Who begins a run that was ended in good order wants it to go on.
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    go.open();
    kiln.wait().exits(0);
}

#[test]
fn stop_ends_a_run_as_a_signal_does() {
    let (space, mut here, _go) = held();
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    let said = space.kiln(&["stop", "--note", "power work"]).exits(0).stdout;
    assert!(said.contains("goes on with it"), "{said}");
    kiln.wait().exits(130);
    assert_eq!(status(&space)["status"], "PAUSED");
    let reason = space.ledger().only("run_paused")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("stopped by ") && reason.ends_with(": power work"), "{reason}");
    for command in ["pause", "resume", "stop"] {
        space.kiln(&[command]).exits(2).says("no runner is there");
    }
}

#[test]
fn a_checkpoint_is_taken_when_somebody_wants_one() {
    let space = Space::new();
    let (mut here, go) = (space.bell("here"), space.gate("go"));
    space.packages(&format!(
        "
package: first
version: 1
tasks: {{install: 'echo 1 > \"$DESTDIR/first\"'}}
---
package: second
version: 1
build_deps: [first]
tasks: {{build: 'echo > {}; read x < {}'}}
",
        here.path(),
        go.path()
    ));
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    assert_eq!(said(&space, "checkpoint").0, 200);
    while space.ledger().of("checkpoint_taken").count() == 0 {
        space.settle();
    }
    assert_eq!(space.ledger().only("checkpoint_taken")["packages"], json!(["first"]));
    let (code, document) = said(&space, "checkpoint");
    assert_eq!((code, &document["status"]), (409, &json!("REJECTED")));
    assert!(document["error"].as_str().unwrap().starts_with("no package has been completed"), "{document}");
    go.open();
    kiln.wait().exits(0);
}

#[test]
fn a_run_of_one_phase_builds_another_if_somebody_says_so() {
    let space = Space::new();
    let (mut here, go) = (space.bell("here"), space.gate("go"));
    space.recipes(&format!(
        "
package: one
version: 1
tasks: {{build: 'echo > {}; read x < {}', install: 'echo 1 > \"$DESTDIR/one\"'}}
---
package: two
version: 1
tasks: {{install: 'echo 2 > \"$DESTDIR/two\"'}}
---
package: three
version: 1
tasks: {{install: 'echo 3 > \"$DESTDIR/three\"'}}
",
        here.path(),
        go.path()
    ));
    space.document(
        "build_phases:\n  a: {order: 1, steps: [one]}\n  b: {order: 2, steps: [two]}\n  c: {order: 3, steps: [three]}\n",
    );
    let kiln = space.start(&["run", "--no-listen", "--jobs", "1", "--phase", "a"]);
    here.wait(&kiln);
    let build = |phase: &str| {
        let (code, document) =
            ask(&space, "POST", &command(&json!({"operation": "build_phase", "phase": phase})));
        (code, document["status"].as_str().unwrap().to_owned(), document["error"].as_str().map(str::to_owned))
    };
    let records = space.ledger().len();
    let nosuch = Some("`nosuch` is no phase: one of a, b, c".to_owned());
    assert_eq!(build("nosuch"), (400, "REJECTED".to_owned(), nosuch));
    assert_eq!(build("").0, 400);
    assert_eq!(space.ledger().len(), records, "what is refused changes nothing");
    assert_eq!(build("a"), (200, "RUNNING".to_owned(), None), "it is being built");
    assert_eq!(build("c"), (200, "RUNNING".to_owned(), None));
    go.open();
    kiln.wait().exits(0);
    assert_eq!(space.sysroot().files(), ["one", "three"]);
    let ledger = space.ledger();
    assert_eq!(ledger.of("run_ended").count(), 2);
}
