//! What counts, and where.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::Limits;
use crate::engine::message::{Answer, Ending, Record};
use crate::failure::Category;
use crate::observe::counters::{Counters, PhaseCounters};
use crate::observe::{Progress, Snapshot};
use crate::plan::{Plan, TaskKind};

use super::exposition::{counters, text};
use super::story::{Play, SECOND, Story, quick};

const TWO: &str = "
    phase base
      zlib: fetch unpack configure build install
      curl: configure build check install < zlib
    phase? extras
      odd: build";

fn counts(counters: &Counters, phase: &str, task: TaskKind) -> (u64, u64, u64) {
    let of = &counters.phases[phase];
    let at = task as usize;
    (of.attempts[at], of.failures[at], of.retries[at])
}

fn total(counters: &Counters) -> (u64, u64, u64) {
    let sum = |pick: fn(&PhaseCounters) -> u64| counters.phases.values().map(pick).sum();
    (
        sum(|phase| phase.attempts.iter().sum()),
        sum(|phase| phase.failures.iter().sum()),
        sum(|phase| phase.retries.iter().sum()),
    )
}

#[test]
fn a_retry_is_an_attempt_after_a_failed_one_and_restoring_is_none() {
    let mut story = Story::new(TWO);
    let ending = story.run(|task| match task {
        "zlib.build#1" => Play::Fail(5, Category::LinkFailure),
        _ => Play::Ok(1),
    });
    assert_eq!(ending, Some(Ending::Completed));
    let progress = story.progress();
    let counters = progress.counters();
    // unpack and configure ran twice, but the second time only to restore the work directory.
    assert_eq!(counts(counters, "base", TaskKind::Unpack), (1, 0, 0));
    assert_eq!(counts(counters, "base", TaskKind::Configure), (2, 0, 0)); // zlib's and curl's
    assert_eq!(counts(counters, "base", TaskKind::Build), (3, 1, 1));
    assert_eq!(counters.errors[Category::LinkFailure as usize], 1);
    assert_eq!(counters.errors.iter().sum::<u64>(), 1);
    assert_eq!(counters.durations[TaskKind::Build as usize].count(), 4);
    assert_eq!(counters.phases["base"].packages_completed, 2);
    assert_eq!((counters.fetched, counters.cache_requests, counters.cache_hits), (1000, 1, 0));
    let run = progress.snapshot(story.now(), true).run;
    assert_eq!((run.attempts, run.failed_attempts, run.retries), (13, 1, 1));
}

#[test]
fn what_was_cut_off_counts_nowhere() {
    let mut story = Story::new(TWO);
    assert_eq!(story.run(|task| if task == "zlib.build#1" { Play::Crash(5) } else { Play::Ok(1) }), None);
    let before = total(story.progress().counters());
    story.run(quick);
    let progress = story.progress();
    assert_eq!(before, (3, 0, 0), "fetch, unpack and configure of zlib");
    let (attempts, failures, retries) = total(progress.counters());
    assert_eq!((attempts, failures, retries), (12, 0, 0), "each task once, and no retry");
}

#[test]
fn a_tolerated_check_is_an_error_and_no_escalation() {
    let mut story = Story::new("phase base\n a: build check? install");
    story.run(|task| match task {
        "a.check#1" => Play::Fail(1, Category::CompilationFailure),
        _ => Play::Ok(1),
    });
    let progress = story.progress();
    assert_eq!(progress.counters().errors.iter().sum::<u64>(), 1);
    assert!(progress.failures().list().is_empty());
}

#[test]
fn escalation_rises_with_failures_and_falls_with_success() {
    let mut story = Story::new("attempts 4\nphase base\n a: build install\n b: build");
    story.run(|task| match task {
        "a.build#1" | "a.build#2" | "a.build#3" => Play::Fail(1, Category::DiskSpace),
        _ => Play::Ok(1),
    });
    let levels: Vec<u8> = (0..=story.entries.len())
        .filter_map(|count| Some(story.progress_after(count).failures().find("a")?.level))
        .collect();
    let mut steps = levels.clone();
    steps.dedup();
    assert_eq!(steps, [1, 2, 0]);
    let progress = story.progress();
    let failed = progress.failures().find("a").unwrap();
    assert_eq!((failed.level, failed.failures, failed.over), (0, 0, false));
    assert!(failed.changed > failed.since);
    assert!(progress.failures().find("b").is_none());
}

