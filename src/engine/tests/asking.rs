//! Stories of gates: what a person is asked, and what the answers mean.

use super::script::check;

#[test]
fn spent_attempts_in_a_critical_phase_open_a_gate_and_the_rest_goes_on() {
    check(
        "attempts 1
         gates
         phase base
           zlib: build
           curl: build < zlib
           other: build",
        1,
        "0 begin
         0 measured base
         1 fail zlib.build
         2 ok other.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_failed zlib.build#1 compilation_failure
         1 + gate 1 opened critical_build_failure zlib
         1 + task_started other.build#1
         1 > start other.build#1 j1 fresh
         2 + task_finished other.build#1
         2 + package_completed other
         2 + run_paused a person is needed
         2 > end Gates",
    );
}

#[test]
fn one_package_at_a_time_is_not_held_up_by_those_that_wait_for_a_person() {
    check(
        "method topological
         attempts 1
         gates
         phase base
           zlib: build
           curl: build < zlib
           other: build",
        2,
        "0 begin
         0 measured base
         1 fail zlib.build
         2 answer 1 retry
         3 ok other.build
         4 ok zlib.build
         5 ok curl.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j2 fresh
         1 + task_failed zlib.build#1 compilation_failure
         1 + gate 1 opened critical_build_failure zlib
         1 + task_started other.build#1
         1 > start other.build#1 j2 fresh
         2 + gate 1 answered retry
         3 + task_finished other.build#1
         3 + package_completed other
         3 + task_started zlib.build#2
         3 > start zlib.build#2 j2 fresh
         4 + task_finished zlib.build#2
         4 + package_completed zlib
         4 + task_started curl.build#1
         4 > start curl.build#1 j2 fresh
         5 + task_finished curl.build#1
         5 + package_completed curl
         5 + phase_finished base Completed
         5 + run_ended Completed missing=
         5 > end Completed",
    );
}

#[test]
fn retry_grants_as_many_attempts_more_and_may_say_with_how_many_jobs() {
    check(
        "attempts 2
         delay 0
         gates
         wait
         phase base
           zlib: build",
        8,
        "0 begin
         0 measured base
         1 fail zlib.build
         2 fail zlib.build
         9 answer 1 retry 3
         10 fail zlib.build
         11 fail zlib.build
         19 answer 2 retry
         20 ok zlib.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j8 fresh
         1 + task_failed zlib.build#1 compilation_failure retry_at=1s
         1 + task_started zlib.build#2
         1 > start zlib.build#2 j8 fresh
         2 + task_failed zlib.build#2 compilation_failure
         2 + gate 1 opened critical_build_failure zlib
         2 + run_paused a person is needed
         9 + run_resumed
         9 + gate 1 answered retry
         9 + task_started zlib.build#3
         9 > start zlib.build#3 j3 fresh
         10 + task_failed zlib.build#3 compilation_failure retry_at=10s
         10 + task_started zlib.build#4
         10 > start zlib.build#4 j3 fresh
         11 + task_failed zlib.build#4 compilation_failure
         11 + gate 2 opened critical_build_failure zlib
         11 + run_paused a person is needed
         19 + run_resumed
         19 + gate 2 answered retry
         19 + task_started zlib.build#5
         19 > start zlib.build#5 j3 fresh
         20 + task_finished zlib.build#5
         20 + package_completed zlib
         20 + phase_finished base Completed
         20 + run_ended Completed missing=
         20 > end Completed",
    );
}

#[test]
fn skip_goes_on_without_it_and_what_needs_it() {
    check(
        "attempts 1
         gates
         wait
         phase base
           zlib: build
           curl: build < zlib
         phase more
           other: build",
        1,
        "0 begin
         0 measured base
         1 fail zlib.build
         2 answer 1 skip
         2 measured more
         3 ok other.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_failed zlib.build#1 compilation_failure
         1 + gate 1 opened critical_build_failure zlib
         1 + run_paused a person is needed
         2 + run_resumed
         2 + gate 1 answered skip
         2 + package_skipped curl because zlib
         2 + phase_finished base Skipped
         2 > measure more
         2 + phase_started more
         2 + task_started other.build#1
         2 > start other.build#1 j1 fresh
         3 + task_finished other.build#1
         3 + package_completed other
         3 + phase_finished more Completed
         3 + run_ended Completed missing=zlib,curl
         3 > end Completed",
    );
}

