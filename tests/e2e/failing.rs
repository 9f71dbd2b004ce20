//! Failures: who goes on, who tries again, who is given up.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::space::{RUN, Space, one_phase};
use rustix::process::Signal;

/// One that fails, one that needs it, one that needs that, and one that needs nobody.
const BROKEN: &str = r#"
package: broken
version: 1
tasks:
  build: 'echo "cc: no such compiler" >&2; exit 3'
---
package: dependent
version: 1
build_deps: [broken]
tasks: {install: touch "$DESTDIR/dependent"}
---
package: grandchild
version: 1
runtime_deps: [dependent]
build_deps: [dependent]
tasks: {install: touch "$DESTDIR/grandchild"}
---
package: independent
version: 1
tasks: {install: touch "$DESTDIR/independent"}
---
package: later
version: 1
tasks: {install: touch "$DESTDIR/later"}
"#;

fn two_phases(critical: bool) -> Space {
    let space = Space::new();
    space.recipes(BROKEN);
    space.document(&format!(
        r"
build_phases:
  first: {{order: 1, critical: {critical}, steps: [broken, dependent, grandchild, independent]}}
  second: {{order: 2, steps: [later]}}
error_recovery:
  automatic_recovery: {{delay_between_attempts: 0}}
  manual_intervention: {{required_for: []}}
"
    ));
    space
}

#[test]
fn a_failure_in_a_critical_phase_ends_the_run_after_independent_work() {
    let space = two_phases(true);
    let ended = space.run(1);
    assert!(ended.stdout.contains("broken"), "{}", ended.stdout);
    let ledger = space.ledger();
    let failed = "build 1: compilation_failure";
    assert_eq!(ledger.story("broken")[..2], ["build 1", failed]);
    assert_eq!(ledger.story("broken").last().unwrap(), "failed");
    assert_eq!(ledger.story("dependent"), ["skipped because of broken"]);
    assert_eq!(ledger.story("grandchild"), ["skipped because of dependent"]);
    assert_eq!(ledger.story("independent"), ["install 1", "merge 1", "completed"]);
    assert_eq!(ledger.story("later"), [""; 0]);
    assert_eq!(ledger.last()["state"], "error");
    assert_eq!(space.sysroot().files(), ["independent"]);
}

#[test]
fn a_failure_in_a_phase_that_is_not_critical_is_named_and_the_run_completes() {
    let space = two_phases(false);
    let ended = space.run(0);
    assert!(ended.stdout.contains("broken"), "{}", ended.stdout);
    let ledger = space.ledger();
    assert_eq!(ledger.last()["state"], "completed");
    assert_eq!(ledger.last()["missing"], serde_json::json!(["broken", "dependent", "grandchild"]));
    assert_eq!(ledger.all("phase_finished", "outcome"), ["failed", "completed"]);
    assert_eq!(space.sysroot().files(), ["independent", "later"]);
}

#[test]
fn what_a_failed_task_printed_is_kept_and_without_a_cause_its_last_line_is_the_evidence() {
    let space = two_phases(true);
    space.run(1);
    let evidence = space.ledger().of("task_failed").next().unwrap()["failure"]["evidence"].clone();
    assert!(evidence["text"].as_str().unwrap().contains("cc: no such compiler"), "{evidence}");
    assert_eq!(space.kiln(&["log", "broken"]).exits(0).stdout, "cc: no such compiler\n");
    assert_eq!(space.kiln(&["log", "broken", "--attempt", "1"]).exits(0).stdout, "cc: no such compiler\n");
}

#[test]
fn the_command_for_its_log_can_be_pasted() {
    let space = two_phases(true);
    let definition = "the user's definition";
    std::os::unix::fs::symlink(space.definition(), space.path(definition)).unwrap();
    let mut run = space.bare_command(&["run", "--no-listen"]);
    run.arg(definition).args(["--state", "its state"]);
    let ended = space.start_command(run).wait().exits(1);
    let line = ended.stdout.lines().find(|line| line.starts_with("broken failed at ")).unwrap();
    let (_, command) = line.split_once(": ").unwrap();

    let mut shell = Command::new("sh");
    let kiln = space.bare_command(&[]);
    shell.args(["-c", &format!("kiln() {{ \"$0\" \"$@\"; }}; {command}")]).arg(kiln.get_program());
    shell.env_clear().envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(space.path("")).stdin(Stdio::null());
    let ended = space.start_command(shell).wait().exits(0);
    assert_eq!(ended.stdout, "cc: no such compiler\n", "{command}");
}