#[test]
fn a_package_that_spent_its_attempts_stays_escalated_until_the_next_run() {
    let mut story = Story::new("attempts 1\nphase? base\n a: build\n b: build < a");
    let fail = |task: &str| match task {
        "a.build#1" => Play::Fail(1, Category::DiskSpace),
        _ => Play::Ok(1),
    };
    assert_eq!(story.run(fail), Some(Ending::Completed));
    let snapshot = story.progress().snapshot(story.now(), true);
    assert_eq!(
        (snapshot.level, snapshot.failed[0].over),
        (2, true),
        "below the threshold of 3, but nobody tries again"
    );
    assert_eq!((snapshot.packages.failed, snapshot.packages.skipped, snapshot.packages.total), (1, 1, 2));
    story.run(quick);
    let snapshot = story.progress().snapshot(story.now(), true);
    assert_eq!((snapshot.level, snapshot.failed.len()), (0, 0));
    assert_eq!((snapshot.packages.completed, snapshot.packages.failed), (2, 0));
    assert_eq!(snapshot.counters.runs_completed, 2);
}

#[test]
fn a_queue_is_time_in_which_a_task_could_have_run() {
    let mut story = Story::new(
        "method parallel\ndelay 60\nphase base\n a: build install\n b: build install\n c: build install",
    );
    story.limits = Limits { jobs: 1, ..story.limits };
    story.run(|task| match task {
        "a.build#1" => Play::Fail(1, Category::LinkFailure),
        _ => Play::Ok(100),
    });
    let progress = story.progress();
    let queued = &progress.counters().queued;
    // The first tasks of a package are not told by records, but the retry is: its back-off ended at 61 s, and
    // it had to wait for b's and c's.
    assert_eq!(queued[TaskKind::Build as usize].count(), 1);
    assert!(queued[TaskKind::Build as usize].sum() >= 40.0);
    assert_eq!(queued[TaskKind::Install as usize].count(), 3);
}

/// splitmix64
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const DEFINITIONS: [&str; 3] = [
    TWO,
    "attempts 2\ndelay 5\nthreshold 1\nchannels dashboard\nphase base\n zlib: build install\n curl: configure build < zlib\nphase last\n new: fetch unpack build",
    "threshold 2\nchannels system_log email\nstrict build\nphase extras\n zlib: fetch unpack configure build check? install\n odd: build install < zlib",
];

fn random_story(seed: u64) -> (Story, Vec<(usize, Arc<Plan>)>) {
    let mut state = seed;
    let mut story = Story::new(DEFINITIONS[0]);
    let mut lives = Vec::new();
    for _ in 0..6 {
        if random(&mut state).is_multiple_of(3) {
            story.redefine(DEFINITIONS[usize::try_from(random(&mut state) % 3).unwrap()]);
        }
        if random(&mut state).is_multiple_of(4) {
            story.lost = vec!["zlib"];
        }
        if random(&mut state).is_multiple_of(2) {
            story.damaged = vec![("zlib", true)];
        }
        lives.push((story.entries.len(), Arc::clone(&story.plan)));
        story.run(|_| {
            let seconds = random(&mut state) % 50;
            match random(&mut state) % 12 {
                0 | 1 => Play::Fail(seconds, Category::LinkFailure),
                2 => Play::Crash(seconds),
                3 => Play::Stop(seconds),
                _ => Play::Ok(seconds),
            }
        });
        story.lost.clear();
        story.damaged.clear();
        story.sleep(100);
    }
    (story, lives)
}

#[test]
fn counters_do_not_depend_on_the_plan_at_hand() {
    for seed in 0..20 {
        let (story, _) = random_story(seed);
        let fold = |words: &str| {
            let mut progress = Progress::new(Story::new(words).plan, story.limits);
            story.entries.iter().for_each(|entry| progress.fold(entry));
            progress.counters().clone()
        };
        let [first, second, third] = DEFINITIONS.map(fold);
        assert!(first == second && second == third, "seed {seed}");
    }
}

