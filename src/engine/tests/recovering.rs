//! Stories of what is done between a failed attempt and the next.

use super::script::check;

#[test]
fn the_procedure_is_gone_through_step_by_step_and_then_the_task_is_tried_again() {
    check(
        "attempts 3
         delay 10
         recover cleanup_failed_build verify_dependencies check_resources retry_build
         phase base
           zlib: build install
           curl: build < zlib",
        2,
        "0 begin zlib=all
         0 measured base
         1 fail curl.build
         3 acted curl done
         5 verified curl.build read zlib
         6 acted curl done
         11 tick
         12 ok curl.build",
        "0 + run_started b1
         0 + decided reused=zlib archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.build#1
         0 > start curl.build#1 j2 fresh
         1 + task_failed curl.build#1 compilation_failure retry_at=11s
         1 > act curl cleanup_failed_build
         3 + action curl cleanup_failed_build done
         3 > verify curl.build zlib
         5 + verified zlib
         5 + action curl verify_dependencies nothing_to_do
         5 > act curl check_resources
         6 + action curl check_resources done
         6 + action curl retry_build done
         11 + task_started curl.build#2
         11 > start curl.build#2 j2 fresh
         12 + task_finished curl.build#2
         12 + package_completed curl
         12 + phase_finished base Completed
         12 + run_ended Completed missing=
         12 > end Completed",
    );
}

#[test]
fn a_procedure_that_takes_longer_than_the_delay_is_waited_for() {
    check(
        "method parallel
         attempts 2
         delay 10
         recover cleanup_failed_build
         phase base
           curl: build
           other: build",
        1,
        "0 begin
         0 measured base
         1 fail curl.build
         11 tick
         12 ok other.build
         20 acted curl failed
         21 ok curl.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.build#1
         0 > start curl.build#1 j1 fresh
         1 + task_failed curl.build#1 compilation_failure retry_at=11s
         1 > act curl cleanup_failed_build
         1 + task_started other.build#1
         1 > start other.build#1 j1 fresh
         12 + task_finished other.build#1
         12 + package_completed other
         20 + action curl cleanup_failed_build failed
         20 + task_started curl.build#2
         20 > start curl.build#2 j1 fresh
         21 + task_finished curl.build#2
         21 + package_completed curl
         21 + phase_finished base Completed
         21 + run_ended Completed missing=
         21 > end Completed",
    );
}

#[test]
fn an_action_that_shows_that_a_retry_is_pointless_ends_the_attempts() {
    check(
        "attempts 3
         recover validate_versions retry_build
         phase base
           curl: build",
        1,
        "0 begin
         0 measured base
         1 fail curl.build dependency
         2 acted curl failed pointless",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.build#1
         0 > start curl.build#1 j1 fresh
         1 + task_failed curl.build#1 missing_dependency retry_at=61s
         1 > act curl validate_versions
         2 + action curl validate_versions failed Pointless
         2 + package_failed curl.build
         2 + phase_finished base Failed
         2 + run_ended Error missing=curl
         2 > end Error",
    );
}

#[test]
fn a_damaged_dependency_is_merged_again_before_its_dependent_is_tried_again() {
    check(
        "attempts 2
         delay 0
         recover verify_dependencies
         phase base
           zlib: build install
           curl: build < zlib",
        2,
        "0 begin zlib=all
         0 measured base
         1 fail curl.build
         2 verified curl.build damaged zlib
         5 ok zlib.merge
         6 ok curl.build",
        "0 + run_started b1
         0 + decided reused=zlib archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.build#1
         0 > start curl.build#1 j2 fresh
         1 + task_failed curl.build#1 compilation_failure retry_at=1s
         1 > verify curl.build zlib
         2 + package_damaged zlib bin/x has other bytes
         2 + action curl verify_dependencies done
         2 + task_started zlib.merge#1
         2 > start zlib.merge#1 j2 restore
         5 + task_finished zlib.merge#1
         5 + package_completed zlib
         5 + task_started curl.build#2
         5 > start curl.build#2 j2 fresh
         6 + task_finished curl.build#2
         6 + package_completed curl
         6 + phase_finished base Completed
         6 + run_ended Completed missing=
         6 > end Completed",
    );
}

#[test]
fn a_dependency_without_an_archive_is_built_again_before_its_dependent_is_tried_again() {
    check(
        "attempts 2
         delay 0
         recover rebuild_dependencies
         phase base
           zlib: build install
         phase more
           curl: build < zlib",
        2,
        "0 begin zlib=all
         0 measured more
         1 fail curl.build dependency
         2 verified curl.build lost zlib
         5 ok zlib.build
         6 ok zlib.install
         7 ok zlib.merge
         8 ok curl.build",
        "0 + run_started b1
         0 + decided reused=zlib archived= skipped=
         0 + phase_started base
         0 + phase_finished base Completed
         0 > measure more
         0 + phase_started more
         0 + task_started curl.build#1
         0 > start curl.build#1 j2 fresh
         1 + task_failed curl.build#1 missing_dependency retry_at=1s
         1 > verify curl.build zlib
         2 + package_damaged zlib bin/x has other bytes lost
         2 + action curl rebuild_dependencies done
         2 + task_started zlib.build#1
         2 > start zlib.build#1 j2 fresh
         5 + task_finished zlib.build#1
         5 + task_started zlib.install#1
         5 > start zlib.install#1 j2
         6 + task_finished zlib.install#1
         6 + task_started zlib.merge#1
         6 > start zlib.merge#1 j2
         7 + task_finished zlib.merge#1
         7 + package_completed zlib
         7 + phase_finished base Completed
         7 + task_started curl.build#2
         7 > start curl.build#2 j2 fresh
         8 + task_finished curl.build#2
         8 + package_completed curl
         8 + phase_finished more Completed
         8 + run_ended Completed missing=
         8 > end Completed",
    );
}

