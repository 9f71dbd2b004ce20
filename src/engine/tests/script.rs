//! Stories as scripts: a plan, what happens and when, and everything that the engine says.
//!
//! Owns: how stories are written and traced. Does not know: any of them (`building`, `failing`, `going_on`).

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::config::document::CheckpointType;
use crate::engine::message::{
    ANSWERS, Acted, ActionResult, Answered, Covered, Damaged, Effect, Event, Facts, Findings, Have, Outcome,
    Record, Resources, Said, Start, Then, Time, Usage,
};
use crate::engine::state::State;
use crate::engine::{Engine, Limits, RunInfo};
use crate::failure::{Category, Failure};
use crate::plan::{Plan, TASK_KINDS, TaskId, TaskKind};

use super::sketch;

/// Runs a script and compares the trace.
///
/// Script, a line an event: `SECONDS begin [PACKAGE=HAVE…]`, `ok PACKAGE.TASK`, `fail PACKAGE.TASK [security]`,
/// `tick`, `memory N`, `measured PHASE [disk N] [memory N] [rotten]`, `verified PACKAGE.TASK [read|damaged|lost PACKAGE…] [unreadable]`,
/// `output PACKAGE.TASK SECONDS`, `acted PACKAGE done|nothing|failed [pointless|person]`,
/// `answer GATE retry|skip|abort [JOBS]`, `checkpointed N [failed] [full PACKAGE…] [unread] [damaged|lost PACKAGE…]`, `pause [WHY]`, `resume`, `take` (a checkpoint), `stop`, `crash` (a new engine from the records so far; `begin` must follow). HAVE with a
/// `!` behind it: the `check` had failed. Where the sketch says nothing of checkpoints, they are taken at once and not shown.
/// Trace: `+` records, `>` effects.
#[track_caller]
pub(super) fn check(words: &str, jobs: u32, script: &str, expect: &str) {
    let trace = run(words, jobs, script);
    let clean =
        |text: &str| text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n");
    assert!(clean(&trace) == clean(expect), "--- the engine said\n{trace}\n--- expected\n{expect}");
}

fn run(words: &str, jobs: u32, script: &str) -> String {
    let plan = sketch::plan(words);
    let limits = Limits { jobs, fetches: 2, grace: Duration::from_secs(10) };
    let info = RunInfo { build_id: "b1".into(), kiln: "test".into(), boot: "".into() };
    let expected: Vec<u64> = plan.packages.iter().map(|p| p.tasks.len() as u64).collect();
    let new = |state| {
        let engine = Engine::new(Arc::clone(&plan), limits, info.clone(), state, &expected);
        let engine = engine.expecting_memory(memory(&plan));
        if words.lines().any(|line| line.trim() == "wait") { engine.waiting() } else { engine }
    };
    let mut engine = new(State::new(&plan));
    let mut records: Vec<(Time, Record)> = Vec::new();
    let mut trace = String::new();
    let shown = words.lines().any(|line| line.trim().starts_with("checkpoints "));
    let mut taking = BTreeMap::new();
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
            "pause" => Event::Pause(Said { by: "ann".into(), note: words[2..].join(" ").into() }),
            "resume" => Event::Resume(Said { by: "ann".into(), note: "".into() }),
            "take" => Event::TakeCheckpoint,
            "ok" => finished(&plan, words[2], Outcome::Success),
            "fail" => {
                let category = match words.get(3) {
                    Some(&"security") => Category::SecurityViolation,
                    Some(&"memory") => Category::MemoryAllocation,
                    Some(&"network") => Category::NetworkIssues,
                    Some(&"disk") => Category::DiskSpace,
                    Some(&"dependency") => Category::MissingDependency,
                    _ => Category::CompilationFailure,
                };
                let text = words.get(4).unwrap_or(&"it broke");
                finished(&plan, words[2], Outcome::Failure(Failure::fact(category, "test", *text)))
            }
            "acted" => Event::Acted { package: plan.find(words[2]).unwrap(), acted: acted(&words[3..]) },
            "answer" => answered(&words[2..]),
            "checkpointed" => checkpointed(&plan, &words[2..], &mut taking),
            "measured" => measured(&plan, &words[2..]),
            "memory" => Event::Memory { available: words[2].parse().unwrap() },
            "verified" => verified(&plan, &words[2..]),
            "output" => Event::Output {
                task: task(&plan, words[2]),
                last: Time::from_secs(words[3].parse().unwrap()),
            },
            other => panic!("event {other}"),
        };
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in engine.handle(now, event) {
                let mut hidden = false;
                if let Effect::Record(record) = &effect {
                    records.push((now, record.clone()));
                    hidden = !shown && matches!(record, Record::CheckpointTaken { .. });
                } else if let Effect::Checkpoint { number, kind, packages, .. } = &effect {
                    let covered = Covered {
                        kind: *kind,
                        packages: packages.clone(),
                        verified: true,
                        damaged: Vec::new(),
                    };
                    hidden = !shown;
                    if hidden {
                        events.push_back(Event::Checkpointed { number: *number, result: Ok(covered) });
                    } else {
                        taking.insert(*number, covered);
                    }
                }
                if !hidden {
                    writeln!(trace, "{} {}", words[0], show(&plan, &effect)).unwrap();
                }
            }
        }
    }
    trace
}

