//! The sidecar: what it shows of runners in other processes, while they live and after.

#![expect(clippy::float_cmp, reason = "small whole numbers, as they were written")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use kiln::web::control::Side;
use rustix::process::Signal;
use serde_json::json;

use super::gates::{ask_at, command};
use super::process::Running;
use super::space::{RUN, Space, one_phase};

/// A server of kiln's.
struct Served {
    kiln: Running,
    address: String,
}

impl Served {
    /// The space's sidecar.
    fn start(space: &Space) -> Self {
        let kiln = space.start(&["serve", "--listen", "127.0.0.1:0"]);
        let address = kiln.says(" at http://").trim_end_matches("/metrics").to_owned();
        Self { kiln, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: kiln\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Series and their values.
    fn metrics(&self) -> BTreeMap<String, f64> {
        let text = self.get("/metrics");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(series, value)| (series.into(), value.parse().unwrap()))
            .collect()
    }

    /// Names of the states that the run is in, and whether its runner is there.
    fn run(&self) -> (Vec<String>, f64) {
        let metrics = self.metrics();
        let is = |series: &String, value: &f64| {
            let state = series.strip_prefix("kiln_run_state{state=\"")?.strip_suffix("\"}")?;
            (*value == 1.0).then(|| state.to_owned())
        };
        (metrics.iter().filter_map(|(series, value)| is(series, value)).collect(), metrics["kiln_runner_up"])
    }
}

fn state(names: &str, up: f64) -> (Vec<String>, f64) {
    (vec![names.to_owned()], up)
}

/// Counters and histograms that are folds over the ledger, with their values.
fn counters(metrics: &BTreeMap<String, f64>) -> BTreeMap<&str, f64> {
    let parts = ["_total", "_bucket", "_sum", "_count"];
    let is = |series: &&str| {
        let name = series.split('{').next().unwrap_or_default();
        name.starts_with("kiln_") && parts.iter().any(|part| name.ends_with(part))
    };
    metrics.iter().map(|(series, value)| (series.as_str(), *value)).filter(|(series, _)| is(series)).collect()
}

#[track_caller]
fn grows(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) {
    let (before, after) = (counters(before), counters(after));
    for (series, value) in &before {
        let now = after.get(series).unwrap_or_else(|| panic!("{series} is gone"));
        assert!(now >= value, "{series}: {value}, then {now}");
    }
}

const TWO: &str = "
package: first
version: 1
tasks: {install: 'echo 1 > \"$DESTDIR/first\"'}
---
package: second
version: 1
build_deps: [first]
";

#[test]
fn a_sidecar_shows_a_runner_its_death_and_what_comes_after() {
    let space = Space::new();
    let (mut here, go) = (space.bell("here"), space.gate("go"));
    let wait = format!("tasks: {{build: 'echo > {}; read x < {}'}}\n", here.path(), go.path());
    space.packages(&(TWO.to_owned() + &wait));
    let served = Served::start(&space);
    assert_eq!(served.run(), state("idle", 0.0));
    assert!(served.get("/api/v1/status").contains("there has been no run yet"));

    let runner = space.start(&RUN);
    here.wait(&runner);
    space.settle();
    assert_eq!(served.run(), state("running", 1.0));
    let alive = served.metrics();
    let task = "kiln_active_task_start_timestamp_seconds{phase=\"main\",package=\"second\",task=\"build\"}";
    assert!(alive.contains_key(task));
    assert_eq!(alive["kiln_job_slots"], 2.0, "what the runner says, not this machine's cores");
    assert!(alive.contains_key("kiln_ledger_durable_timestamp_seconds"));
    assert_eq!(alive["kiln_collector_success{collector=\"runner\"}"], 1.0);
    assert_eq!(alive["kiln_packages{phase=\"main\",state=\"completed\"}"], 1.0);

    runner.kill();
    assert_eq!(served.run(), state("running", 0.0), "its last state, and that it is gone");
    let dead = served.metrics();
    assert!(!dead.contains_key(task), "nothing runs");
    assert!(served.get("/api/v1/status").contains("\"status\": \"PAUSED\""));
    assert!(served.get("/api/v1/monitoring").contains("\"health_status\": \"down\""));
    grows(&alive, &dead);

    let runner = space.start(&RUN);
    here.wait(&runner);
    space.settle();
    assert_eq!(served.run(), state("running", 1.0));
    go.open();
    runner.wait().exits(0);
    assert_eq!(served.run(), state("completed", 0.0));
    let after = served.metrics();
    grows(&dead, &after);
    assert_eq!(after["kiln_packages_completed_total{phase=\"main\"}"], 2.0);
    assert_eq!(after["kiln_run_estimated_remaining_seconds{estimate=\"p50\"}"], 0.0);

    served.kiln.signal(Signal::TERM);
    served.kiln.wait().exits(0);
}

#[test]
fn a_sidecar_sees_runs_of_a_changed_definition_by_that() {
    let space = Space::with("package: one\nversion: 1\ntasks: {build: ':'}\n");
    space.run(0);
    let served = Served::start(&space);
    assert_eq!(served.run(), state("completed", 0.0));
    let before = served.metrics();
    let more =
        "package: one\nversion: 1\ntasks: {build: ':'}\n---\npackage: two\nversion: 1\ntasks: {build: ':'}\n";
    space.recipes(more);
    space.document(&one_phase(more, "").replace("  main:", "  other:"));
    space.run(0);
    let after = served.metrics();
    assert_eq!(after["kiln_packages{phase=\"other\",state=\"completed\"}"], 2.0);
    assert!(!after.contains_key("kiln_packages{phase=\"main\",state=\"completed\"}"));
    grows(&before, &after);
}

#[test]
fn what_a_run_did_outlives_its_definition() {
    let one = "package: one\nversion: 1\ntasks: {build: ':'}\n";
    let space = Space::with(one);
    space.run(0);
    let more = format!("{one}---\npackage: two\nversion: 1\ntasks: {{build: ':'}}\n");
    space.packages(&more);
    let served = Served::start(&space);
    served.kiln.says("the run is of another definition than there is now");
    let metrics = served.metrics();
    assert_eq!(served.run(), state("completed", 0.0));
    assert_eq!(metrics["kiln_phase_state{phase=\"main\",state=\"completed\"}"], 1.0);
    assert!(!metrics.contains_key("kiln_packages{phase=\"main\",state=\"pending\"}"));
    let status = space.kiln(&["status", "--json"]).exits(0).json();
    assert_eq!(status["progress"]["packages_total"], 1);
}

#[test]
fn nobody_is_shown_runs_of_a_definition_with_another_name() {
    let recipe = "package: one\nversion: 1\ntasks: {build: ':'}\n";
    let space = Space::with(recipe);
    space.run(0);
    space.document(&format!("name: other\n{}", one_phase(recipe, "")));
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["status"], &["gates"], &["plan"]] {
        space.kiln(command).exits(2).says("holds runs of the definition `definition`");
    }
    // Of a run that is begun later it is seen by whoever looks.
    let empty = Space::with(recipe);
    let served = Served::start(&empty);
    empty.document(&format!("name: other\n{}", one_phase(recipe, "")));
    empty.run(0);
    served.get("/metrics");
    served.kiln.wait().exits(2).says("holds runs of the definition `other`");
}