#[test]
fn the_next_run_after_an_error_tries_again_with_a_new_build_id() {
    let space = two_phases(true);
    space.run(1);
    space.recipes(&BROKEN.replace("exit 3", "exit 0"));
    space.run(0);
    let ledger = space.ledger();
    let ids = ledger.all("run_started", "build_id");
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ledger.last_start().worked_on(), ["broken", "dependent", "grandchild", "later"]);
}

/// Fails until its third attempt, and minds what an earlier attempt left behind.
fn flaky(space: &Space, task: &str) -> String {
    let source = space.tarball("flaky.tar.gz", &[("flaky/file", "as upstream made it")]);
    let fails = "test $KILN_ATTEMPT = 3 || { echo dirt > file; touch dirt; exit 1; }";
    let script = |name: &str, also: &str| {
        let fails = if name == task { fails } else { "true" };
        format!(
            "  {name}: |\n    echo {name} $KILN_ATTEMPT >> {}/log\n    {also}\n    {fails}\n",
            space.here()
        )
    };
    format!(
        "package: flaky\nversion: 1\n{}tasks:\n{}{}{}{}",
        source.as_sources(),
        script("configure", "test ! -e dirt; test \"$(cat file)\" = 'as upstream made it'; touch configured"),
        script("build", "test ! -e dirt; test -e configured; touch built"),
        script("check", "test ! -e dirt; test -e built"),
        script(
            "install",
            "test ! -e dirt; test -e built; test -z \"$(ls -A \"$DESTDIR\")\"; cp file \"$DESTDIR\""
        ),
    )
}

#[test]
fn a_retry_begins_with_a_clean_work_directory_and_what_restores_it_is_no_attempt() {
    let space = Space::new();
    space.packages(&flaky(&space, "build"));
    space.run(0);
    let failed = "compilation_failure";
    assert_eq!(
        space.ledger().story("flaky"),
        [
            "fetch 1",
            "unpack 1",
            "configure 1",
            "build 1",
            &format!("build 1: {failed}"),
            "unpack 1 again",
            "configure 1 again",
            "build 2",
            &format!("build 2: {failed}"),
            "unpack 1 again",
            "configure 1 again",
            "build 3",
            "check 1",
            "install 1",
            "merge 1",
            "completed",
        ]
    );
    assert_eq!(
        space.read("log").lines().collect::<Vec<_>>(),
        [
            "configure 1",
            "build 1",
            "configure 1",
            "build 2",
            "configure 1",
            "build 3",
            "check 1",
            "install 1"
        ]
    );
    assert_eq!(space.sysroot().at("file"), "file 0644 as upstream made it");
}

#[test]
fn an_install_that_is_tried_again_finds_an_empty_destdir_and_a_built_tree() {
    let space = Space::new();
    space.packages(&flaky(&space, "install"));
    space.run(0);
    let ledger = space.ledger();
    let story = ledger.story("flaky");
    let attempts: Vec<_> = story.iter().filter(|line| line.starts_with("install")).collect();
    assert_eq!(attempts.len(), 5, "{story:?}");
    assert_eq!(story.iter().filter(|line| line.starts_with("build 1")).count(), 3, "{story:?}");
    assert_eq!(story.iter().filter(|line| line.starts_with("check")).count(), 1, "a check restores nothing");
    assert_eq!(ledger.of("task_failed").filter(|record| record["restore"] == true).count(), 0);
}

#[test]
fn attempts_end_when_they_are_spent() {
    let space = Space::with(BROKEN);
    let text = std::fs::read_to_string(space.definition().join("kiln.yaml")).unwrap();
    space.document(&text.replace("{delay", "{max_attempts: 2, delay"));
    space.run(1);
    let failed = |n: u32| format!("build {n}: compilation_failure");
    assert_eq!(space.ledger().story("broken"), ["build 1", &failed(1), "build 2", &failed(2), "failed"]);
    // Between the two, the framework's procedure; after the last there is nothing to recover for.
    let expected = [
        "cleanup_failed_build: done",
        "verify_dependencies: nothing_to_do",
        "check_resources: done",
        "retry_build: done",
    ];
    assert_eq!(space.ledger().actions("broken"), expected);
}

#[test]
fn without_automatic_recovery_there_is_one_attempt() {
    let space = Space::with(BROKEN);
    let text = std::fs::read_to_string(space.definition().join("kiln.yaml")).unwrap();
    space.document(&text.replace("{delay", "{enabled: false, delay"));
    space.run(1);
    assert_eq!(space.ledger().story("broken"), ["build 1", "build 1: compilation_failure", "failed"]);
}