#[test]
fn no_counter_ever_goes_back() {
    for seed in 0..20 {
        let (story, lives) = random_story(seed);
        let mut before = BTreeMap::new();
        let ends = lives.iter().skip(1).map(|(from, _)| *from).chain([story.entries.len()]);
        for ((from, plan), end) in lives.iter().zip(ends) {
            // Each kiln replays with a plan of its own.
            let mut progress = Progress::new(Arc::clone(plan), story.limits);
            for (count, entry) in (1..=end).zip(&story.entries) {
                progress.fold(entry);
                let late = count == *from || count == end || count > *from && count % 5 == 0;
                if !late {
                    continue;
                }
                let now = counters(&text(&mut progress, entry.wall));
                for (series, value) in &before {
                    // A phase of which nothing was ever counted goes with its definition.
                    let later = now.get(series).copied().unwrap_or(0.0);
                    assert!(later >= *value, "seed {seed}, record {count}: {series}: {value}, then {later}");
                }
                before = now;
            }
        }
        assert!(before.values().sum::<f64>() > 0.0);
    }
}

#[test]
fn folding_a_record_twice_is_folding_it_once() {
    let mut story = Story::new(TWO);
    story.run(quick);
    let mut progress = story.progress();
    let once = progress.counters().clone();
    story.entries.iter().for_each(|entry| progress.fold(entry));
    assert_eq!(*progress.counters(), once);
}

#[test]
fn gauges_are_of_the_current_run() {
    let mut story = Story::new(TWO);
    story.run(quick);
    story.sleep(1000);
    story.lost = vec!["odd"];
    story.run(|task| if task == "odd.build#1" { Play::Crash(3) } else { Play::Ok(1) });
    let snapshot = story.progress().snapshot(story.now() + 2 * SECOND, true);
    assert_eq!((snapshot.run.attempts, snapshot.run.failed_attempts), (0, 0));
    assert_eq!((snapshot.packages.completed, snapshot.packages.total), (2, 3));
    assert_eq!(snapshot.run.ended, None);
    assert_eq!(&*snapshot.run.phase, "extras");
    assert_eq!(snapshot.running.len(), 1);
    assert_eq!(snapshot.slots_in_use, 1);
    assert!(
        story.progress().snapshot(story.now(), false).running.is_empty(),
        "nothing runs without a runner"
    );
}

#[test]
fn the_wanted_packages_are_those_that_were_not_turned_away() {
    let mut story = Story::new(TWO);
    story.unwanted = vec!["odd", "curl"];
    story.run(quick);
    let packages = story.progress().snapshot(story.now(), true).packages;
    assert_eq!((packages.completed, packages.total, packages.skipped), (1, 1, 0));
}

const STRICT: &str = "
    strict build
    phase base
      zlib: install
      curl: build < zlib";

#[test]
fn a_damaged_package_is_failing_until_it_has_been_merged_again_and_that_is_no_attempt() {
    let mut story = Story::new(STRICT);
    story.damaged.push(("zlib", true));
    assert_eq!(story.run(|_| Play::Ok(1)), Some(Ending::Completed));
    let progress = story.progress();
    assert_eq!(total(progress.counters()), (4, 1, 1), "curl's second attempt is the only retry");
    assert_eq!(progress.counters().errors[Category::BrokenDependency as usize], 1);
    assert_eq!(progress.counters().phases["base"].packages_completed, 2);
    let levels = |progress: &Progress| {
        let list = progress.failures().list().iter();
        list.map(|failed| (failed.package.to_string(), failed.level)).collect::<Vec<_>>()
    };
    let is_damage = |record: &Record| matches!(record, Record::PackageDamaged { .. });
    let damage = story.entries.iter().position(|entry| is_damage(&entry.record)).unwrap();
    assert_eq!(levels(&story.progress_after(damage + 1)), [("zlib".to_owned(), 1)]);
    assert_eq!(levels(&progress), [("zlib".to_owned(), 0), ("curl".to_owned(), 0)]);
    let packages = progress.snapshot(story.now(), true).packages;
    assert_eq!((packages.completed, packages.failed), (2, 0));
}