#[test]
fn a_state_directory_that_was_made_anew_has_its_one_sidecar_still() {
    let space = Space::with("package: one\nversion: 1\ntasks: {build: ':'}\n");
    let served = Served::start(&space);
    space.run(0);
    fs::remove_dir_all(space.state()).unwrap();
    space.run(0);
    served.kiln.says("was made anew");
    let words = format!("another sidecar (pid {})", served.kiln.pid());
    space.kiln(&["serve", "--listen", "127.0.0.1:0"]).exits(6).says(&words);
    while ask_at(&space, Side::Sidecar, "POST", &command(&json!({"operation": "status"}))).0 != 200 {}
    assert_eq!(served.run(), state("completed", 0.0));

    // Another is faster.
    served.kiln.signal(Signal::STOP);
    fs::remove_dir_all(space.state()).unwrap();
    let other = Served::start(&space);
    served.kiln.signal(Signal::CONT);
    served.kiln.wait().exits(6).says(&format!("another sidecar (pid {})", other.kiln.pid()));
}

#[test]
fn a_sidecar_outlives_whatever_becomes_of_the_ledger() {
    let space = Space::with("package: one\nversion: 1\ntasks: {install: 'echo 1 > \"$DESTDIR/one\"'}\n");
    space.run(0);
    let served = Served::start(&space);
    let whole = served.metrics();
    let success = |metrics: &BTreeMap<String, f64>| metrics["kiln_collector_success{collector=\"ledger\"}"];
    assert_eq!(success(&whole), 1.0);

    // Another runner's records, then damage among them.
    let db = rusqlite::Connection::open(space.state().join("ledger.sqlite")).unwrap();
    let flip = |from: &str, to: &str| {
        let all = "UPDATE records SET record = replace(record, ?1, ?2)";
        assert_ne!(db.execute(all, [from, to]).unwrap(), 0);
    };
    space.run(0);
    flip("run_started", "run_startle");
    let ledger = space.state().join("ledger.sqlite");
    let away = space.state().join("elsewhere");
    fs::rename(&ledger, &away).unwrap();
    fs::copy(&away, &ledger).unwrap();
    let damaged = served.metrics();
    assert_eq!(success(&damaged), 0.0);
    assert_eq!(damaged["kiln_packages{phase=\"main\",state=\"completed\"}"], 1.0, "what was seen stays");
    grows(&whole, &damaged);
    served.kiln.says("is damaged");
    drop(db);
    fs::remove_file(&away).unwrap();

    space.kiln(&["clean", "--all"]).exits(0);
    assert_eq!(served.run(), state("idle", 0.0));
    assert_eq!(success(&served.metrics()), 1.0);
    let status = command(&json!({"operation": "status"}));
    assert_eq!(ask_at(&space, Side::Sidecar, "POST", &status).0, 409, "it can be spoken to still");
    space.run(0);
    assert_eq!(served.run(), state("completed", 0.0));
    assert_eq!(ask_at(&space, Side::Sidecar, "POST", &status).0, 200);
}

