//! Stories of runs that a person pauses.

use super::script::check;

#[test]
fn a_paused_run_starts_nothing_and_what_runs_goes_on_to_its_end() {
    check(
        "method parallel
         attempts 2
         delay 5
         phase base
           zlib: build install
           curl: build < zlib
           odd: build",
        2,
        "0 begin
         0 measured base
         1 pause the disk is being replaced
         2 ok zlib.build
         3 fail odd.build
         9 tick
         20 resume
         21 ok zlib.install
         21 ok zlib.merge
         22 ok odd.build
         23 ok curl.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j2 fresh
         0 + task_started odd.build#1
         0 > start odd.build#1 j1 fresh
         1 + run_paused by ann: the disk is being replaced held
         2 + task_finished zlib.build#1
         3 + task_failed odd.build#1 compilation_failure retry_at=8s
         20 + run_resumed by ann
         20 + task_started zlib.install#1
         20 > start zlib.install#1 j2
         20 + task_started odd.build#2
         20 > start odd.build#2 j1 fresh
         21 + task_finished zlib.install#1
         21 + task_started zlib.merge#1
         21 > start zlib.merge#1 j2
         21 + task_finished zlib.merge#1
         21 + package_completed zlib
         21 + task_started curl.build#1
         21 > start curl.build#1 j1 fresh
         22 + task_finished odd.build#2
         22 + package_completed odd
         23 + task_finished curl.build#1
         23 + package_completed curl
         23 + phase_finished base Completed
         23 + run_ended Completed missing=
         23 > end Completed",
    );
}

#[test]
fn a_paused_run_does_not_end_when_its_last_task_does_nor_begins_a_phase() {
    check(
        "phase base
           zlib: build
         phase more
           curl: build",
        1,
        "0 begin
         0 pause
         0 measured base
         1 resume
         1 measured base
         2 pause
         3 ok zlib.build
         9 resume
         9 measured more",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + run_paused by ann held
         1 + run_resumed by ann
         1 > measure base
         1 + phase_started base
         1 + task_started zlib.build#1
         1 > start zlib.build#1 j1 fresh
         2 + run_paused by ann held
         3 + task_finished zlib.build#1
         3 + package_completed zlib
         9 + run_resumed by ann
         9 + phase_finished base Completed
         9 > measure more
         9 + phase_started more
         9 + task_started curl.build#1
         9 > start curl.build#1 j1 fresh",
    );
}

#[test]
fn a_pause_outlives_a_kill_and_not_an_end_that_was_asked_for() {
    check(
        "phase base
           zlib: build",
        1,
        "0 begin
         0 measured base
         1 pause
         2 crash
         3 begin
         4 stop
         4 crash
         5 begin zlib=work",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + run_paused by ann held
         3 + run_resumed
         3 + run_paused it was paused when kiln ended; `kiln resume` goes on held
         3 + task_interrupted zlib.build#1
         4 + run_paused stopped
         4 > end Stopped
         5 + run_resumed
         5 + task_started zlib.build#2
         5 > start zlib.build#2 j1 fresh",
    );
}

#[test]
fn a_gate_of_a_paused_run_can_be_answered_and_the_pause_stays() {
    check(
        "attempts 1
         gates
         phase base
           zlib: build",
        1,
        "0 begin
         0 measured base
         1 pause
         2 fail zlib.build
         3 answer 1 retry
         4 resume
         5 ok zlib.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + run_paused by ann held
         2 + task_failed zlib.build#1 compilation_failure
         2 + gate 1 opened critical_build_failure zlib
         3 + gate 1 answered retry
         4 + run_resumed by ann
         4 + task_started zlib.build#2
         4 > start zlib.build#2 j1 fresh
         5 + task_finished zlib.build#2
         5 + package_completed zlib
         5 + phase_finished base Completed
         5 + run_ended Completed missing=
         5 > end Completed",
    );
}

#[test]
fn recovery_waits_for_the_end_of_a_pause() {
    check(
        "attempts 2
         delay 0
         recover check_resources reset_build_environment
         phase base
           zlib: build",
        1,
        "0 begin
         0 measured base
         1 fail zlib.build
         2 pause
         3 acted zlib done
         4 resume",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_failed zlib.build#1 compilation_failure retry_at=1s
         1 > act zlib check_resources
         2 + run_paused by ann held
         3 + action zlib check_resources done
         4 + run_resumed by ann
         4 > act zlib reset_build_environment",
    );
}

#[test]
fn a_checkpoint_that_failed_can_be_asked_for_and_an_abort_takes_the_last_while_paused() {
    check(
        "checkpoints 1 incremental
         attempts 1
         gates
         phase base
           zlib: build
           curl: build
           odd: build",
        1,
        "0 begin
         0 measured base
         1 ok zlib.build
         2 checkpointed 1 failed
         2 pause
         3 take
         4 checkpointed 2
         5 fail curl.build
         6 answer 1 abort",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_finished zlib.build#1
         1 + package_completed zlib
         1 > checkpoint 1 full zlib
         1 + task_started curl.build#1
         1 > start curl.build#1 j1 fresh
         2 + checkpoint 1 failed the disk is full
         2 + run_paused by ann held
         3 > checkpoint 2 full zlib
         4 + checkpoint 2 taken full zlib
         5 + task_failed curl.build#1 compilation_failure
         5 + gate 1 opened critical_build_failure curl
         6 + gate 1 answered abort
         6 + run_ended Error missing=curl,odd
         6 > end Error",
    );
}

#[test]
fn a_checkpoint_is_taken_when_a_person_wants_one_even_while_the_run_is_paused() {
    check(
        "checkpoints 10 incremental
         phase base
           zlib: build
           curl: build < zlib",
        1,
        "0 begin
         0 measured base
         1 ok zlib.build
         2 pause
         3 take
         4 checkpointed 1",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.build#1
         0 > start zlib.build#1 j1 fresh
         1 + task_finished zlib.build#1
         1 + package_completed zlib
         1 + task_started curl.build#1
         1 > start curl.build#1 j1 fresh
         2 + run_paused by ann held
         3 > checkpoint 1 full zlib
         4 + checkpoint 1 taken full zlib",
    );
}
