//! One story a test: a plan, what happens and when, and everything that the engine says.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::message::{Effect, Event, Facts, Have, Outcome, Record, Resources, Start, Time, Usage};
use crate::engine::state::State;
use crate::engine::{Engine, Limits, RunInfo};
use crate::failure::{Category, Failure};
use crate::plan::{Plan, TASK_KINDS, TaskId, TaskKind};

use super::sketch;

/// Runs a script and compares the trace.
///
/// Script, a line an event: `SECONDS begin [PACKAGE=HAVE…]`, `ok PACKAGE.TASK`, `fail PACKAGE.TASK [security]`,
/// `tick`, `measured PHASE [disk N] [memory N] [rotten]`, `output PACKAGE.TASK SECONDS`, `stop`, `crash` (a new
/// engine from the records so far; `begin` must follow).
/// Trace: `+` records, `>` effects.
#[track_caller]
fn check(words: &str, jobs: u32, script: &str, expect: &str) {
    let trace = run(words, jobs, script);
    let clean =
        |text: &str| text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n");
    assert!(clean(&trace) == clean(expect), "--- the engine said\n{trace}\n--- expected\n{expect}");
}

fn run(words: &str, jobs: u32, script: &str) -> String {
    let plan = sketch::plan(words);
    let limits = Limits { jobs, fetches: 2, grace: Duration::from_secs(10) };
    let info = RunInfo { build_id: "b1".into(), kiln: "test".into() };
    let expected: Vec<u64> = plan.packages.iter().map(|p| p.tasks.len() as u64).collect();
    let new = |state| Engine::new(Arc::clone(&plan), limits, info.clone(), state, &expected);
    let mut engine = new(State::new(&plan));
    let mut records: Vec<(Time, Record)> = Vec::new();
    let mut trace = String::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let now = Time::from_secs(words[0].parse().unwrap());
        let event = match words[1] {
            "crash" => {
                let mut state = State::new(&plan);
                for (at, record) in &records {
                    state.apply(&plan, *at, record, &mut Vec::new());
                }
                assert_eq!(&state, engine.state(), "replayed state differs from the live one");
                engine = new(state);
                continue;
            }
            "begin" => Event::Begin(facts(&plan, &words[2..])),
            "tick" => Event::Tick,
            "stop" => Event::Stop,
            "ok" => finished(&plan, words[2], Outcome::Success),
            "fail" => {
                let category = match words.get(3) {
                    Some(&"security") => Category::SecurityViolation,
                    _ => Category::CompilationFailure,
                };
                finished(&plan, words[2], Outcome::Failure(Failure::fact(category, "test", "it broke")))
            }
            "measured" => measured(&plan, &words[2..]),
            "output" => Event::Output {
                task: task(&plan, words[2]),
                last: Time::from_secs(words[3].parse().unwrap()),
            },
            other => panic!("event {other}"),
        };
        for effect in engine.handle(now, event) {
            if let Effect::Record(record) = &effect {
                records.push((now, record.clone()));
            }
            writeln!(trace, "{} {}", words[0], show(&plan, &effect)).unwrap();
        }
    }
    trace
}

fn facts(plan: &Plan, words: &[&str]) -> Facts {
    let mut facts = Facts { packages: vec![Have::Nothing; plan.packages.len()] };
    for word in words {
        let (name, have) = word.split_once('=').unwrap();
        facts.packages[plan.find(name).unwrap().0 as usize] = match have {
            "all" => Have::Everything,
            "degraded" => Have::Degraded,
            "archive" => Have::Archive,
            "work" => Have::WorkDirectory,
            "unwanted" => Have::Unselected,
            other => panic!("have {other}"),
        };
    }
    facts
}

fn task(plan: &Plan, word: &str) -> TaskId {
    let (package, kind) = word.split_once('.').unwrap();
    let kind = TASK_KINDS.into_iter().find(|k| k.name() == kind).unwrap();
    plan.task(plan.find(package).unwrap(), kind).unwrap()
}

fn finished(plan: &Plan, word: &str, outcome: Outcome) -> Event {
    Event::Finished { task: task(plan, word), outcome, usage: Usage::default() }
}