#[test]
fn abort_ends_the_run_in_error_and_what_runs_with_it() {
    check(
        "attempts 1
         gates
         phase base
           zlib: build
           other: build",
        2,
        "0 begin
         0 measured base
         1 fail zlib.build
         2 answer 1 abort
         3 fail other.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j2 fresh
         1 + task_failed zlib.build#1 compilation_failure
         1 + gate 1 opened critical_build_failure zlib
         1 + task_started other.build#1
         1 > start other.build#1 j2 fresh
         2 + gate 1 answered abort
         2 > term other.build
         3 + task_interrupted other.build#1
         3 + run_ended Error missing=zlib,other
         3 > end Error",
    );
}

#[test]
fn a_violation_of_security_asks_whatever_the_phase_and_is_not_tried_again() {
    check(
        "attempts 3
         gates
         recover cleanup_failed_build
         phase? base
           zlib: build",
        1,
        "0 begin
         0 measured base
         1 fail zlib.build security",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_failed zlib.build#1 security_violation
         1 + gate 1 opened security_violation zlib
         1 + run_paused a person is needed
         1 > end Gates",
    );
}

#[test]
fn in_a_phase_that_is_not_critical_spent_attempts_ask_nobody() {
    check(
        "attempts 1
         gates
         phase? base
           zlib: build
           curl: build < zlib",
        1,
        "0 begin
         0 measured base
         1 fail zlib.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_failed zlib.build#1 compilation_failure
         1 + package_failed zlib.build
         1 + package_skipped curl because zlib
         1 + phase_finished base Failed
         1 + run_ended Completed missing=zlib,curl
         1 > end Completed",
    );
}

#[test]
fn a_full_disk_that_recovery_could_not_free_asks_a_person() {
    check(
        "attempts 2
         gates
         recover free_resources
         phase? base
           zlib: build",
        1,
        "0 begin
         0 measured base
         1 fail zlib.build disk
         2 acted zlib failed person",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_failed zlib.build#1 disk_space retry_at=61s
         1 > act zlib free_resources
         2 + action zlib free_resources failed Person
         2 + gate 1 opened system_resource_exhaustion zlib
         2 + run_paused a person is needed
         2 > end Gates",
    );
}

#[test]
fn what_a_later_phase_requires_and_is_not_there_asks_a_person() {
    check(
        "gates
         wait
         phase base
           zlib: build
         phase more
         needs disk 500
           curl: build",
        1,
        "0 begin
         0 measured base
         1 ok zlib.build
         1 measured more disk 100
         9 answer 1 retry
         9 measured more disk 900
         10 ok curl.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_finished zlib.build#1
         1 + package_completed zlib
         1 + phase_finished base Completed
         1 > measure more
         1 + requirement_unmet more DiskSpace 500>100
         1 + gate 1 opened system_resource_exhaustion more
         1 + run_paused a person is needed
         9 + run_resumed
         9 + gate 1 answered retry
         9 > measure more
         9 + phase_started more
         9 + task_started curl.build#1
         9 > start curl.build#1 j1 fresh
         10 + task_finished curl.build#1
         10 + package_completed curl
         10 + phase_finished more Completed
         10 + run_ended Completed missing=
         10 > end Completed",
    );
}

#[test]
fn what_the_first_phase_requires_and_is_not_there_ends_the_run() {
    check(
        "gates
         phase base
         needs disk 500
           zlib: build",
        1,
        "0 begin
         0 measured base disk 100",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + requirement_unmet base DiskSpace 500>100
         0 + run_ended Error missing=zlib
         0 > end Requirements",
    );
}

#[test]
fn a_gate_outlives_a_crash_and_a_run_that_goes_on_without_an_answer() {
    check(
        "attempts 1
         gates
         phase base
           zlib: build",
        1,
        "0 begin
         0 measured base
         1 fail zlib.build
         2 crash
         2 begin
         3 crash
         3 begin",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_failed zlib.build#1 compilation_failure
         1 + gate 1 opened critical_build_failure zlib
         1 + run_paused a person is needed
         1 > end Gates
         2 + run_resumed
         2 + run_paused a person is needed
         2 > end Gates
         3 + run_resumed
         3 + run_paused a person is needed
         3 > end Gates",
    );
}

#[test]
fn what_a_package_needs_may_fail_while_a_person_is_asked_about_it() {
    check(
        "attempts 1
         gates
         phase? base
           zlib: build
           curl: fetch unpack build < zlib",
        1,
        "0 begin
         0 measured base
         1 fail curl.fetch security
         2 fail zlib.build
         3 answer 1 retry",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + task_started curl.fetch#1
         0 > start curl.fetch#1 j1
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_failed curl.fetch#1 security_violation
         1 + gate 1 opened security_violation curl
         2 + task_failed zlib.build#1 compilation_failure
         2 + package_failed zlib.build
         2 + run_paused a person is needed
         2 > end Gates",
    );
}