#[test]
fn want_of_memory_halves_the_jobs_and_a_network_that_is_gone_is_given_time() {
    check(
        "attempts 4
         delay 10
         phase base
           curl: fetch unpack build",
        8,
        "0 begin
         0 measured base
         1 fail curl.fetch network
         11 tick
         12 fail curl.fetch network
         32 tick
         33 ok curl.fetch
         34 ok curl.unpack
         35 fail curl.build memory
         45 tick
         46 ok curl.unpack
         47 fail curl.build memory
         57 tick
         58 ok curl.unpack
         59 ok curl.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + task_started curl.fetch#1
         0 > start curl.fetch#1 j8
         0 + phase_started base
         1 + task_failed curl.fetch#1 network_issues retry_at=11s
         11 + task_started curl.fetch#2
         11 > start curl.fetch#2 j8
         12 + task_failed curl.fetch#2 network_issues retry_at=32s
         32 + task_started curl.fetch#3
         32 > start curl.fetch#3 j8
         33 + task_finished curl.fetch#3
         33 + task_started curl.unpack#1
         33 > start curl.unpack#1 j8 fresh
         34 + task_finished curl.unpack#1
         34 + task_started curl.build#1
         34 > start curl.build#1 j8
         35 + task_failed curl.build#1 memory_allocation retry_at=45s jobs=4
         45 + task_started curl.unpack#1
         45 > start curl.unpack#1 j4 restore fresh
         46 + task_finished curl.unpack#1
         46 + task_started curl.build#2
         46 > start curl.build#2 j4
         47 + task_failed curl.build#2 memory_allocation retry_at=57s jobs=2
         57 + task_started curl.unpack#1
         57 > start curl.unpack#1 j2 restore fresh
         58 + task_finished curl.unpack#1
         58 + task_started curl.build#3
         58 > start curl.build#3 j2
         59 + task_finished curl.build#3
         59 + package_completed curl
         59 + phase_finished base Completed
         59 + run_ended Completed missing=
         59 > end Completed",
    );
}

#[test]
fn the_same_failure_twice_ends_the_attempts_where_that_is_asked_for() {
    check(
        "same
         attempts 5
         delay 0
         phase? base
           curl: build
           other: build",
        1,
        "0 begin
         0 measured base
         1 fail curl.build compile x.c:12:no-such-type
         2 fail curl.build compile x.c:13:no-such-type
         3 fail other.build compile a
         4 fail other.build compile b
         5 fail other.build compile a
         6 ok other.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.build#1
         0 > start curl.build#1 j1 fresh
         1 + task_failed curl.build#1 compilation_failure retry_at=1s
         1 + task_started curl.build#2
         1 > start curl.build#2 j1 fresh
         2 + task_failed curl.build#2 compilation_failure
         2 + package_failed curl.build
         2 + task_started other.build#1
         2 > start other.build#1 j1 fresh
         3 + task_failed other.build#1 compilation_failure retry_at=3s
         3 + task_started other.build#2
         3 > start other.build#2 j1 fresh
         4 + task_failed other.build#2 compilation_failure retry_at=4s
         4 + task_started other.build#3
         4 > start other.build#3 j1 fresh
         5 + task_failed other.build#3 compilation_failure retry_at=5s
         5 + task_started other.build#4
         5 > start other.build#4 j1 fresh
         6 + task_finished other.build#4
         6 + package_completed other
         6 + phase_finished base Failed
         6 + run_ended Completed missing=curl
         6 > end Completed",
    );
}

#[test]
fn a_procedure_that_was_cut_off_goes_on_after_a_crash() {
    check(
        "attempts 2
         delay 5
         recover cleanup_failed_build free_resources
         phase base
           curl: build",
        1,
        "0 begin
         0 measured base
         1 fail curl.build
         2 acted curl done
         3 crash
         3 begin
         4 acted curl nothing
         6 tick
         7 ok curl.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.build#1
         0 > start curl.build#1 j1 fresh
         1 + task_failed curl.build#1 compilation_failure retry_at=6s
         1 > act curl cleanup_failed_build
         2 + action curl cleanup_failed_build done
         2 > act curl free_resources
         3 + run_resumed
         3 + work_lost curl
         3 > act curl free_resources
         4 + action curl free_resources nothing_to_do
         6 + task_started curl.build#2
         6 > start curl.build#2 j1 fresh
         7 + task_finished curl.build#2
         7 + package_completed curl
         7 + phase_finished base Completed
         7 + run_ended Completed missing=
         7 > end Completed",
    );
}

#[test]
fn a_stop_cuts_a_procedure_off() {
    check(
        "attempts 2
         recover cleanup_failed_build
         phase base
           curl: build",
        1,
        "0 begin
         0 measured base
         1 fail curl.build
         2 stop
         3 acted curl done",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.build#1
         0 > start curl.build#1 j1 fresh
         1 + task_failed curl.build#1 compilation_failure retry_at=61s
         1 > act curl cleanup_failed_build
         2 > cancel curl
         3 + run_paused stopped
         3 > end Stopped",
    );
}