fn measured(plan: &Plan, words: &[&str]) -> Event {
    let mut resources = Resources { disk: 1000, memory: 1000, toolchain_verified: true };
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        match *word {
            "disk" => resources.disk = rest.next().unwrap().parse().unwrap(),
            "memory" => resources.memory = rest.next().unwrap().parse().unwrap(),
            "rotten" => resources.toolchain_verified = false,
            other => panic!("measured {other}"),
        }
    }
    Event::Measured { phase: plan.find_phase(words[0]).unwrap(), resources }
}

fn show(plan: &Plan, effect: &Effect) -> String {
    let name =
        |task: TaskId| format!("{}.{}", plan.package(plan.package_of(task)).name, plan.kind(task).name());
    match effect {
        Effect::Record(record) => format!("+ {}", show_record(record)),
        Effect::Start(Start { task, attempt, restore, fresh, jobs, degraded, .. }) => {
            let mark = |on: bool, word: &str| if on { format!(" {word}") } else { String::new() };
            format!(
                "> start {}#{attempt} j{jobs}{}{}{}",
                name(*task),
                mark(*restore, "restore"),
                mark(*fresh, "fresh"),
                mark(*degraded, "degraded")
            )
        }
        Effect::Kill { task, at_once } => {
            format!("> {} {}", if *at_once { "kill" } else { "term" }, name(*task))
        }
        Effect::Measure { phase } => format!("> measure {}", plan.phase(*phase).key),
        Effect::WatchOutput { task } => format!("> watch {}", name(*task)),
        Effect::End(ending) => format!("> end {ending:?}"),
    }
}

fn show_record(record: &Record) -> String {
    let list = |names: &[Arc<str>]| names.iter().map(|n| &**n).collect::<Vec<_>>().join(",");
    let it = |package: &str, task: &TaskKind, attempt: &u32| format!("{package}.{}#{attempt}", task.name());
    match record {
        Record::RunStarted { build_id, .. } => format!("run_started {build_id}"),
        Record::RunResumed { afresh, .. } => {
            format!("run_resumed{}", if *afresh { " afresh" } else { "" })
        }
        Record::Decided { reused, archived, skipped, degraded } => {
            let mut text = format!(
                "decided reused={} archived={} skipped={}",
                list(reused),
                list(archived),
                list(skipped)
            );
            if !degraded.is_empty() {
                text.push_str(&format!(" degraded={}", list(degraded)));
            }
            text
        }
        Record::PhaseStarted { phase } => format!("phase_started {phase}"),
        Record::PhaseFinished { phase, outcome } => format!("phase_finished {phase} {outcome:?}"),
        Record::RequirementUnmet { phase, requirement, required, available } => {
            format!("requirement_unmet {phase} {requirement:?} {required}>{available}")
        }
        Record::TaskStarted { package, task, attempt, .. } => {
            format!("task_started {}", it(package, task, attempt))
        }
        Record::TaskFinished { package, task, attempt, .. } => {
            format!("task_finished {}", it(package, task, attempt))
        }
        Record::TaskFailed { package, task, attempt, retry_at, tolerated, failure, .. } => format!(
            "task_failed {} {}{}{}",
            it(package, task, attempt),
            failure.category.name(),
            retry_at.map(|t| format!(" retry_at={t}")).unwrap_or_default(),
            if *tolerated { " tolerated" } else { "" }
        ),
        Record::TaskInterrupted { package, task, attempt } => {
            format!("task_interrupted {}", it(package, task, attempt))
        }
        Record::WorkLost { package } => format!("work_lost {package}"),
        Record::PackageCompleted { package, degraded, .. } => {
            format!("package_completed {package}{}", if *degraded { " degraded" } else { "" })
        }
        Record::PackageFailed { package, task } => format!("package_failed {package}.{}", task.name()),
        Record::PackageKept { package } => format!("package_kept {package}"),
        Record::PackageSkipped { package, because } => format!("package_skipped {package} because {because}"),
        Record::RunPaused { reason } => format!("run_paused {reason}"),
        Record::RunEnded { state, missing } => format!("run_ended {state:?} missing={}", list(missing)),
        Record::Undone { package } => format!("undone {package}"),
        Record::PackageRemoved { package } => format!("package_removed {package}"),
    }
}

