//! Expected durations, and the end that follows from them.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Limits;
use crate::engine::message::Record;
use crate::observe::durations::{Basis, History};
use crate::plan::{Plan, TaskKind};

use super::story::{Play, SECOND, Story, quick};

fn weighed(words: &str, weights: &[(&str, f64)]) -> Story {
    let story = Story::new(words);
    let mut plan = Plan::clone(&story.plan);
    for (name, weight) in weights {
        let id = plan.find(name).unwrap();
        plan.packages[id.0 as usize].weight = Some(*weight);
    }
    Story::of(Arc::new(plan))
}

fn seconds(story: &Story, package: &str, task: TaskKind) -> (f64, Basis) {
    let expected = story.progress().expectations();
    let id = story.plan.task(story.plan.find(package).unwrap(), task).unwrap();
    let expected = expected.task(id);
    (expected.nanoseconds as f64 / 1e9, expected.basis)
}

#[test]
fn a_task_takes_what_it_took_else_its_weight_else_the_median() {
    let words = "method parallel\nphase base\n a: build install\n b: build install\n c: build install\n d: build install < c";
    let mut story = weighed(words, &[("a", 2.0), ("b", 3.0)]);
    story.limits = Limits { jobs: 3, ..story.limits };
    story.run(|task| match task {
        "a.build#1" => Play::Ok(100),
        "a.install#1" => Play::Ok(10),
        "c.build#1" => Play::Ok(400),
        "b.build#1" => Play::Crash(425),
        _ => Play::Ok(20),
    });
    assert_eq!(seconds(&story, "a", TaskKind::Build), (100.0, Basis::History));
    assert_eq!(seconds(&story, "b", TaskKind::Build), (150.0, Basis::Weight));
    assert_eq!(seconds(&story, "b", TaskKind::Install), (15.0, Basis::Weight));
    assert_eq!(seconds(&story, "d", TaskKind::Build), (250.0, Basis::Median));
}

#[test]
fn a_kind_that_was_never_measured_has_its_usual_share() {
    let words = "phase base\n a: build\n b: configure build";
    let mut story = weighed(words, &[("a", 1.0), ("b", 1.0)]);
    story.run(|task| match task {
        "a.build#1" => Play::Ok(65),
        _ => Play::Crash(70),
    });
    let (took, basis) = seconds(&story, "b", TaskKind::Configure);
    assert!((took - 12.0).abs() < 0.001, "{took}");
    assert_eq!(basis, Basis::Weight);
}

#[test]
fn nothing_is_known_until_a_script_was_measured() {
    let words = "method parallel\nphase base\n a: fetch unpack build\n b: build";
    let mut story = weighed(words, &[("b", 4.0)]);
    story.run(|task| match task {
        "b.build#1" => Play::Crash(50),
        "a.build#1" => Play::Ok(100),
        _ => Play::Ok(1),
    });
    let mut progress = story.progress();
    assert!(!progress.expectations().known());
    assert_eq!(progress.estimate(story.now()), None);
    let expected = progress.expected();
    let of = |name: &str| expected[story.plan.find(name).unwrap().0 as usize];
    assert_eq!((of("b"), of("a")), (2600, 700), "weights still order them");
}

#[test]
fn an_estimate_with_history_is_what_happens() {
    let words =
        "phase base\n a: build install\n b: build install < a\n c: build install\nphase next\n d: build";
    let play = |task: &str| match task {
        "a.build#1" => Play::Ok(100),
        "c.build#1" => Play::Ok(170),
        "d.build#1" => Play::Ok(30),
        _ => Play::Ok(10),
    };
    let mut story = Story::new(words);
    story.run(play);
    story.sleep(500);
    story.lost = vec!["a", "b", "c", "d"];
    let from = story.entries.len();
    story.run(play);
    let end = story.now();
    for count in from + 2..story.entries.len() {
        let mut progress = story.progress_after(count);
        // Records of one turn of the loop share their time: what is between them cannot be seen.
        if story.entries[count].wall == story.entries[count - 1].wall {
            continue;
        }
        let now = story.entries[count - 1].wall;
        let estimate = progress.estimate(now).unwrap();
        let actual = u64::try_from(end - now).unwrap();
        assert_eq!(estimate.p50, Duration::from_nanos(actual), "after {:?}", story.entries[count - 1]);
        let bound = estimate.p50.mul_f64(1.1001) + Duration::from_micros(1);
        assert!(estimate.p90 >= estimate.p50 && estimate.p90 <= bound, "{estimate:?}");
    }
    let mut progress = story.progress();
    assert_eq!(progress.estimate(end + SECOND).unwrap().p50, Duration::ZERO);
    assert_eq!(progress.snapshot(end + SECOND, true).completion(), Some((end, end)));
}

