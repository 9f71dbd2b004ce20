//! Stories of `dynamic`: starts wait for the memory that they are expected to need.

use super::script::check;

#[test]
fn what_does_not_fit_waits_until_something_ends() {
    check(
        "method dynamic
         phase base
           a: build (memory 600)
           b: build (memory 600)
           c: build (memory 100)",
        3,
        "0 begin
         0 measured base
         0 memory 1000
         1 memory 900
         2 ok a.build
         2 memory 1000",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 > measure memory
         0 + task_started a.build#1
         0 > start a.build#1 j3 fresh
         2 + task_finished a.build#1
         2 + package_completed a
         2 > measure memory
         2 + task_started b.build#1
         2 > start b.build#1 j3 fresh
         2 + task_started c.build#1
         2 > start c.build#1 j1 fresh",
    );
}

#[test]
fn what_waits_is_looked_at_again_every_second_since_others_may_have_gone() {
    check(
        "method dynamic
         phase base
           a: build (memory 200)
           b: build (memory 600)",
        2,
        "0 begin
         0 measured base
         0 memory 500
         1 tick
         1 memory 550
         2 tick
         2 memory 2000",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 > measure memory
         0 + task_started a.build#1
         0 > start a.build#1 j2 fresh
         1 > measure memory
         2 > measure memory
         2 + task_started b.build#1
         2 > start b.build#1 j1 fresh",
    );
}

#[test]
fn one_always_goes_on_however_much_it_needs_and_nothing_overtakes_it() {
    check(
        "method dynamic
         phase base
           a: build (memory 100)
           b: build (memory 9000)
           c: build (memory 1)",
        2,
        "0 begin
         0 measured base
         0 memory 1000
         1 ok a.build
         1 memory 1000
         2 ok b.build
         2 memory 1000",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 > measure memory
         0 + task_started a.build#1
         0 > start a.build#1 j2 fresh
         1 + task_finished a.build#1
         1 + package_completed a
         1 > measure memory
         1 + task_started b.build#1
         1 > start b.build#1 j2 fresh
         2 + task_finished b.build#1
         2 + package_completed b
         2 > measure memory
         2 + task_started c.build#1
         2 > start c.build#1 j2 fresh",
    );
}

#[test]
fn of_whom_nothing_is_known_no_memory_is_asked_for() {
    check(
        "method dynamic
         phase base
           a: build
           b: build (memory 600)
           c: build",
        3,
        "0 begin
         0 measured base
         0 memory 500",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j3 fresh
         0 > measure memory",
    );
}

#[test]
fn parallel_starts_whatever_is_ready() {
    check(
        "method parallel
         phase base
           a: build (memory 600)
           b: build (memory 600)",
        2,
        "0 begin
         0 measured base",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j2 fresh
         0 + task_started b.build#1
         0 > start b.build#1 j1 fresh",
    );
}