#[test]
fn a_package_goes_through_its_tasks_and_lets_its_dependent_begin() {
    check(
        "method parallel
         phase base
           zlib: build install
           curl: build < zlib",
        2,
        "0 begin
         0 measured base
         1 ok zlib.build
         2 ok zlib.install
         3 ok zlib.merge
         4 ok curl.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j2 fresh
         1 + task_finished zlib.build#1
         1 + task_started zlib.install#1
         1 > start zlib.install#1 j2
         2 + task_finished zlib.install#1
         2 + task_started zlib.merge#1
         2 > start zlib.merge#1 j2
         3 + task_finished zlib.merge#1
         3 + package_completed zlib
         3 + task_started curl.build#1
         3 > start curl.build#1 j2 fresh
         4 + task_finished curl.build#1
         4 + package_completed curl
         4 + phase_finished base Completed
         4 + run_ended Completed missing=
         4 > end Completed",
    );
}

#[test]
fn a_retry_waits_and_starts_from_a_clean_work_directory() {
    check(
        "attempts 2
         delay 60
         phase base
           zlib: fetch unpack configure build",
        1,
        "0 begin
         0 measured base
         1 ok zlib.fetch
         2 ok zlib.unpack
         3 ok zlib.configure
         4 fail zlib.build
         64 tick
         65 ok zlib.unpack
         66 ok zlib.configure
         67 fail zlib.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + task_started zlib.fetch#1
         0 > start zlib.fetch#1 j1
         0 + phase_started base
         1 + task_finished zlib.fetch#1
         1 + task_started zlib.unpack#1
         1 > start zlib.unpack#1 j1 fresh
         2 + task_finished zlib.unpack#1
         2 + task_started zlib.configure#1
         2 > start zlib.configure#1 j1
         3 + task_finished zlib.configure#1
         3 + task_started zlib.build#1
         3 > start zlib.build#1 j1
         4 + task_failed zlib.build#1 compilation_failure retry_at=64s
         64 + task_started zlib.unpack#1
         64 > start zlib.unpack#1 j1 restore fresh
         65 + task_finished zlib.unpack#1
         65 + task_started zlib.configure#1
         65 > start zlib.configure#1 j1 restore
         66 + task_finished zlib.configure#1
         66 + task_started zlib.build#2
         66 > start zlib.build#2 j1
         67 + task_failed zlib.build#2 compilation_failure
         67 + package_failed zlib.build
         67 + phase_finished base Failed
         67 + run_ended Error missing=zlib
         67 > end Error",
    );
}

#[test]
fn a_security_violation_is_not_tried_again() {
    check(
        "attempts 3
         phase base
           zlib: fetch unpack build",
        1,
        "0 begin
         0 measured base
         1 fail zlib.fetch security",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + task_started zlib.fetch#1
         0 > start zlib.fetch#1 j1
         0 + phase_started base
         1 + task_failed zlib.fetch#1 security_violation
         1 + package_failed zlib.fetch
         1 + phase_finished base Failed
         1 + run_ended Error missing=zlib
         1 > end Error",
    );
}

#[test]
fn without_automatic_recovery_the_first_failure_is_the_last() {
    check(
        "disabled
         phase base
           zlib: build",
        1,
        "0 begin
         0 measured base
         1 fail zlib.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_failed zlib.build#1 compilation_failure
         1 + package_failed zlib.build
         1 + phase_finished base Failed
         1 + run_ended Error missing=zlib
         1 > end Error",
    );
}

#[test]
fn a_critical_phase_fails_after_independent_work_and_ends_the_run() {
    check(
        "attempts 1
         method parallel
         phase base
           bad: build
           needy: build < bad
           other: build
         phase later
           late: build",
        1,
        "0 begin
         0 measured base
         1 fail bad.build
         2 ok other.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started bad.build#1
         0 > start bad.build#1 j1 fresh
         1 + task_failed bad.build#1 compilation_failure
         1 + package_failed bad.build
         1 + package_skipped needy because bad
         1 + task_started other.build#1
         1 > start other.build#1 j1 fresh
         2 + task_finished other.build#1
         2 + package_completed other
         2 + phase_finished base Failed
         2 + run_ended Error missing=bad,needy,late
         2 > end Error",
    );
}

