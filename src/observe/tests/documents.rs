//! The framework's documents, and status updates.

use crate::config::document::{DetailLevel, ProgressMetric};
use crate::engine::message::Record;
use crate::failure::Category;
use crate::ledger::Entry;
use crate::observe::Snapshot;
use crate::observe::facts::RunnerFacts;
use crate::observe::live::{Filesystem, Sample};
use crate::observe::status::{BuildStatus, Health, Monitoring};
use crate::observe::updates::{Schedule, Update};

use super::story::{EPOCH, Play, SECOND, Story, quick};

const WORDS: &str = "
    phase toolchain
      binutils: configure build install
      gcc: configure build install < binutils
    phase base
      zlib: build install
      bash: build install < zlib";

/// In the middle of a second run: one failure behind it, gcc at its second attempt.
fn halfway() -> (Story, Snapshot) {
    let mut story = Story::new(WORDS);
    story.run(|_| Play::Ok(60));
    story.sleep(500);
    story.lost = vec!["binutils", "gcc", "zlib", "bash"];
    story.run(|task| match task {
        "gcc.build#1" => Play::Fail(30, Category::CompilationFailure),
        "gcc.build#2" => Play::Crash(20),
        _ => Play::Ok(60),
    });
    let now = story.now() + 15 * SECOND;
    let mut progress = story.progress();
    progress.estimate(now);
    let snapshot = progress.snapshot(now, true);
    (story, snapshot)
}

fn json(snapshot: &Snapshot) -> String {
    serde_json::to_string_pretty(&BuildStatus::of(snapshot).unwrap()).unwrap()
}

#[test]
fn the_build_status_is_the_frameworks_document() {
    let (_, snapshot) = halfway();
    let expect = r#"{
  "build_id": "run2",
  "phase": "toolchain",
  "status": "RUNNING",
  "progress": {
    "current_package": "gcc",
    "packages_completed": 1,
    "packages_total": 4,
    "estimated_completion": "2023-11-14T22:52:10Z"
  },
  "metrics": {
    "success_rate": 1.0,
    "error_rate": 0.16666666666666666,
    "average_package_time": 240.0
  }
}"#;
    assert_eq!(json(&snapshot), expect);
}