/// What each task is expected to need: what the sketch says of scripts.
pub(super) fn memory(plan: &Plan) -> Vec<u64> {
    let tasks =
        plan.packages.iter().flat_map(|package| package.tasks.iter().map(move |task| (package, task)));
    tasks.map(|(package, task)| package.memory.filter(|_| task.is_script()).unwrap_or(0)).collect()
}

fn facts(plan: &Plan, words: &[&str]) -> Facts {
    let mut facts = Facts { packages: vec![Have::Nothing; plan.packages.len()], ..Facts::default() };
    for word in words {
        let (name, have) = word.split_once('=').unwrap();
        let id = plan.find(name).unwrap();
        facts.failed_checks.extend(have.ends_with('!').then_some(id));
        facts.packages[id.0 as usize] = match have.trim_end_matches('!') {
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

fn acted(words: &[&str]) -> Acted {
    let result = match words[0] {
        "done" => ActionResult::Done,
        "nothing" => ActionResult::NothingToDo,
        "failed" => ActionResult::Failed,
        other => panic!("acted {other}"),
    };
    let then = match words.get(1) {
        None => Then::GoOn,
        Some(&"pointless") => Then::Pointless,
        Some(&"person") => Then::Person,
        Some(other) => panic!("then {other}"),
    };
    Acted { result, examined: "looked".into(), then }
}

fn answered(words: &[&str]) -> Event {
    let answer = ANSWERS.into_iter().find(|answer| answer.name() == words[1]).unwrap();
    let jobs = words.get(2).map(|jobs| jobs.parse().unwrap());
    let gate = words[0].parse().unwrap();
    Event::Answered(Answered { gate, answer, jobs, by: "ann".into(), note: "".into() })
}

/// What the checkpoint should cover, as changed by the words.
fn checkpointed(plan: &Plan, words: &[&str], taking: &mut BTreeMap<u32, Covered>) -> Event {
    let number = words[0].parse().unwrap();
    let mut covered = taking.remove(&number).unwrap();
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        match *word {
            "failed" => return Event::Checkpointed { number, result: Err("the disk is full".into()) },
            "full" => {
                covered.kind = CheckpointType::Full;
                covered.packages.push((*rest.next().unwrap()).into());
            }
            "unread" => covered.verified = false,
            "damaged" | "lost" => covered.damaged.push(Damaged {
                package: plan.find(rest.next().unwrap()).unwrap(),
                path: "bin/x".into(),
                what: "has other bytes".into(),
                others: 0,
                archive: *word == "damaged",
            }),
            other => panic!("checkpointed {other}"),
        }
    }
    Event::Checkpointed { number, result: Ok(covered) }
}

fn kind_name(kind: CheckpointType) -> &'static str {
    match kind {
        CheckpointType::Incremental => "incremental",
        CheckpointType::Full => "full",
    }
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

fn verified(plan: &Plan, words: &[&str]) -> Event {
    let mut findings = Findings { at: 7, ..Findings::default() };
    let mut failure = None;
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        if *word == "unreadable" {
            failure = Some(Failure::fact(Category::DiskSpace, "test", "it cannot be read"));
            continue;
        }
        let package = plan.find(rest.next().unwrap()).unwrap();
        let (path, what) = ("bin/x".into(), "has other bytes".into());
        match *word {
            "read" => findings.read.push(package),
            "damaged" | "lost" => {
                let archive = *word == "damaged";
                findings.damaged.push(Damaged { package, path, what, others: 0, archive });
            }
            other => panic!("verified {other}"),
        }
    }
    Event::Verified { task: task(plan, words[0]), findings: failure.map_or(Ok(findings), Err) }
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
        Effect::MeasureMemory => "> measure memory".to_owned(),
        Effect::Verify { task, packages } => {
            let packages: Vec<&str> = packages.iter().map(|id| &*plan.package(*id).name).collect();
            format!("> verify {} {}", name(*task), packages.join(","))
        }
        Effect::Act(act) => format!("> act {} {}", plan.package(act.package).name, act.action),
        Effect::CancelAct { package } => format!("> cancel {}", plan.package(*package).name),
        Effect::Checkpoint { number, kind, phase, packages } => format!(
            "> checkpoint {number} {}{} {}",
            kind_name(*kind),
            phase.as_ref().map(|phase| format!(" {phase}")).unwrap_or_default(),
            packages.iter().map(|n| &**n).collect::<Vec<_>>().join(",")
        ),
        Effect::WatchOutput { task } => format!("> watch {}", name(*task)),
        Effect::End(ending) => format!("> end {ending:?}"),
    }
}