#[test]
fn a_non_critical_failure_skips_dependents_and_the_run_completes_without_them() {
    check(
        "attempts 1
         phase base
           libc: build
         phase? desktop
           xorg: build < libc
           wm: build < xorg
           editor: build < libc ?xorg",
        1,
        "0 begin
         0 measured base
         1 ok libc.build
         1 measured desktop
         2 fail xorg.build
         3 ok editor.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started libc.build#1
         0 > start libc.build#1 j1 fresh
         1 + task_finished libc.build#1
         1 + package_completed libc
         1 + phase_finished base Completed
         1 > measure desktop
         1 + phase_started desktop
         1 + task_started xorg.build#1
         1 > start xorg.build#1 j1 fresh
         2 + task_failed xorg.build#1 compilation_failure
         2 + package_failed xorg.build
         2 + package_skipped wm because xorg
         2 + task_started editor.build#1
         2 > start editor.build#1 j1 fresh degraded
         3 + task_finished editor.build#1
         3 + package_completed editor degraded
         3 + phase_finished desktop Failed
         3 + run_ended Completed missing=xorg,wm
         3 > end Completed",
    );
}

#[test]
fn an_unmet_requirement_ends_the_run_before_anything_is_built() {
    check(
        "phase base
         needs disk 500 memory 2000
           zlib: fetch unpack build",
        1,
        "0 begin
         0 measured base disk 100 memory 3000
         1 fail zlib.fetch",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + task_started zlib.fetch#1
         0 > start zlib.fetch#1 j1
         0 + requirement_unmet base DiskSpace 500>100
         0 > term zlib.fetch
         1 + task_interrupted zlib.fetch#1
         1 + run_ended Error missing=zlib
         1 > end Requirements",
    );
}

#[test]
fn the_toolchain_must_be_complete_and_verify() {
    check(
        "phase toolchain
           gcc: build install
         phase base
         needs toolchain
           bash: build < gcc",
        1,
        "0 begin gcc=all
         0 measured base rotten",
        "0 + run_started b1
         0 + decided reused=gcc archived= skipped=
         0 + phase_started toolchain
         0 + phase_finished toolchain Completed
         0 > measure base
         0 + requirement_unmet base Toolchain 1>0
         0 + run_ended Error missing=bash
         0 > end Requirements",
    );
}

#[test]
fn a_stop_asks_politely_and_the_second_one_does_not() {
    check(
        "method parallel
         phase base
           a: build
           b: build",
        2,
        "0 begin
         0 measured base
         1 stop
         2 stop
         3 fail a.build
         3 ok b.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j2 fresh
         0 + task_started b.build#1
         0 > start b.build#1 j1 fresh
         1 > term a.build
         1 > term b.build
         2 > kill a.build
         2 > kill b.build
         3 + task_interrupted a.build#1
         3 + task_finished b.build#1
         3 + package_completed b
         3 + run_paused stopped
         3 > end Stopped",
    );
}

#[test]
fn a_crash_interrupts_what_was_in_flight_and_counts_as_nothing() {
    check(
        "attempts 1
         method parallel
         phase base
           a: configure build
           b: configure build install",
        2,
        "0 begin
         0 measured base
         1 ok a.configure
         2 ok b.configure
         3 ok b.build
         4 ok b.install
         5 crash
         5 begin a=work b=archive
         6 ok a.configure
         7 ok a.build
         8 ok b.merge",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started b.configure#1
         0 > start b.configure#1 j2 fresh
         0 + task_started a.configure#1
         0 > start a.configure#1 j1 fresh
         1 + task_finished a.configure#1
         1 + task_started a.build#1
         1 > start a.build#1 j1
         2 + task_finished b.configure#1
         2 + task_started b.build#1
         2 > start b.build#1 j1
         3 + task_finished b.build#1
         3 + task_started b.install#1
         3 > start b.install#1 j1
         4 + task_finished b.install#1
         4 + task_started b.merge#1
         4 > start b.merge#1 j2
         5 + run_resumed
         5 + task_interrupted a.build#1
         5 + task_interrupted b.merge#1
         5 + task_started b.merge#2
         5 > start b.merge#2 j2
         5 + task_started a.configure#1
         5 > start a.configure#1 j2 restore fresh
         6 + task_finished a.configure#1
         6 + task_started a.build#2
         6 > start a.build#2 j2
         7 + task_finished a.build#2
         7 + package_completed a
         8 + task_finished b.merge#2
         8 + package_completed b
         8 + phase_finished base Completed
         8 + run_ended Completed missing=
         8 > end Completed",
    );
}