#[test]
fn a_sidecar_that_was_never_scraped_knows_what_has_happened_since() {
    let space = Space::with("package: one\nversion: 1\ntasks: {build: ':'}\n");
    let _served = Served::start(&space);
    space.run(0);
    let say = |document| ask_at(&space, Side::Sidecar, "POST", &command(&document));
    let (code, document) = say(json!({"operation": "status"}));
    assert_eq!((code, &document["status"]), (200, &json!("COMPLETED")));
    let (code, document) = say(json!({"operation": "build_phase", "phase": "main"}));
    assert_eq!((code, &document["error"]), (409, &json!("phase `main` is finished")));
    // By the definition as it is now.
    space.recipes("package: one\nversion: 2\ntasks: {build: ':'}\n");
    assert_eq!(say(json!({"operation": "build_phase", "phase": "main"})).0, 200);
    while space.ledger().of("run_ended").count() < 2 {}
}

#[test]
fn a_sidecar_that_cannot_read_the_ledger_claims_nothing() {
    let space = Space::with("package: one\nversion: 1\ntasks: {build: ':'}\n");
    space.run(0);
    let db = rusqlite::Connection::open(space.state().join("ledger.sqlite")).unwrap();
    let version = |version: i32| db.pragma_update(None, "user_version", version).unwrap();
    version(99);
    let served = Served::start(&space);
    assert!(served.kiln.said().contains("has schema version 99"), "{}", served.kiln.said());
    for path in ["/metrics", "/-/ready", "/api/v1/status", "/api/v1/monitoring", "/"] {
        assert!(served.get(path).starts_with("the ledger cannot be read"), "{path}");
    }
}

#[test]
fn there_is_one_sidecar_for_a_state_directory() {
    let space = Space::with("package: one\nversion: 1\ntasks: {build: ':'}\n");
    let served = Served::start(&space);
    let words = format!("another sidecar (pid {})", served.kiln.pid());
    space.kiln(&["serve", "--listen", "127.0.0.1:0"]).exits(6).says(&words);
    // It is no runner, and keeps none away.
    space.run(0);
    served.kiln.kill();
    Served::start(&space);
}

