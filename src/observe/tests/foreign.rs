//! Runs of another definition than is at hand: somebody has edited it, or looks with another.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::document::NotificationChannel;
use crate::engine::message::{PhaseOutcome, Record};
use crate::engine::state::PhaseState;
use crate::failure::Category;
use crate::observe::follow::Follower;
use crate::observe::live::Sample;
use crate::observe::status::BuildStatus;
use crate::observe::updates::Update;
use crate::observe::{Progress, Snapshot};
use crate::plan::Plan;

use super::exposition::text;
use super::heard::Heard;
use super::story::{Play, Story, quick};

const OWN: &str = "
    threshold 2
    channels email dashboard
    phase first
      a: build
      b: build < a
      z: build
    phase? late
      c: build";

const OTHER: &str = "phase first\n a: build\n b: build\n x: build\nphase? other\n y: build";

/// The same records, seen through another plan.
fn through(story: &Story, words: &str) -> Progress {
    let mut progress = Progress::new(Story::new(words).plan, story.limits);
    story.entries.iter().for_each(|entry| progress.fold(entry));
    progress
}

fn phases(snapshot: &Snapshot) -> Vec<(&str, PhaseState)> {
    snapshot.phases.iter().map(|phase| (&*phase.key, phase.state)).collect()
}

#[test]
fn a_run_of_another_definition_is_told_as_it_was() {
    let mut story = Story::new(OWN);
    story.unwanted = vec!["z"];
    story.run(|task| if task.starts_with("c.") { Play::Fail(1, Category::DiskSpace) } else { Play::Ok(1) });
    let mut progress = through(&story, OTHER);
    assert!(progress.is_foreign());
    assert_eq!(progress.estimate(story.now()), None, "and nothing is simulated with the wrong plan");
    let snapshot = progress.snapshot(story.now(), false);
    assert_eq!((snapshot.packages.completed, snapshot.packages.total), (2, 3));
    assert!((snapshot.run.ratio - 2.0 / 3.0).abs() < 1e-9);
    let finished = |outcome| PhaseState::Finished(outcome);
    assert_eq!(
        phases(&snapshot),
        [("first", finished(PhaseOutcome::Skipped)), ("late", finished(PhaseOutcome::Failed))]
    );
    // The same as through its own.
    let own = story.progress().snapshot(story.now(), false);
    assert_eq!(phases(&own), phases(&snapshot));
    let times = |snapshot: &Snapshot| {
        snapshot.phases.iter().map(|phase| (phase.started, phase.finished)).collect::<Vec<_>>()
    };
    assert_eq!(times(&own), times(&snapshot));
    assert_eq!(own.channels, [NotificationChannel::Email, NotificationChannel::Dashboard]);
    assert_eq!(own.channels, snapshot.channels);
}

#[test]
fn a_live_run_of_another_definition_claims_nothing_of_that_ones_packages() {
    let mut story = Story::new(OWN);
    story.run(|task| if task.starts_with("b.") { Play::Crash(5) } else { Play::Ok(1) });
    let mut progress = through(&story, OTHER);
    let snapshot = progress.snapshot(story.now(), true);
    assert_eq!(phases(&snapshot), [("first", PhaseState::Running)], "of the other nothing is known yet");
    let status = BuildStatus::of(&snapshot).unwrap();
    assert_eq!((status.progress.packages_completed, status.progress.packages_total), (1, 4));
    let update = Update::of(&snapshot, &Sample::default()).to_string();
    assert!(update.contains("packages_running=1 ") && !update.contains("phase_packages"), "{update}");
    let text = text(&mut progress, story.now());
    assert!(text.contains("kiln_phase_state{phase=\"first\",state=\"running\"} 1\n"), "{text}");
    for family in ["kiln_packages{", "kiln_tasks{", "kiln_phase_required_bytes{", "phase=\"other\""] {
        assert!(!text.contains(family), "{family}: {text}");
    }
}

#[test]
fn a_run_that_has_not_begun_a_phase_is_in_none_of_another_definition() {
    let mut story = Story::new(OWN);
    story.run(quick);
    story.entries.retain(|entry| matches!(entry.record, Record::RunStarted { .. }));
    let snapshot = through(&story, OTHER).snapshot(story.now(), true);
    assert_eq!((&*snapshot.run.phase, phases(&snapshot).len()), ("", 0));
}

#[test]
fn records_of_a_kiln_that_said_less_are_read_and_counted_by_every_plan_alike() {
    let mut story = Story::new(
        "threshold 1\nchannels email\nstrict build\nphase first\n a: install\n b: build < a\n c: build < b",
    );
    story.damaged.push(("a", true));
    story.run(
        |task| if task.starts_with("b.build") { Play::Fail(1, Category::LinkFailure) } else { Play::Ok(1) },
    );
    for entry in &mut story.entries {
        let mut record = serde_json::to_value(&entry.record).unwrap();
        let fields = record.as_object_mut().unwrap();
        fields.remove("escalation");
        if fields["record"] == "decided" {
            fields.remove("packages").unwrap();
        } else if fields["record"] == "package_damaged" {
            fields.remove("phase").unwrap();
        }
        entry.record = serde_json::from_value(record).unwrap();
    }
    let (own, other) = (story.progress(), through(&story, "phase q\n q: build"));
    assert_eq!(own.counters(), other.counters());
    assert_eq!(own.counters().notifications, [1, 3], "by the defaults: a is damaged, b fails three times");
    assert_eq!(own.snapshot(story.now(), false).packages.total, 3);
    assert_eq!(other.snapshot(story.now(), false).packages.total, 3, "its end says how many");
}

#[test]
fn why_a_run_is_not_seen_through_its_own_definition_is_said_once() {
    let plans: BTreeMap<&str, Arc<Plan>> = [OWN, OTHER].map(|words| (words, Story::new(words).plan)).into();
    let mut answers = vec![Ok(OTHER), Err("it is broken"), Err("it is broken"), Err("it is broken")];
    let found = plans.clone();
    let reload = move || answers.pop().unwrap().map(|words| Arc::clone(&found[words])).map_err(str::to_owned);
    let nothing = tempfile::tempdir().unwrap();
    let mut follower = Follower::new(nothing.path().join("ledger.sqlite"), Box::new(reload));
    let limits = Story::new(OWN).limits;
    let heard = Heard::by(|| {
        // Each is of a run of its own: for the same one it is not looked again so soon.
        for digest in ["1", "2", "3", "4"] {
            follower.follow(&plans[OWN], limits, Some(digest.into())).unwrap();
        }
    });
    let said: Vec<&str> = heard.iter().filter_map(|message| message.get("message")).collect();
    let [broken, other] = said[..] else { panic!("{said:?}") };
    assert!(broken.starts_with("it is broken: its phases"), "{broken}");
    assert!(other.starts_with("the run is of another definition"), "{other}");
}