#[test]
fn what_is_there_is_not_built_and_what_has_an_archive_is_only_merged() {
    check(
        "phase base
           a: build install
           b: fetch unpack build install < a
           c: build < b",
        1,
        "0 begin a=all b=archive
         0 measured base
         1 ok b.merge
         2 ok c.build",
        "0 + run_started b1
         0 + decided reused=a archived=b skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started b.merge#1
         0 > start b.merge#1 j1
         1 + task_finished b.merge#1
         1 + package_completed b
         1 + task_started c.build#1
         1 > start c.build#1 j1 fresh
         2 + task_finished c.build#1
         2 + package_completed c
         2 + phase_finished base Completed
         2 + run_ended Completed missing=
         2 > end Completed",
    );
}

#[test]
fn what_was_built_without_something_optional_is_built_again_when_that_comes() {
    check(
        "phase base
           doc: build
           app: fetch unpack build install < ?doc",
        1,
        "0 begin app=degraded
         0 measured base
         1 ok doc.build
         2 ok app.fetch
         3 ok app.unpack",
        "0 + run_started b1
         0 + decided reused= archived= skipped= degraded=app
         0 > measure base
         0 + phase_started base
         0 + task_started doc.build#1
         0 > start doc.build#1 j1 fresh
         1 + task_finished doc.build#1
         1 + package_completed doc
         1 + task_started app.fetch#1
         1 > start app.fetch#1 j1
         2 + task_finished app.fetch#1
         2 + task_started app.unpack#1
         2 > start app.unpack#1 j1 fresh
         3 + task_finished app.unpack#1
         3 + task_started app.build#1
         3 > start app.build#1 j1",
    );
}

#[test]
fn what_was_built_without_something_optional_stays_when_that_is_still_missing() {
    check(
        "attempts 1
         phase? base
           doc: build
           app: fetch build install < ?doc
           user: build install < app",
        1,
        "0 begin app=degraded user=degraded
         0 measured base
         1 fail doc.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped= degraded=app,user
         0 > measure base
         0 + phase_started base
         0 + task_started doc.build#1
         0 > start doc.build#1 j1 fresh
         1 + task_failed doc.build#1 compilation_failure
         1 + package_failed doc.build
         1 + package_kept app
         1 + package_kept user
         1 + phase_finished base Failed
         1 + run_ended Completed missing=doc
         1 > end Completed",
    );
}

#[test]
fn nothing_to_do_needs_nothing() {
    check(
        "phase base
         needs disk 999999
           a: build install",
        1,
        "0 begin a=all",
        "0 + run_started b1
         0 + decided reused=a archived= skipped=
         0 + phase_started base
         0 + phase_finished base Completed
         0 + run_ended Completed missing=
         0 > end Completed",
    );
}

#[test]
fn a_timeout_ends_a_task_and_grace_ends_its_patience() {
    check(
        "attempts 1
         phase base
           slow: build (timeout 30 silent 5)",
        1,
        "0 begin
         0 measured base
         5 tick
         5 output slow.build 4
         9 tick
         9 output slow.build 9
         30 tick
         40 tick
         41 fail slow.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started slow.build#1
         0 > start slow.build#1 j1 fresh
         5 > watch slow.build
         9 > watch slow.build
         30 > watch slow.build
         30 > term slow.build
         40 > kill slow.build
         41 + task_failed slow.build#1 resource_exhaustion
         41 + package_failed slow.build
         41 + phase_finished base Failed
         41 + run_ended Error missing=slow
         41 > end Error",
    );
}

#[test]
fn silence_ends_a_task() {
    check(
        "attempts 1
         phase base
           quiet: build (silent 5)",
        1,
        "0 begin
         0 measured base
         5 tick
         5 output quiet.build 0
         6 fail quiet.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started quiet.build#1
         0 > start quiet.build#1 j1 fresh
         5 > watch quiet.build
         5 > term quiet.build
         6 + task_failed quiet.build#1 resource_exhaustion
         6 + package_failed quiet.build
         6 + phase_finished base Failed
         6 + run_ended Error missing=quiet
         6 > end Error",
    );
}

#[test]
fn a_tolerated_check_fails_once_and_the_package_goes_on() {
    check(
        "attempts 3
         phase base
           a: build check? install",
        1,
        "0 begin
         0 measured base
         1 ok a.build
         2 fail a.check
         3 ok a.install
         4 ok a.merge",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j1 fresh
         1 + task_finished a.build#1
         1 + task_started a.check#1
         1 > start a.check#1 j1
         2 + task_failed a.check#1 compilation_failure tolerated
         2 + task_started a.install#1
         2 > start a.install#1 j1
         3 + task_finished a.install#1
         3 + task_started a.merge#1
         3 > start a.merge#1 j1
         4 + task_finished a.merge#1
         4 + package_completed a
         4 + phase_finished base Completed
         4 + run_ended Completed missing=
         4 > end Completed",
    );
}