#[test]
fn the_range_is_wider_the_less_is_known() {
    let spread = |play: fn(&str) -> Play, weights: &[(&str, f64)]| {
        let words = "phase base\n a: build\n b: build < a\n c: build < b\n d: build < c\n e: build < d";
        let mut story = weighed(words, weights);
        story.run(play);
        let estimate = story.progress().estimate(story.now()).unwrap();
        estimate.p90.as_secs_f64() / estimate.p50.as_secs_f64()
    };
    let one: fn(&str) -> Play = |task| if task == "b.build#1" { Play::Crash(1) } else { Play::Ok(9) };
    let three: fn(&str) -> Play = |task| if task == "d.build#1" { Play::Crash(1) } else { Play::Ok(9) };
    let weights = [("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 1.0), ("e", 1.0)];
    let (by_median, later) = (spread(one, &[]), spread(three, &[]));
    let by_weight = spread(one, &weights);
    assert!(by_median > later, "{by_median} {later}");
    assert!(by_median > by_weight, "{by_median} {by_weight}");
}

#[test]
fn looking_ahead_happens_once_a_second_and_counts_down_between() {
    let mut story = Story::new("phase base\n a: build\n b: build < a\n c: build < b");
    story.run(|task| if task == "b.build#1" { Play::Crash(50) } else { Play::Ok(100) });
    let now = story.now();
    let mut progress = story.progress();
    let first = progress.estimate(now).unwrap();
    assert!(progress.take_forecast(now + SECOND / 2).is_none());
    let second = progress.estimate(now + SECOND / 2).unwrap();
    assert_eq!(first.p50, second.p50 + Duration::from_millis(500));
    assert!(progress.take_forecast(now + SECOND).is_some());
    // A clock that was set back does not stop it.
    assert!(progress.take_forecast(now - 100 * SECOND).is_some());
}

#[test]
fn a_task_that_takes_too_long_is_not_said_to_end_any_moment() {
    let mut story = Story::new("phase base\n a: build\n b: build < a\n c: build < b");
    story.run(|task| if task == "b.build#1" { Play::Crash(500) } else { Play::Ok(100) });
    let started = story.now();
    let estimate = story.progress().estimate(started + 400 * SECOND).unwrap();
    // Expected as one other package took, give or take 150 %: b may take half of that more than it has taken, and c
    // is still to come.
    assert_eq!(estimate.p50, Duration::from_secs(400 * 3 / 4 + 100));
}

#[test]
fn a_paused_run_has_work_left_and_no_end() {
    let mut story = Story::new("phase base\n a: build\n b: build < a");
    story.run(|task| if task == "b.build#1" { Play::Stop(50) } else { Play::Ok(100) });
    let mut progress = story.progress();
    let later = story.now() + 1000 * SECOND;
    assert_eq!(progress.estimate(later).unwrap().p50, Duration::from_secs(100));
    assert_eq!(
        progress.estimate(later + SECOND / 2).unwrap().p50,
        Duration::from_secs(100),
        "nor does it shrink"
    );
    assert_eq!(progress.snapshot(later, true).completion(), None);
}

#[test]
fn the_ratio_is_work_not_packages() {
    let mut story = Story::new("phase base\n small: build\n large: build < small\n last: build < large");
    let play = |task: &str| match task {
        "large.build#1" => Play::Ok(980),
        _ => Play::Ok(10),
    };
    story.run(play);
    story.lost = vec!["small", "large", "last"];
    let from = story.entries.len();
    story.run(play);
    let ratio = |count: usize, seconds: i64| {
        let mut progress = story.progress_after(count);
        let now = story.entries[count - 1].wall + seconds * SECOND;
        progress.estimate(now);
        progress.snapshot(now, true).run.ratio
    };
    let started = |name: &str| {
        let at = story.entries[from..].iter().position(
            |entry| matches!(&entry.record, Record::TaskStarted { package, .. } if **package == *name),
        );
        from + at.unwrap() + 1
    };
    assert!((ratio(started("small"), 0) - 0.0).abs() < 1e-9);
    assert!((ratio(started("large"), 0) - 0.01).abs() < 1e-9);
    assert!((ratio(started("large"), 490) - 0.5).abs() < 1e-9);
    assert!((ratio(started("large"), 9999) - (0.01 + 0.98 * 0.95)).abs() < 1e-9, "not done until it says so");
    assert!((ratio(story.entries.len(), 0) - 1.0).abs() < 1e-9);
}

#[test]
fn the_critical_path_gets_times_once_they_are_known() {
    let mut story = Story::new("phase base\n a: build\n b: build");
    story.limits = Limits { jobs: 1, ..story.limits };
    story.run(quick);
    assert_eq!(story.progress().expected(), [1_000_000_000, 1_000_000_000]);
}

#[test]
fn a_task_is_expected_to_need_what_its_recipe_says_or_what_it_needed_if_that_was_more() {
    let story = Story::new("phase base\n a: fetch unpack build install (memory 50)\n b: build install");
    let names: Vec<_> = ["a", "b"].map(Arc::from).into();
    let mut history = History::default();
    assert_eq!(history.memory(&story.plan), [0, 0, 50, 50, 0, 0, 0, 0]);
    for (package, task, peak) in [
        (0, TaskKind::Build, 40),
        (0, TaskKind::Install, 60),
        (0, TaskKind::Fetch, 7),
        (1, TaskKind::Build, 70),
    ] {
        history.learn(&names[package], task, 1, peak);
    }
    assert_eq!(history.memory(&story.plan), [0, 0, 50, 60, 0, 70, 0, 0]);
}