#[test]
fn the_next_attempt_is_due_after_the_delay() {
    let space = Space::new();
    let mut here = space.bell("here");
    // One slot: `second` begins when what follows from the failure of `first` is decided.
    let recipes = format!(
        "package: first\nversion: 1\ntasks: {{build: exit 1}}\n---\npackage: second\nversion: 1\ntasks: {{build: \
         'echo here > {}; read x < {}'}}\n",
        here.path(),
        space.gate("never").path()
    );
    space.recipes(&recipes);
    space.document(
        &one_phase(&recipes, "").replace("delay_between_attempts: 0", "delay_between_attempts: 3600"),
    );
    let kiln = space.start(&["run", "--no-listen", "--jobs", "1"]);
    here.wait(&kiln);
    kiln.signal(Signal::INT);
    kiln.wait().exits(130);
    let db = rusqlite::Connection::open(space.state().join("ledger.sqlite")).unwrap();
    let (failed_at, record): (i64, String) = db
        .query_row("SELECT elapsed, record FROM records WHERE record LIKE '%task_failed%'", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["retry_at"], failed_at + 3_600_000_000_000_i64);
}

#[test]
fn an_optional_check_may_fail() {
    let space = Space::with(
        r#"
package: checked
version: 1
tasks:
  check: {run: exit 1, required: false}
  install: touch "$DESTDIR/checked"
---
package: required
version: 1
tasks:
  check: {run: exit 1}
  install: touch "$DESTDIR/required"
"#,
    );
    space.run(1);
    let ledger = space.ledger();
    assert_eq!(
        ledger.story("checked"),
        ["check 1", "check 1: compilation_failure, tolerated", "install 1", "merge 1", "completed"]
    );
    assert_eq!(ledger.story("required").last().unwrap(), "failed");
    assert_eq!(space.sysroot().files(), ["checked"]);
    let graph = space.kiln(&["graph", "--format", "json"]).exits(0).json();
    assert_eq!(graph["nodes"][0]["verification_status"], "failed");
}

#[test]
fn what_takes_too_long_or_says_nothing_for_too_long_is_ended() {
    let space = Space::new();
    let hold = space.hold("hold");
    let never = space.gate("never");
    let recipe = |name: &str, limit: &str| {
        format!(
            "package: {name}\nversion: 1\n{limit}\ntasks: {{build: 'exec 9> {}; read x < {}'}}\n",
            hold.path(),
            never.path()
        )
    };
    let recipes = [
        recipe("slow", "timeout: 1s"),
        recipe("silent", "silent_timeout: 1s"),
        // Without end, too, but not silent: only its `timeout` counts.
        format!(
            "package: talker\nversion: 1\nsilent_timeout: 1h\ntimeout: 1s\ntasks: {{build: 'exec 9> {}; while \
             echo x; do read -r line < {}; done'}}\n",
            hold.path(),
            never.path()
        ),
    ]
    .join("---\n");
    space.recipes(&recipes);
    space.document(&one_phase(&recipes, "").replace("{delay", "{max_attempts: 1, delay"));
    space.kiln(&["run", "--no-listen", "--jobs", "3"]).exits(1);
    let ledger = space.ledger();
    for name in ["slow", "silent", "talker"] {
        assert_eq!(ledger.story(name), ["build 1", "build 1: resource_exhaustion", "failed"]);
    }
    let evidence = |name: &str| {
        let failed = ledger.of("task_failed").find(|record| record["package"] == name).unwrap();
        failed["failure"]["evidence"]["text"].to_string()
    };
    assert!(evidence("silent").contains("silent_timeout of 1s"), "{}", evidence("silent"));
    assert!(evidence("slow").contains("timeout of 1s"), "{}", evidence("slow"));
    assert!(!hold.is_held());
}

#[test]
fn who_ignores_term_is_killed_after_the_grace() {
    let space = Space::new();
    let hold = space.hold("hold");
    let never = space.gate("never");
    let recipes = format!(
        "package: stubborn\nversion: 1\ntimeout: 1s\ntasks: {{build: 'trap \"\" TERM; exec 9> {}; read x < {}'}}\n",
        hold.path(),
        never.path()
    );
    space.recipes(&recipes);
    space.document(&one_phase(&recipes, "").replace("{delay", "{max_attempts: 1, delay"));
    let mut command = space.command(&RUN);
    command.env("KILN_SET_GRACE", "1s");
    space.start_command(command).wait().exits(1);
    assert_eq!(space.ledger().story("stubborn"), ["build 1", "build 1: resource_exhaustion", "failed"]);
    assert!(!hold.is_held());
}