#[test]
fn what_is_damaged_for_good_is_no_completed_package_any_more() {
    let mut story = Story::new(&format!("attempts 2\n{STRICT}"));
    story.damaged.push(("zlib", false));
    let mut built = 0;
    let ending = story.run(|task| {
        built += u32::from(task.starts_with("zlib.install"));
        if built > 1 { Play::Fail(1, Category::CompilationFailure) } else { Play::Ok(1) }
    });
    assert_eq!(ending, Some(Ending::Error));
    let progress = story.progress();
    let packages = progress.snapshot(story.now(), true).packages;
    assert_eq!((packages.completed, packages.failed, packages.skipped), (0, 1, 1));
    assert_eq!(progress.counters().phases["base"].packages_completed, 1, "a counter never goes back");
    let over = progress.failures().list().iter().map(|failed| (&*failed.package, failed.level, failed.over));
    assert_eq!(over.collect::<Vec<_>>(), [("zlib", 2, true), ("curl", 0, false)]);
}

#[test]
fn what_is_built_again_counts_as_built_twice_and_completed_once() {
    let mut story = Story::new(STRICT);
    story.damaged.push(("zlib", false));
    assert_eq!(story.run(|_| Play::Ok(1)), Some(Ending::Completed));
    let progress = story.progress();
    let packages = progress.snapshot(story.now(), true).packages;
    assert_eq!((packages.completed, packages.failed), (2, 0));
    assert_eq!(progress.counters().phases["base"].packages_completed, 3);
    assert_eq!(progress.failures().level(), 0);
}

#[test]
fn after_an_answer_attempts_count_anew() {
    let mut story = Story::new("attempts 3\ngates\nphase base\n a: build");
    let levels = |story: &Story| {
        let mut levels: Vec<u8> = (0..=story.entries.len())
            .filter_map(|count| Some(story.progress_after(count).failures().find("a")?.level))
            .collect();
        levels.dedup();
        levels
    };
    assert_eq!(story.run(|_| Play::Fail(1, Category::LinkFailure)), Some(Ending::Gates));
    assert_eq!(levels(&story), [1, 2, 3]);
    story.answer(1, Answer::Retry);
    story.run(|task| if task == "a.build#4" { Play::Fail(1, Category::LinkFailure) } else { Play::Ok(1) });
    assert_eq!(levels(&story), [1, 2, 3, 1, 0], "the fourth failure is the first since");
    let mut story = Story::new("attempts 1\ngates\nphase base\n a: build");
    story.run(|_| Play::Fail(1, Category::LinkFailure));
    story.answer(1, Answer::Abort);
    let progress = story.progress();
    let failed = progress.failures().find("a").unwrap();
    assert_eq!((failed.level, failed.over), (2, true), "nobody tries again");
}

#[test]
fn a_gate_is_level_3_until_it_is_answered() {
    let mut story = Story::new("attempts 1\ngates\nphase base\n zlib: build\n curl: build < zlib");
    let broken = |_: &str| Play::Fail(1, Category::LinkFailure);
    assert_eq!(story.run(broken), Some(Ending::Gates));
    let snapshot = story.progress().snapshot(story.now(), false);
    let view = |snapshot: &Snapshot| {
        let failed = snapshot.failed.iter().map(|failed| (failed.level, failed.gate.map(|(gate, _)| gate)));
        (failed.collect::<Vec<_>>(), snapshot.gates.len(), snapshot.packages.failed)
    };
    assert_eq!(view(&snapshot), (vec![(3, Some(1))], 1, 1));
    assert_eq!(story.run(broken), Some(Ending::Gates), "it goes on without an answer");
    assert_eq!(view(&story.progress().snapshot(story.now(), false)), (vec![(3, Some(1))], 1, 1));
    story.answer(1, Answer::Retry);
    assert_eq!(view(&story.progress().snapshot(story.now(), false)), (vec![(1, None)], 0, 0));
    assert_eq!(story.run(|_| Play::Ok(1)), Some(Ending::Completed));
    assert_eq!(view(&story.progress().snapshot(story.now(), false)), (vec![(0, None)], 0, 0));
}