#[test]
fn a_sidecar_that_cannot_have_its_address_says_so() {
    let space = Space::with("package: one\nversion: 1\ntasks: {build: ':'}\n");
    let served = Served::start(&space);
    let other = Space::with("package: one\nversion: 1\ntasks: {build: ':'}\n");
    other.kiln(&["serve", "--listen", &served.address]).exits(1).says("cannot listen on");
}

#[test]
fn a_sidecar_passes_commands_on_and_does_what_needs_no_runner() {
    let space = Space::new();
    let (mut here, go) = (space.bell("here"), space.gate("go"));
    space.recipes(&format!(
        "
package: one
version: 1
tasks: {{build: 'echo > {}; read x < {}; test -e {}/fixed'}}
---
package: two
version: 1
tasks: {{install: 'echo 2 > \"$DESTDIR/two\"'}}
",
        here.path(),
        go.path(),
        space.here()
    ));
    space.document(
        "build_phases:\n  a: {order: 1, critical: true, steps: [one]}\n  b: {order: 2, steps: [two]}\n\
         error_recovery: {automatic_recovery: {max_attempts: 1}}\n",
    );
    let served = Served::start(&space);
    let say = |document: serde_json::Value| {
        let (code, answer) = ask_at(&space, Side::Sidecar, "POST", &command(&document));
        (
            code,
            answer["status"].as_str().unwrap().to_owned(),
            answer["error"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let phase = |name: &str| json!({"operation": "build_phase", "phase": name});
    let (code, _, why) = say(json!({"operation": "pause"}));
    assert!(code == 409 && why.starts_with("no runner is there"), "{why}");
    assert_eq!(say(phase("c")).0, 400);

    // It starts a runner, which outlives no command of its own.
    assert_eq!(say(phase("a")), (200, "RUNNING".to_owned(), String::new()));
    here.wait(&served.kiln);
    space.settle();
    assert_eq!(served.run(), state("running", 1.0));
    assert_eq!(say(json!({"operation": "pause", "note": "lunch"})).1, "PAUSED");
    assert_eq!(say(json!({"operation": "resume"})).1, "RUNNING");
    let reason = space.ledger().only("run_paused")["reason"].as_str().unwrap().to_owned();
    let me = rustix::process::getuid().as_raw();
    assert!(reason.ends_with(&format!("(uid {me}): lunch")), "who has told the sidecar: {reason}");

    // The gate is answered without a runner, and a phase is built again.
    go.open();
    served.kiln.says("the runner (pid");
    assert_eq!(served.run(), state("paused", 0.0));
    let (code, _, why) = say(phase("b"));
    assert_eq!((code, why.as_str()), (409, "gate 1 (one) is open: answer it first"));
    fs::write(space.path("fixed"), "").unwrap();
    assert_eq!(say(json!({"operation": "retry"})).0, 200);
    assert_eq!(say(phase("a")).0, 200);
    here.wait(&served.kiln);
    go.open();
    while served.run() != state("completed", 0.0) {}
    let (code, _, why) = say(phase("a"));
    assert_eq!((code, why.as_str()), (409, "phase `a` is finished"));
    assert_eq!(say(phase("b")).0, 200);
    // It must not outlive the test.
    while served.run().1 == 1.0 {}
}

#[test]
fn what_is_left_for_node_exporter_is_that_of_the_last_run_and_of_none_while_one_goes_on() {
    let space = Space::new();
    let (mut here, go) = (space.bell("here"), space.gate("go"));
    let wait = format!("tasks: {{build: 'echo > {}; read x < {}'}}\n", here.path(), go.path());
    space.packages(&(TWO.to_owned() + &wait));
    let file = space.path("kiln.prom");
    let arguments = [&RUN[..], &["--textfile", file.to_str().unwrap()]].concat();
    for _ in 0..2 {
        let runner = space.start(&arguments);
        here.wait(&runner);
        assert!(!file.exists());
        go.open();
        runner.wait().exits(0);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\nkiln_run_state{state=\"completed\"} 1\n"), "{text}");
        assert!(text.contains("\nkiln_runner_up 0\n") && !text.contains("\nprocess_"), "{text}");
        space.packages(&(TWO.replace("version: 1", "version: 2") + &wait));
    }
    let directory = space.path("");
    space
        .kiln(&[&RUN[..], &["--textfile", directory.to_str().unwrap()]].concat())
        .exits(2)
        .says("that is a directory");
}