#[test]
fn what_a_task_leaves_running_ends_with_it() {
    let space = Space::new();
    let hold = space.hold("hold");
    let mut here = space.bell("here");
    let go = space.gate("go");
    space.packages(&format!(
        r"
package: sloppy
version: 1
tasks:
  build: |
    mkfifo ready
    setsid sh -c 'exec 9> {hold}; echo > ready; while :; do sleep 1000; done' > /dev/null 2>&1 &
    read x < ready
---
package: witness
version: 1
build_deps: [sloppy]
tasks: {{build: 'echo here > {here}; read x < {go}'}}
",
        hold = hold.path(),
        here = here.path(),
        go = go.path()
    ));
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    // Not with kiln: that still runs.
    assert!(!hold.is_held());
    go.open();
    kiln.wait().exits(0);
    assert_eq!(space.ledger().story("sloppy"), ["build 1", "completed"]);
}

#[test]
fn others_go_on_while_the_output_of_a_failed_task_is_read() {
    let space = Space::new();
    let (hold, go) = (space.hold("hold"), space.gate("go"));
    let (mut here, mut there) = (space.bell("here"), space.bell("there"));
    // In the end the output is a fifo, of which nothing can be read until the test writes to it.
    space.packages(&format!(
        r"
package: unreadable
version: 1
tasks:
  build: |
    exec 9> {hold}
    log={logs}/$KILN_BUILD_ID/unreadable.build.$KILN_ATTEMPT.log
    test $KILN_ATTEMPT = 1 || exit 1
    rm $log
    mkfifo $log
    echo $log > {log}
    echo here > {here}
    exit 1
---
package: other
version: 1
tasks:
  build: read x < {go}
  install: echo there > {there}
",
        hold = hold.path(),
        logs = space.state().join("logs").display(),
        log = space.path("log").display(),
        here = here.path(),
        go = go.path(),
        there = there.path(),
    ));
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    hold.wait_until_free();
    go.open();
    there.wait(&kiln);
    // Nobody may be reading any more.
    let _ = std::fs::write(space.read("log").trim(), "the end\n");
    kiln.wait().exits(1);
    assert_eq!(space.ledger().story("other").last().unwrap(), "completed");
}

/// A recipe with these limits and this script, one attempt of which is made.
fn limited(limits: &str, script: &str) -> Space {
    let space = Space::new();
    let tasks = format!("limits: {{{limits}}}\ntasks: {{build: '{script}'}}\n");
    let recipe = format!("package: limited\nversion: 1\n{tasks}");
    space.recipes(&recipe);
    let phases = "build_phases: {main: {order: 1, steps: [limited]}}\n";
    space.document(&format!("{phases}error_recovery: {{automatic_recovery: {{max_attempts: 1}}}}\n"));
    space
}

/// The failure of that, where tasks have control groups; says so where not.
fn failure_within(limits: &str, script: &str) -> Option<Value> {
    let space = limited(limits, script);
    let ended = space.kiln(&RUN).exits(4);
    if !ended.stderr.contains("tasks have control groups") {
        eprintln!("skipped: {}", ended.stderr);
        return None;
    }
    let failure = space.ledger().only("task_failed")["failure"].clone();
    assert_eq!((&failure["confidence"], &failure["evidence"]["source"]), (&"high".into(), &"kernel".into()));
    Some(failure)
}

#[test]
fn a_task_that_exceeds_its_memory_is_killed_and_kiln_says_by_whom_and_why() {
    let Some(failure) = failure_within("memory: 64M", "head -c 300M /dev/zero | tail") else { return };
    assert_eq!(failure["category"], "resource_exhaustion");
    let text = failure["evidence"]["text"].as_str().unwrap();
    assert!(
        text.starts_with("the kernel killed ") && text.ends_with(" for memory: the task's limit is 64M"),
        "{text}"
    );
}

#[test]
fn a_task_that_needs_more_processes_than_it_may_have_reached_a_limit() {
    let script = "for i in 1 2 3 4 5 6; do sleep 1000 & done; wait";
    let Some(failure) = failure_within("pids: 4", script) else { return };
    assert_eq!(failure["category"], "process_limits");
}

#[test]
fn limits_without_control_groups_are_warned_of() {
    let space = limited("memory: 64M, pids: 4", "exit 0");
    let mut kiln = space.command(&RUN);
    kiln.env("KILN_SET_CGROUPS", "off");
    space
        .start_command(kiln)
        .wait()
        .exits(0)
        .says("`limits.memory` is not enforced")
        .says("`limits.pids` is not enforced");
}