#[test]
fn a_run_that_ended_says_when() {
    let mut story = Story::new(WORDS);
    story.run(quick);
    let mut progress = story.progress();
    let now = story.now() + 3600 * SECOND;
    progress.estimate(now);
    let status = json(&progress.snapshot(now, false));
    assert!(status.contains(r#""status": "COMPLETED""#), "{status}");
    assert!(status.contains(r#""current_package": """#), "{status}");
    assert!(status.contains(r#""estimated_completion": "2023-11-14T22:13:34Z""#), "{status}");
}

#[test]
fn an_error_is_an_error() {
    let mut story = Story::new(WORDS);
    story.run(|task| match task.split_once('#').unwrap().0 {
        "gcc.build" => Play::Fail(1, Category::CompilationFailure),
        _ => Play::Ok(1),
    });
    let status = json(&story.progress().snapshot(story.now(), true));
    assert!(status.contains(r#""status": "ERROR""#), "{status}");
    assert!(status.contains(r#""success_rate": 0.5"#), "{status}");
}

#[test]
fn no_run_no_document() {
    let story = Story::new(WORDS);
    assert_eq!(BuildStatus::of(&story.progress().snapshot(EPOCH, true)), None);
}

#[test]
fn a_run_without_a_runner_is_paused_and_down() {
    let (story, alive) = halfway();
    let dead = story.progress().snapshot(alive.now, false);
    let status = json(&dead);
    assert!(status.contains(r#""status": "PAUSED""#), "{status}");
    assert!(status.contains(r#""estimated_completion": null"#), "{status}");
    nothing_runs(&dead);
    let health = |snapshot: &Snapshot| serde_json::to_value(Monitoring::of(snapshot)).unwrap();
    assert_eq!(health(&dead)["metrics"]["health_status"], "down");
    assert_eq!(health(&alive)["metrics"]["health_status"], "degraded");
    let healthy = story.progress_after(20).snapshot(alive.now, true);
    assert_eq!(health(&healthy)["metrics"]["health_status"], "healthy");
}

#[test]
fn a_run_that_somebody_has_paused_needs_attention_as_well_where_nothing_can_be_recorded() {
    let (mut story, _) = halfway();
    let paused = Record::RunPaused { reason: "lunch".into(), held: true };
    let last = story.entries.last().unwrap().clone();
    story.entries.push(Entry { seq: last.seq + 1, record: paused, ..last });
    let mut snapshot = story.progress().snapshot(story.now(), true);
    assert_eq!(Monitoring::of(&snapshot).metrics.health_status, Health::Degraded);
    let blocked = Some("the disk is full".to_owned());
    snapshot.runner = Some(RunnerFacts { blocked, ..RunnerFacts::default() });
    assert_eq!(Monitoring::of(&snapshot).metrics.health_status, Health::Attention);
}

/// A runner that is there, and is waited for (`--linger`), runs nothing either.
#[test]
fn nothing_of_a_paused_run_runs() {
    let (mut story, _) = halfway();
    let paused = Record::RunPaused { reason: "stopped".into(), held: false };
    let last = story.entries.last().unwrap().clone();
    story.entries.push(Entry { seq: last.seq + 1, record: paused, ..last });
    nothing_runs(&story.progress().snapshot(story.now(), true));
}

#[track_caller]
fn nothing_runs(snapshot: &Snapshot) {
    let text = Update::of(snapshot, &Sample::default()).to_string();
    assert!(text.contains(" packages_running=0 "), "{text}");
    assert!(text.contains(" running=none"), "{text}");
    let counts: Vec<_> = snapshot.phases.iter().filter_map(|phase| phase.counts).collect();
    // gcc and its build are back in the queue, and none is lost.
    assert_eq!(counts[0].packages, [1, 0, 1, 0, 0]);
    assert_eq!(counts[0].tasks[1..3], [1, 0]);
    assert_eq!(counts[0].tasks.iter().sum::<u32>(), 8);
    assert_eq!(BuildStatus::of(snapshot).unwrap().progress.current_package, "");
}

#[test]
fn monitoring_is_the_frameworks_document() {
    let mut story = Story::new(WORDS);
    story.run(quick);
    let mut progress = story.progress();
    progress.estimate(story.now());
    let text = serde_json::to_string(&Monitoring::of(&progress.snapshot(story.now(), true))).unwrap();
    let expect = r#"{"component":"BUILD_PROCESS","metrics":{"build_progress":1.0,"error_count":0,"current_phase":"base","health_status":"healthy"}}"#;
    assert_eq!(text, expect);
}

fn update(level: DetailLevel, metrics: &[ProgressMetric]) -> String {
    let (_, mut snapshot) = halfway();
    snapshot.tracking.status_updates.detail_level = level;
    snapshot.tracking.metrics = metrics.to_vec();
    let mut sample = Sample { memory_available: Some(3 << 30), ..Sample::default() };
    sample.filesystems[0] = Some(Filesystem { available: 20 << 30, ..Filesystem::default() });
    Update::of(&snapshot, &sample).to_string()
}

#[test]
fn each_metric_of_an_update_is_there_when_it_is_named_and_only_then() {
    let each = [
        (ProgressMetric::PackagesCompleted, "packages_completed=1/4"),
        (ProgressMetric::CurrentPhase, "current_phase=toolchain"),
        (ProgressMetric::EstimatedRemaining, "estimated_remaining=8m45s"),
        (ProgressMetric::ErrorCount, "error_count=1"),
        (ProgressMetric::RetryCount, "retry_count=0"),
    ];
    for (metric, text) in each {
        let line = update(DetailLevel::Low, &[metric]);
        assert!(line.starts_with(&format!("{text} ")), "{line}");
        for (other, text) in each {
            let name = text.split_once('=').unwrap().0;
            assert_eq!(line.contains(name), other == metric, "{line}");
        }
    }
    let all = each.map(|(metric, _)| metric);
    let line = update(DetailLevel::Low, &all);
    assert!(line.starts_with(&each.map(|(_, text)| text).join(" ")), "{line}");
}

#[test]
fn each_level_says_what_it_should() {
    let low = "error_count=1 phase_packages=1/2 packages_running=1 packages_failed=0 packages_skipped=0";
    let normal = "estimated_completion=2023-11-14T22:52:10Z..2023-11-14T22:53:02Z running=\"gcc.build 15s of 1m (attempt 2)\"";
    let high =
        "attempts=6 failed_attempts=1 slots=1/2 cpu_time=8m15s memory_available=3.0G disk_available=20G";
    let metrics = [ProgressMetric::ErrorCount];
    assert_eq!(update(DetailLevel::Low, &metrics), low);
    assert_eq!(update(DetailLevel::Normal, &metrics), format!("{low} {normal}"));
    assert_eq!(update(DetailLevel::High, &metrics), format!("{low} {normal} {high}"));
}

#[test]
fn updates_come_at_their_frequency() {
    let mut schedule = Schedule::new(60, 0);
    let due: Vec<i64> = (0..=400).filter(|second| schedule.due(second * SECOND)).collect();
    assert_eq!(due, [60, 120, 180, 240, 300, 360]);
    assert_eq!(schedule.wait(400 * SECOND).as_secs(), 20);
    // Asleep for a while: one update, and the rhythm is kept.
    assert!(schedule.due(1000 * SECOND) && !schedule.due(1019 * SECOND) && schedule.due(1020 * SECOND));
    // The clock is set back by a day.
    assert!(!schedule.due(-86_400 * SECOND) && schedule.due(-86_340 * SECOND));
}
