//! Records in plain words.

use tracing::Level;

use crate::engine::message::Answer;
use crate::failure::Category;
use crate::observe::Progress;
use crate::observe::events::{RECOVERED, Told, tell};
use crate::observe::notices::Alert;
use crate::plan::TaskKind;

use super::heard::Heard;
use super::story::{Play, Story, quick};

fn told(story: &Story) -> Vec<Told> {
    let mut progress = Progress::new(std::sync::Arc::clone(&story.plan), story.limits);
    let mut out = Vec::new();
    for entry in &story.entries {
        out.push(tell(entry, &progress));
        progress.fold(entry);
    }
    out
}

fn lines(story: &Story) -> String {
    let told = told(story);
    told.iter().map(|told| format!("{} {}", told.level, told.text)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_run_reads_as_a_story() {
    let mut story =
        Story::new("attempts 2\nphase base\n zlib: configure build\nphase? more\n a: build\n b: build < a");
    story.run(|task| match task {
        "zlib.build#1" | "a.build#1" | "a.build#2" => Play::Fail(5, Category::CompilationFailure),
        _ => Play::Ok(65),
    });
    let expect = "\
INFO run run1 of sketch starts: 3 packages
INFO 3 packages: 3 to build
INFO phase base starts
DEBUG zlib: configure starts (attempt 1)
DEBUG zlib: configure is done, after 1m05s
DEBUG zlib: build starts (attempt 1)
WARN zlib: build failed (compilation_failure, attempt 1 of 2, again in 60 s): main.c:7: error: <b> [31mno such thing (line 12); look at it
DEBUG zlib: configure starts (attempt 1, again, to restore the work directory)
DEBUG zlib: configure is done, after 1m05s
DEBUG zlib: build starts (attempt 2)
INFO zlib: build is done, after 1m05s; 1 attempt had failed
INFO zlib 1: completed in 3m20s
INFO phase base is completed
INFO phase more starts
DEBUG a: build starts (attempt 1)
INFO checkpoint 1 (full) at the end of phase base: covers 1 package, read back, in 0s
WARN a: build failed (compilation_failure, attempt 1 of 2, again in 60 s): main.c:7: error: <b> [31mno such thing (line 12); look at it
DEBUG a: build starts (attempt 2)
WARN a: build failed (compilation_failure, attempt 2 of 2, not tried again): main.c:7: error: <b> [31mno such thing (line 12); look at it
ERROR a: failed at build after 2 failed attempts (compilation_failure): main.c:7: error: <b> [31mno such thing (line 12); look at it
WARN b: skipped, since a is not there
WARN phase more failed: not all of its packages are there
WARN run run1 is completed, without 2 packages: a, b";
    assert_eq!(lines(&story), expect);
}

#[test]
fn an_event_names_its_package_phase_task_attempt_and_category() {
    let mut story = Story::new("phase base\n zlib: build");
    story.run(|task| match task {
        "zlib.build#1" => Play::Fail(5, Category::LinkFailure),
        _ => Play::Ok(1),
    });
    let told = told(&story);
    let failed = told.iter().find(|told| told.category.is_some()).unwrap();
    assert_eq!(&*failed.build_id, "run1");
    assert_eq!(failed.phase.as_deref(), Some("base"));
    assert_eq!(failed.package.as_deref(), Some("zlib"));
    assert_eq!((failed.task.map(TaskKind::name), failed.attempt), (Some("build"), Some(1)));
    assert_eq!(failed.category, Some(Category::LinkFailure));
    assert_eq!(&*told[0].build_id, "run1", "the first record already names its run");
}

#[test]
fn a_run_that_was_cut_off_says_so() {
    let mut story = Story::new("phase base\n zlib: build");
    story.run(|_| Play::Crash(5));
    story.run(|_| Play::Stop(5));
    story.run(quick);
    let lines = lines(&story);
    assert!(lines.contains("INFO run run1 goes on\nDEBUG zlib: build was cut off"), "{lines}");
    assert!(lines.contains("INFO run run1 is paused: stopped"), "{lines}");
    assert!(lines.ends_with("INFO run run1 is completed"), "{lines}");
}

#[test]
fn what_is_said_reaches_tracing_with_its_fields() {
    let mut story = Story::new("attempts 1\nphase base\n zlib: build");
    story.run(|_| Play::Fail(5, Category::LinkFailure));
    let heard = Heard::by(|| told(&story).iter().for_each(Told::emit));
    let failed = heard.iter().find(|heard| heard.level == Level::ERROR).unwrap();
    assert_eq!(failed.get("MESSAGE_ID"), Some("1171721583064511af10d0ff98596c76"));
    assert_eq!((failed.get("BUILD_ID"), failed.get("PHASE")), (Some("run1"), Some("base")));
    assert_eq!((failed.get("PACKAGE"), failed.get("TASK")), (Some("zlib"), Some("build")));
    assert_eq!((failed.get("ATTEMPT"), failed.get("CATEGORY")), (Some("1"), Some("link_failure")));
    assert_eq!(heard[0].get("PACKAGE"), None, "what an event is not about is left out: {:?}", heard[0]);
}

#[test]
fn only_what_a_person_should_know_is_an_error() {
    let mut story = Story::new("attempts 2\ngates\nphase base\n zlib: build\n a: build\n b: build < a");
    story.run(|task| match task {
        "zlib.build#1" | "a.build#1" | "a.build#2" => Play::Fail(5, Category::CompilationFailure),
        _ => Play::Ok(5),
    });
    story.answer(1, Answer::Retry);
    story.run(quick);
    let told = told(&story);
    let of = |level: Level| -> Vec<&str> {
        let words = |told: &Told| told.text.split_once(": ").map_or(0, |(before, _)| before.len());
        told.iter().filter(|told| told.level == level).map(|told| &told.text[..words(told)]).collect()
    };
    assert_eq!(of(Level::ERROR), ["gate 1 (critical_build_failure)"]);
    assert_eq!(of(Level::WARN), ["zlib", "a", "a"], "failed attempts");
    let recovered: Vec<&str> =
        told.iter().filter(|told| told.message_id == RECOVERED).map(|told| &*told.text).collect();
    assert_eq!(
        recovered,
        [
            "zlib: build is done, after 5s; 1 attempt had failed",
            "a: build is done, after 1s; 2 attempts had failed"
        ]
    );
    assert!(told.iter().filter(|told| told.message_id == RECOVERED).all(|told| told.level == Level::INFO));
}

#[test]
fn an_alert_is_as_grave_as_it_says_while_it_fires() {
    let alert = Alert {
        name: "KilnPersonRequired",
        severity: "critical",
        firing: true,
        summary: "glibc needs\na person",
        phase: Some("toolchain"),
        package: Some(""),
        gate: Some("3"),
    };
    let heard = Heard::by(|| {
        alert.emit();
        Alert { severity: "warning", ..alert }.emit();
        Alert { severity: "info", ..alert }.emit();
        Alert { firing: false, ..alert }.emit();
    });
    let levels: Vec<Level> = heard.iter().map(|heard| heard.level).collect();
    assert_eq!(levels, [Level::ERROR, Level::WARN, Level::INFO, Level::INFO]);
    let first = &heard[0];
    assert_eq!(first.get("message"), Some("alert KilnPersonRequired (critical) fires: glibc needs a person"));
    assert_eq!((first.get("ALERT"), first.get("ALERT_STATUS")), (Some("KilnPersonRequired"), Some("firing")));
    assert_eq!((first.get("PHASE"), first.get("PACKAGE")), (Some("toolchain"), None));
    assert_eq!(heard[3].get("ALERT_STATUS"), Some("resolved"));
}
