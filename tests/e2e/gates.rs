//! Gates: a person is asked, and answers while the run is alive or at rest.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use kiln::ledger::place::StateDir;
use kiln::web::control::{self, Side};
use serde_json::{Value, json};

use super::fifo::{Bell, Gate};
use super::space::{RUN, Space};

/// `broken` fails until the file `fixed` is there; `needs` needs it, `other` does not, and `more` is of the next phase.
fn broken(other: &str) -> Space {
    let space = Space::new();
    space.recipes(&format!(
        "package: broken
version: 1
tasks:
  build: 'test -e {here}/fixed || {{ echo \"x.c:7:1: error: no such thing\"; exit 1; }}'
  install: echo > \"$DESTDIR/broken\"
---
package: needs
version: 1
build_deps: [broken]
tasks: {{install: echo > \"$DESTDIR/needs\"}}
---
package: other
version: 1
tasks: {{build: '{other}', install: echo > \"$DESTDIR/other\"}}
---
package: more
version: 1
tasks: {{install: echo > \"$DESTDIR/more\"}}
",
        here = space.here()
    ));
    space.document(
        "build_phases:
  first: {order: 1, critical: true, steps: [broken, needs, other]}
  second: {order: 2, steps: [more]}
dependency_tracking: {dependency_resolution: {method: parallel}}
error_recovery: {automatic_recovery: {max_attempts: 1}}
",
    );
    space
}

/// The same, and `other` says that it is `here` and waits until it may `go` on.
fn broken_and_busy() -> (Space, Bell, Gate) {
    let space = broken("echo here > @HERE@; read x < @GO@");
    let (here, go) = (space.bell("here"), space.gate("go"));
    let recipes = std::fs::read_to_string(space.definition().join("packages/all.yaml")).unwrap();
    space.recipes(
        &recipes.replace("@HERE@", &here.path().to_string()).replace("@GO@", &go.path().to_string()),
    );
    (space, here, go)
}

fn fix(space: &Space) {
    std::fs::write(space.path("fixed"), "").unwrap();
}

#[test]
fn what_fails_in_a_critical_phase_asks_a_person_and_goes_on_after_the_answer_with_nothing_else_built() {
    let space = broken(":");
    space.run(4).says("gate 1 (critical_build_failure): broken");
    assert_eq!(
        space.ledger().story("broken"),
        ["build 1", "build 1: compilation_failure", "gate 1: critical_build_failure"]
    );
    assert_eq!(space.sysroot().files(), ["other"], "independent work is finished");
    let gates = space.kiln(&["gates", "--json"]).exits(0).json();
    let gate = &gates[0];
    assert_eq!(
        [
            &gate["gate_id"],
            &gate["reason"],
            &gate["phase"],
            &gate["package"],
            &gate["task"],
            &gate["category"]
        ],
        ["1", "critical_build_failure", "first", "broken", "build", "compilation_failure"]
    );
    assert_eq!(
        gate["evidence"],
        json!({"source": "output", "line": 1, "text": "x.c:7:1: error: no such thing"})
    );
    assert_eq!(gate["answers"], json!(["retry", "skip", "abort"]));
    // Without an answer it only says so again.
    space.run(4);
    assert_eq!(space.ledger().last_start().all("task_started", "package"), [""; 0]);

    fix(&space);
    space.kiln(&["resolve", "broken", "retry", "--jobs", "1", "--note", "it is there now"]).exits(0);
    assert_eq!(space.kiln(&["gates", "--json"]).exits(0).json(), json!([]));
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), ["broken", "more", "needs"]);
    let answered = space.ledger().only("gate_answered").clone();
    assert_eq!(
        (&answered["answer"], &answered["jobs"], &answered["note"]),
        (&json!("retry"), &json!(1), &json!("it is there now"))
    );
    let history = space.kiln(&["history", "--gates"]).exits(0);
    assert!(history.stdout.contains("says retry with 1 job: it is there now"), "{}", history.stdout);
}

#[test]
fn skip_completes_without_it_and_abort_ends_in_error() {
    let space = broken(":");
    space.run(4);
    space.kiln(&["resolve", "1", "skip"]).exits(0);
    let plan = space.kiln(&["plan", "--json"]).exits(0).json();
    assert_eq!(
        (&plan["packages"][0]["name"], &plan["packages"][0]["decision"]),
        (&json!("broken"), &json!("skip"))
    );
    let ended = space.run(0);
    assert!(ended.stdout.contains("COMPLETED"), "{}", ended.stdout);
    assert_eq!(space.sysroot().files(), ["more", "other"]);
    assert_eq!(space.ledger().last()["missing"], json!(["broken", "needs"]));

    let space = broken(":");
    space.run(4);
    space.kiln(&["resolve", "1", "abort"]).exits(0);
    assert_eq!(space.kiln(&["status", "--json"]).exits(0).json()["status"], "ERROR");
    assert_eq!(space.ledger().last()["state"], "error");
}

#[test]
fn a_wrong_answer_changes_nothing_and_says_what_is_asked() {
    let space = broken(":");
    let place = format!("has no run yet in `{}`", space.state().display());
    for command in [&["resolve", "1", "retry"][..], &["gates"], &["status"], &["history"]] {
        space.kiln(command).exits(2).says(&place);
    }
    assert!(!space.state().exists(), "who asks makes nothing");
    space.run(4);
    let records = space.ledger().of("gate_answered").count();
    space.kiln(&["resolve", "7", "retry"]).exits(2).says("no gate `7` is open; open: 1 (broken)");
    space.kiln(&["resolve", "1", "maybe"]).exits(2);
    space.kiln(&["resolve", "1", "skip", "--jobs", "2"]).exits(2).says("--jobs goes with `retry`");
    space.kiln(&["resolve", "1", "retry", "--jobs", "0"]).exits(2);
    assert_eq!(space.ledger().of("gate_answered").count(), records);
}

#[test]
fn a_changed_recipe_is_its_own_answer_and_another_change_is_none() {
    let space = broken(":");
    space.run(4);
    let recipes = std::fs::read_to_string(space.definition().join("packages/all.yaml")).unwrap();
    space.recipes(&recipes.replace("package: more\nversion: 1", "package: more\nversion: 2"));
    space.run(4);
    assert_eq!(space.kiln(&["gates", "--json"]).exits(0).json()[0]["gate_id"], "1");
    space.recipes(&recipes.replace("test -e", "true || test -e"));
    space.run(0);
    assert_eq!(space.ledger().of("gate_closed").count(), 1);
}

#[test]
fn whatever_may_make_the_next_attempt_come_out_otherwise_is_an_answer() {
    for (what, with) in [
        ("tasks:\n  build", "timeout: 2h\ntasks:\n  build"),
        ("tasks:\n  build", "jobs: 1\ntasks:\n  build"),
        ("tasks:\n  build", "limits: {memory: 1G}\ntasks:\n  build"),
        ("tasks:\n  build", "replaces: [other]\ntasks:\n  build"),
    ] {
        let space = broken(":");
        space.run(4);
        let recipes = std::fs::read_to_string(space.definition().join("packages/all.yaml")).unwrap();
        space.recipes(&recipes.replacen(what, with, 1));
        fix(&space);
        space.run(0);
        assert_eq!(space.ledger().of("gate_closed").count(), 1, "{with}");
    }
}

#[test]
fn a_skip_outlives_a_changed_definition_until_the_package_is_forced() {
    let space = broken(":");
    space.run(4);
    space.kiln(&["resolve", "1", "skip"]).exits(0);
    let recipes = std::fs::read_to_string(space.definition().join("packages/all.yaml")).unwrap();
    space.recipes(&recipes.replace("package: more\nversion: 1", "package: more\nversion: 2"));
    let mut other = RUN.to_vec();
    other.extend(["--force", "broken"]);
    fix(&space);
    space.kiln(&other).exits(0);
    assert_eq!(space.sysroot().files(), ["broken", "more", "needs", "other"]);
}

#[test]
fn a_gate_is_answered_while_the_run_is_alive() {
    let (space, mut here, go) = broken_and_busy();
    // One slot: `other` begins when what follows from the failure of `broken` is recorded.
    let kiln = space.start(&["run", "--no-listen", "--jobs", "1", "--wait"]);
    here.wait(&kiln);
    space.settle();
    let asked = ask(&space, "POST", &command(&json!({"operation": "status"})));
    assert_eq!((asked.0, &asked.1["status"], &asked.1["phase"]), (200, &json!("RUNNING"), &json!("first")));
    assert_eq!(space.kiln(&["gates", "--json"]).exits(0).json().as_array().unwrap().len(), 1);
    fix(&space);
    space.kiln(&["resolve", "1", "retry", "--note", "live"]).exits(0);
    go.open();
    kiln.wait().exits(0);
    let answered = space.ledger().only("gate_answered").clone();
    assert_eq!(answered["note"], "live");
    let me = rustix::process::getuid().as_raw();
    assert!(answered["by"].as_str().unwrap().contains(&format!("uid {me}")), "{answered}");
    assert_eq!(space.sysroot().files(), ["broken", "more", "needs", "other"]);
}

#[test]
fn a_run_that_waits_goes_on_with_the_answer_and_outlives_kill_9() {
    let (space, mut here, go) = broken_and_busy();
    let kiln = space.start(&["run", "--no-listen", "--jobs", "1", "--wait"]);
    here.wait(&kiln);
    space.settle();
    kiln.kill();
    // The socket of the dead one is in nobody's way.
    let kiln = space.start(&["run", "--no-listen", "--jobs", "1", "--wait"]);
    here.wait(&kiln);
    space.settle();
    let (code, refused) = ask(&space, "POST", &command(&json!({"operation": "skip", "gate_id": "2"})));
    assert_eq!((code, &refused["status"]), (409, &json!("REJECTED")));
    assert_eq!(refused["error"], "no gate `2` is open; open: 1 (broken)");
    let elsewhere = command(&json!({"operation": "skip", "phase": "second"}));
    assert_eq!(ask(&space, "POST", &elsewhere).0, 409, "the gate is of another phase");
    // The only gate need not be named.
    let (code, document) = ask(&space, "POST", &command(&json!({"operation": "skip", "phase": "first"})));
    assert_eq!(
        (code, &document["phase"], &document["gate_id"]),
        (200, &json!("first"), &json!("1")),
        "{document}"
    );
    go.open();
    kiln.wait().exits(0);
    assert_eq!(space.sysroot().files(), ["more", "other"]);
}

#[test]
fn what_is_no_command_is_refused_and_says_why() {
    let (space, mut here, go) = broken_and_busy();
    let kiln = space.start(&["run", "--no-listen", "--jobs", "1"]);
    here.wait(&kiln);
    space.settle();
    let refused = |body: &str| {
        let (code, document) = ask(&space, "POST", body);
        assert_eq!(document["status"], "REJECTED", "{document}");
        (code, document["error"].as_str().unwrap().to_owned())
    };
    assert_eq!(refused("{").0, 400);
    assert_eq!(refused(r#"{"component": "BUILD_PROCESS"}"#).0, 400);
    let (code, error) = refused(r#"{"component": "KITCHEN", "operation": "retry"}"#);
    assert_eq!((code, error.as_str()), (400, "component `KITCHEN` is not here: this is BUILD_PROCESS"));
    let (code, error) = refused(&command(&json!({"operation": "burn"})));
    assert_eq!(
        (code, error.as_str()),
        (
            400,
            "operation `burn` is none of build_phase, pause, resume, stop, retry, skip, abort, checkpoint, status"
        )
    );
    assert_eq!(refused(&command(&json!({"operation": "skip", "jobs": 2}))).0, 400);
    assert_eq!(refused(&command(&json!({"operation": "retry", "colour": "red"}))).0, 400);
    assert_eq!(refused(&" ".repeat(70_000)).0, 400);
    assert_eq!(ask(&space, "GET", "").0, 405);
    assert_eq!(std::fs::metadata(socket(&space, Side::Runner)).unwrap().permissions().mode() & 0o777, 0o660);
    go.open();
    kiln.wait().exits(4);
    assert!(!socket(&space, Side::Runner).exists(), "nobody listens there any more");
}

#[test]
fn a_shell_opens_where_it_failed() {
    let space = broken(":");
    space.run(4);
    let mut command = space.command(&["gates", "shell", "broken"]);
    command.env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = command.spawn().unwrap();
    let script = b"pwd; echo $KILN_ATTEMPT $DESTDIR; sh -e -c \"$KILN_SCRIPT\" || echo it failed\n";
    shell.stdin.take().unwrap().write_all(script).unwrap();
    let said = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    let work = space.state().join("work/broken");
    let expected = format!("{0}/src\n1 {0}/dest\nx.c:7:1: error: no such thing\nit failed\n", work.display());
    assert_eq!(said, expected);
    space.kiln(&["gates", "shell", "nosuch"]).exits(2).says("no gate `nosuch` is open");
}

#[test]
fn why_tells_the_story_of_the_attempts() {
    let space = broken(":");
    space.run(4);
    let said = space.kiln(&["why", "broken"]).exits(0).stdout;
    assert!(said.contains("> 1 | x.c:7:1: error: no such thing"), "{said}");
    assert!(said.contains("next      gate 1 waits for a person: kiln resolve 1 retry"), "{said}");
    let why = space.kiln(&["why", "broken", "--json"]).exits(0).json();
    assert_eq!(why["failure"]["category"], "compilation_failure");
    assert_eq!(why["history"].as_array().unwrap().len(), 2, "{why}");
}

pub(crate) fn command(more: &Value) -> String {
    let mut document = json!({"component": "BUILD_PROCESS"});
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document.to_string()
}

fn socket(space: &Space, side: Side) -> std::path::PathBuf {
    let places = control::places(&StateDir::new(space.state()), side);
    places.iter().find(|path| path.exists()).unwrap_or(&places[0]).clone()
}

/// What the runner's control socket answers.
pub(crate) fn ask(space: &Space, method: &str, body: &str) -> (u16, Value) {
    ask_at(space, Side::Runner, method, body)
}

/// What a control socket answers.
pub(crate) fn ask_at(space: &Space, side: Side, method: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket(space, side)).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {} HTTP/1.1\r\nhost: kiln\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n",
        control::COMMAND
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A server that has seen enough need not read on.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(body).unwrap_or(Value::Null))
}
