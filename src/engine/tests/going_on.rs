//! Stories of runs that go on: after a stop, a crash, or a run that left something.

use super::script::check;

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