fn show_record(record: &Record) -> String {
    let list = |names: &[Arc<str>]| names.iter().map(|n| &**n).collect::<Vec<_>>().join(",");
    let it = |package: &str, task: &TaskKind, attempt: &u32| format!("{package}.{}#{attempt}", task.name());
    match record {
        Record::RunStarted { build_id, .. } => format!("run_started {build_id}"),
        Record::Restored { checkpoint, packages, .. } => {
            format!("restored {checkpoint} ({})", packages.len())
        }
        Record::RestoreFinished { checkpoint } => format!("restore_finished {checkpoint}"),
        Record::RunResumed { afresh, reason, .. } => format!(
            "run_resumed{}{}",
            if *afresh { " afresh" } else { "" },
            reason.as_ref().map(|reason| format!(" {reason}")).unwrap_or_default()
        ),
        Record::Decided { reused, archived, skipped, degraded, failed_checks, .. } => {
            let mut text = format!(
                "decided reused={} archived={} skipped={}",
                list(reused),
                list(archived),
                list(skipped)
            );
            if !degraded.is_empty() {
                text.push_str(&format!(" degraded={}", list(degraded)));
            }
            if !failed_checks.is_empty() {
                text.push_str(&format!(" failed_checks={}", list(failed_checks)));
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
        Record::TaskFailed { package, task, attempt, retry_at, tolerated, failure, jobs, .. } => format!(
            "task_failed {} {}{}{}{}",
            it(package, task, attempt),
            failure.category.name(),
            retry_at.map(|t| format!(" retry_at={t}")).unwrap_or_default(),
            jobs.map(|jobs| format!(" jobs={jobs}")).unwrap_or_default(),
            if *tolerated { " tolerated" } else { "" }
        ),
        Record::ActionFinished { package, action, result, then, .. } => {
            let then = if *then == Then::GoOn { String::new() } else { format!(" {then:?}") };
            format!("action {package} {action} {}{then}", result.name())
        }
        Record::GateOpened { gate, reason, phase, package, .. } => {
            format!("gate {gate} opened {reason} {}", package.as_ref().unwrap_or(phase))
        }
        Record::GateAnswered { gate, answer, .. } => format!("gate {gate} answered {}", answer.name()),
        Record::GateClosed { gate } => format!("gate {gate} closed"),
        Record::TaskInterrupted { package, task, attempt } => {
            format!("task_interrupted {}", it(package, task, attempt))
        }
        Record::WorkLost { package } => format!("work_lost {package}"),
        Record::PackageCompleted { package, degraded, .. } => {
            format!("package_completed {package}{}", if *degraded { " degraded" } else { "" })
        }
        Record::PackageFailed { package, task } => format!("package_failed {package}.{}", task.name()),
        Record::Verified { packages, .. } => format!("verified {}", list(packages)),
        Record::PackageDamaged { package, path, what, archive, .. } => {
            format!("package_damaged {package} {path} {what}{}", if *archive { "" } else { " lost" })
        }
        Record::CheckpointTaken { checkpoint, kind, phase, packages, verified, .. } => format!(
            "checkpoint {checkpoint} taken {}{} {}{}",
            kind_name(*kind),
            phase.as_ref().map(|phase| format!(" {phase}")).unwrap_or_default(),
            list(packages),
            if *verified { "" } else { " unread" }
        ),
        Record::CheckpointFailed { checkpoint, reason, .. } => {
            format!("checkpoint {checkpoint} failed {reason}")
        }
        Record::PackageKept { package } => format!("package_kept {package}"),
        Record::PackageSkipped { package, because } => format!("package_skipped {package} because {because}"),
        Record::RunPaused { reason, held } => {
            format!("run_paused {reason}{}", if *held { " held" } else { "" })
        }
        Record::RunEnded { state, missing } => format!("run_ended {state:?} missing={}", list(missing)),
        Record::Undone { package } => format!("undone {package}"),
        Record::PackageRemoved { package } => format!("package_removed {package}"),
    }
}
