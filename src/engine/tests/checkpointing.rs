//! Stories of checkpoints: when one is due, what it covers, what waits for it.

use super::script::check;

#[test]
fn every_so_many_packages_and_at_the_end_of_a_phase() {
    check(
        "method parallel
         checkpoints 2
         phase base
           a: build
           b: build < a
           c: build < b
         phase extras
           d: build",
        1,
        "0 begin
         0 measured base
         1 ok a.build
         2 ok b.build
         3 checkpointed 1
         4 ok c.build
         5 measured extras
         6 checkpointed 2
         7 ok d.build
         9 checkpointed 3 unread",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j1 fresh
         1 + task_finished a.build#1
         1 + package_completed a
         1 + task_started b.build#1
         1 > start b.build#1 j1 fresh
         2 + task_finished b.build#1
         2 + package_completed b
         2 > checkpoint 1 full a,b
         2 + task_started c.build#1
         2 > start c.build#1 j1 fresh
         3 + checkpoint 1 taken full a,b
         4 + task_finished c.build#1
         4 + package_completed c
         4 + phase_finished base Completed
         4 > measure extras
         4 > checkpoint 2 incremental base c
         5 + phase_started extras
         5 + task_started d.build#1
         5 > start d.build#1 j1 fresh
         6 + checkpoint 2 taken incremental base c
         7 + task_finished d.build#1
         7 + package_completed d
         7 + phase_finished extras Completed
         7 > checkpoint 3 incremental extras d
         9 + checkpoint 3 taken incremental extras d unread
         9 + run_ended Completed missing=
         9 > end Completed",
    );
}

#[test]
fn what_becomes_due_while_one_is_taken_comes_as_one() {
    check(
        "method parallel
         checkpoints 1 full
         phase base
           a: build
           b: build < a
           c: build < b",
        1,
        "0 begin
         0 measured base
         1 ok a.build
         2 ok b.build
         3 ok c.build
         4 checkpointed 1
         5 checkpointed 2",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j1 fresh
         1 + task_finished a.build#1
         1 + package_completed a
         1 > checkpoint 1 full a
         1 + task_started b.build#1
         1 > start b.build#1 j1 fresh
         2 + task_finished b.build#1
         2 + package_completed b
         2 + task_started c.build#1
         2 > start c.build#1 j1 fresh
         3 + task_finished c.build#1
         3 + package_completed c
         3 + phase_finished base Completed
         4 + checkpoint 1 taken full a
         4 > checkpoint 2 full base a,b,c
         5 + checkpoint 2 taken full base a,b,c
         5 + run_ended Completed missing=
         5 > end Completed",
    );
}

const ONE: &str = "method parallel
                   checkpoints 5
                   delay 5
                   phase base
                     a: build install";

/// What `ONE` says until its only package is complete.
const BUILT: &str = "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j1 fresh
         1 + task_finished a.build#1
         1 + task_started a.install#1
         1 > start a.install#1 j1
         2 + task_finished a.install#1
         2 + task_started a.merge#1
         2 > start a.merge#1 j1
         3 + task_finished a.merge#1
         3 + package_completed a
         3 + phase_finished base Completed
         3 > checkpoint 1 full base a";

const BUILDING: &str = "0 begin
         0 measured base
         1 ok a.build
         2 ok a.install
         3 ok a.merge";

#[test]
fn what_is_read_back_damaged_is_merged_again_and_covered_then() {
    check(
        ONE,
        1,
        &format!("{BUILDING}\n4 checkpointed 1 damaged a\n5 ok a.merge\n6 checkpointed 2"),
        &format!(
            "{BUILT}
         4 + package_damaged a bin/x has other bytes
         4 + checkpoint 1 failed `a` is damaged: `bin/x` has other bytes
         4 + task_started a.merge#1
         4 > start a.merge#1 j1 restore
         5 + task_finished a.merge#1
         5 + package_completed a
         5 + phase_finished base Completed
         5 > checkpoint 2 full base a
         6 + checkpoint 2 taken full base a
         6 + run_ended Completed missing=
         6 > end Completed"
        ),
    );
}

#[test]
fn a_disk_that_damages_everything_does_not_keep_a_run_from_ending() {
    check(
        &format!("attempts 2\n{ONE}"),
        1,
        &format!(
            "{BUILDING}\n4 checkpointed 1 damaged a\n5 ok a.merge\n6 checkpointed 2 damaged a\n7 ok a.merge"
        ),
        &format!(
            "{BUILT}
         4 + package_damaged a bin/x has other bytes
         4 + checkpoint 1 failed `a` is damaged: `bin/x` has other bytes
         4 + task_started a.merge#1
         4 > start a.merge#1 j1 restore
         5 + task_finished a.merge#1
         5 + package_completed a
         5 + phase_finished base Completed
         5 > checkpoint 2 full base a
         6 + package_damaged a bin/x has other bytes
         6 + checkpoint 2 failed `a` is damaged: `bin/x` has other bytes
         6 + task_started a.merge#1
         6 > start a.merge#1 j1 restore
         7 + task_finished a.merge#1
         7 + package_completed a
         7 + phase_finished base Completed
         7 + run_ended Completed missing=
         7 > end Completed"
        ),
    );
}

#[test]
fn one_that_fails_fails_no_run_and_the_next_run_covers_what_it_did_not() {
    check(
        ONE,
        1,
        &format!(
            "{BUILDING}
             4 checkpointed 1 failed
             10 crash
             10 begin a=all
             11 checkpointed 2
             20 crash
             20 begin a=all"
        ),
        &format!(
            "{BUILT}
         4 + checkpoint 1 failed the disk is full
         4 + run_ended Completed missing=
         4 > end Completed
         10 + run_started b1
         10 + decided reused=a archived= skipped=
         10 + phase_started base
         10 + phase_finished base Completed
         10 > checkpoint 2 full base a
         11 + checkpoint 2 taken full base a
         11 + run_ended Completed missing=
         11 > end Completed
         20 + run_started b1
         20 + decided reused=a archived= skipped=
         20 + phase_started base
         20 + phase_finished base Completed
         20 + run_ended Completed missing=
         20 > end Completed"
        ),
    );
}

