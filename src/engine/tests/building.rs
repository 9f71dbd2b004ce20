//! Stories of what is built when: tasks of a package, slots, who waits for whom.

use super::script::check;

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