#[test]
fn one_package_at_a_time_in_the_order_of_the_plan() {
    check(
        "method topological
         phase base
           a: configure build
           b: build (jobs 2)",
        4,
        "0 begin
         0 measured base
         1 ok a.configure
         2 ok a.build
         3 ok b.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.configure#1
         0 > start a.configure#1 j4 fresh
         1 + task_finished a.configure#1
         1 + task_started a.build#1
         1 > start a.build#1 j4
         2 + task_finished a.build#1
         2 + package_completed a
         2 + task_started b.build#1
         2 > start b.build#1 j2 fresh
         3 + task_finished b.build#1
         3 + package_completed b
         3 + phase_finished base Completed
         3 + run_ended Completed missing=
         3 > end Completed",
    );
}

#[test]
fn slots_are_shared_out_and_the_longer_way_goes_first() {
    check(
        "method parallel
         phase base
           short: build
           long1: build
           long2: build < long1",
        1,
        "0 begin
         0 measured base
         1 ok long1.build
         2 ok short.build
         3 ok long2.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started long1.build#1
         0 > start long1.build#1 j1 fresh
         1 + task_finished long1.build#1
         1 + package_completed long1
         1 + task_started short.build#1
         1 > start short.build#1 j1 fresh
         2 + task_finished short.build#1
         2 + package_completed short
         2 + task_started long2.build#1
         2 > start long2.build#1 j1 fresh
         3 + task_finished long2.build#1
         3 + package_completed long2
         3 + phase_finished base Completed
         3 + run_ended Completed missing=
         3 > end Completed",
    );
}

#[test]
fn what_a_dependency_needs_to_run_is_waited_for_too() {
    check(
        "method parallel
         phase base
           app: build < tool
           tool: build ~lib
           lib: build",
        3,
        "0 begin
         0 measured base
         1 ok tool.build
         2 ok lib.build
         3 ok app.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started tool.build#1
         0 > start tool.build#1 j3 fresh
         0 + task_started lib.build#1
         0 > start lib.build#1 j1 fresh
         1 + task_finished tool.build#1
         1 + package_completed tool
         2 + task_finished lib.build#1
         2 + package_completed lib
         2 + task_started app.build#1
         2 > start app.build#1 j3 fresh
         3 + task_finished app.build#1
         3 + package_completed app
         3 + phase_finished base Completed
         3 + run_ended Completed missing=
         3 > end Completed",
    );
}

#[test]
fn a_failed_critical_phase_ends_the_run_even_if_kiln_dies_before_it_can_say_so() {
    check(
        "attempts 1
         method parallel
         phase base
           bad: build
         phase later
           late: fetch unpack build",
        1,
        "0 begin
         0 measured base
         1 fail bad.build
         1 crash
         1 begin",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + task_started late.fetch#1
         0 > start late.fetch#1 j1
         0 + phase_started base
         0 + task_started bad.build#1
         0 > start bad.build#1 j1 fresh
         1 + task_failed bad.build#1 compilation_failure
         1 + package_failed bad.build
         1 + phase_finished base Failed
         1 > term late.fetch
         1 + run_resumed
         1 + task_interrupted late.fetch#1
         1 + run_ended Error missing=bad,late
         1 > end Error",
    );
}

#[test]
fn a_completed_package_that_is_gone_makes_the_run_look_again() {
    check(
        "method parallel
         phase base
           a: build install
           b: build",
        2,
        "0 begin
         0 measured base
         1 ok a.build
         2 ok a.install
         3 ok a.merge
         4 crash
         4 begin a=archive b=work",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j2 fresh
         0 + task_started b.build#1
         0 > start b.build#1 j1 fresh
         1 + task_finished a.build#1
         1 + task_started a.install#1
         1 > start a.install#1 j1
         2 + task_finished a.install#1
         2 + task_started a.merge#1
         2 > start a.merge#1 j2
         3 + task_finished a.merge#1
         3 + package_completed a
         4 + run_resumed afresh
         4 + decided reused= archived=a skipped=
         4 > measure base",
    );
}