#[test]
fn a_kill_between_the_end_of_the_last_phase_and_its_checkpoint_loses_none() {
    check(
        ONE,
        1,
        &format!("{BUILDING}\n10 crash\n10 begin a=all\n11 checkpointed 1"),
        &format!(
            "{BUILT}
         10 + run_resumed
         10 > checkpoint 1 full a
         11 + checkpoint 1 taken full a
         11 + run_ended Completed missing=
         11 > end Completed"
        ),
    );
}

#[test]
fn who_stops_waits_for_the_one_under_way_and_begins_no_other() {
    check(
        "method parallel
         checkpoints 1
         phase base
           a: build
           b: build < a
           c: build < b",
        1,
        "0 begin
         0 measured base
         1 ok a.build
         2 stop
         3 ok b.build
         4 checkpointed 1",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j1 fresh
         1 + task_finished a.build#1
         1 + package_completed a
         1 > checkpoint 1 full a
         1 + task_started b.build#1
         1 > start b.build#1 j1 fresh
         2 > term b.build
         3 + task_finished b.build#1
         3 + package_completed b
         4 + checkpoint 1 taken full a
         4 + run_paused stopped
         4 > end Stopped",
    );
}

#[test]
fn a_run_that_fails_covers_what_it_has_completed() {
    check(
        "attempts 1
         checkpoints 5
         phase base
           a: build
           b: build < a",
        1,
        "0 begin
         0 measured base
         1 ok a.build
         2 fail b.build
         3 checkpointed 1",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j1 fresh
         1 + task_finished a.build#1
         1 + package_completed a
         1 + task_started b.build#1
         1 > start b.build#1 j1 fresh
         2 + task_failed b.build#1 compilation_failure
         2 + package_failed b.build
         2 + phase_finished base Failed
         2 > checkpoint 1 full base a
         3 + checkpoint 1 taken full base a
         3 + run_ended Error missing=b
         3 > end Error",
    );
}

#[test]
fn what_is_read_while_a_package_writes_into_the_sysroot_itself_says_nothing() {
    check(
        "method parallel
         checkpoints 1
         phase base
           a: build install
           b: install < a (direct 1)",
        1,
        "0 begin a=archive
         0 measured base
         1 ok a.merge
         2 checkpointed 1 damaged a
         3 ok b.install
         4 ok b.merge
         5 checkpointed 2",
        "0 + run_started b1
         0 + decided reused= archived=a skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.merge#1
         0 > start a.merge#1 j1
         1 + task_finished a.merge#1
         1 + package_completed a
         1 > checkpoint 1 full a
         1 + task_started b.install#1
         1 > start b.install#1 j1 fresh
         2 + checkpoint 1 failed `a` is damaged: `bin/x` has other bytes; that was read while another package wrote into the sysroot itself
         3 + task_finished b.install#1
         3 + task_started b.merge#1
         3 > start b.merge#1 j1
         4 + task_finished b.merge#1
         4 + package_completed b
         4 + phase_finished base Completed
         4 > checkpoint 2 full base a,b
         5 + checkpoint 2 taken full base a,b
         5 + run_ended Completed missing=
         5 > end Completed",
    );
}

#[test]
fn a_look_that_a_checkpoint_overtakes_lets_nobody_begin() {
    check(
        "method parallel
         checkpoints 1
         strict build
         phase base
           a: build install
           b: build < a",
        1,
        "0 begin a=archive
         0 measured base
         1 ok a.merge
         2 checkpointed 1 damaged a
         3 verified b.build
         4 ok a.merge
         5 verified b.build
         6 checkpointed 2
         7 ok b.build
         8 checkpointed 3",
        "0 + run_started b1
         0 + decided reused= archived=a skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.merge#1
         0 > start a.merge#1 j1
         1 + task_finished a.merge#1
         1 + package_completed a
         1 > checkpoint 1 full a
         1 + task_started b.build#1
         1 > verify b.build a
         2 + package_damaged a bin/x has other bytes
         2 + checkpoint 1 failed `a` is damaged: `bin/x` has other bytes
         3 + task_interrupted b.build#1
         3 + task_started a.merge#1
         3 > start a.merge#1 j1 restore
         4 + task_finished a.merge#1
         4 + package_completed a
         4 > checkpoint 2 full a
         4 + task_started b.build#2
         4 > verify b.build a
         5 > start b.build#2 j1 fresh
         6 + checkpoint 2 taken full a
         7 + task_finished b.build#2
         7 + package_completed b
         7 + phase_finished base Completed
         7 > checkpoint 3 incremental base b
         8 + checkpoint 3 taken incremental base b
         8 + run_ended Completed missing=
         8 > end Completed",
    );
}

#[test]
fn who_says_stop_twice_does_not_wait_for_the_one_under_way() {
    check(
        "checkpoints 1
         phase base
           a: build
           b: build < a",
        1,
        "0 begin
         0 measured base
         1 ok a.build
         2 stop
         3 fail b.build
         4 stop",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j1 fresh
         1 + task_finished a.build#1
         1 + package_completed a
         1 > checkpoint 1 full a
         1 + task_started b.build#1
         1 > start b.build#1 j1 fresh
         2 > term b.build
         3 + task_interrupted b.build#1
         4 + run_paused stopped
         4 > end Stopped",
    );
}
