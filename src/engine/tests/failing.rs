//! Stories of failures: retries, phases that end, requirements, time that has run out.

use super::script::check;

#[test]
fn a_retry_waits_and_starts_from_a_clean_work_directory() {
    check(
        "attempts 2
         delay 60
         phase base
           zlib: fetch unpack configure build",
        1,
        "0 begin
         0 measured base
         1 ok zlib.fetch
         2 ok zlib.unpack
         3 ok zlib.configure
         4 fail zlib.build
         64 tick
         65 ok zlib.unpack
         66 ok zlib.configure
         67 fail zlib.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + task_started zlib.fetch#1
         0 > start zlib.fetch#1 j1
         0 + phase_started base
         1 + task_finished zlib.fetch#1
         1 + task_started zlib.unpack#1
         1 > start zlib.unpack#1 j1 fresh
         2 + task_finished zlib.unpack#1
         2 + task_started zlib.configure#1
         2 > start zlib.configure#1 j1
         3 + task_finished zlib.configure#1
         3 + task_started zlib.build#1
         3 > start zlib.build#1 j1
         4 + task_failed zlib.build#1 compilation_failure retry_at=64s
         64 + task_started zlib.unpack#1
         64 > start zlib.unpack#1 j1 restore fresh
         65 + task_finished zlib.unpack#1
         65 + task_started zlib.configure#1
         65 > start zlib.configure#1 j1 restore
         66 + task_finished zlib.configure#1
         66 + task_started zlib.build#2
         66 > start zlib.build#2 j1
         67 + task_failed zlib.build#2 compilation_failure
         67 + package_failed zlib.build
         67 + phase_finished base Failed
         67 + run_ended Error missing=zlib
         67 > end Error",
    );
}

#[test]
fn a_security_violation_is_not_tried_again() {
    check(
        "attempts 3
         phase base
           zlib: fetch unpack build",
        1,
        "0 begin
         0 measured base
         1 fail zlib.fetch security",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + task_started zlib.fetch#1
         0 > start zlib.fetch#1 j1
         0 + phase_started base
         1 + task_failed zlib.fetch#1 security_violation
         1 + package_failed zlib.fetch
         1 + phase_finished base Failed
         1 + run_ended Error missing=zlib
         1 > end Error",
    );
}

#[test]
fn without_automatic_recovery_the_first_failure_is_the_last() {
    check(
        "disabled
         phase base
           zlib: build",
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
         1 + phase_finished base Failed
         1 + run_ended Error missing=zlib
         1 > end Error",
    );
}

#[test]
fn a_critical_phase_fails_after_independent_work_and_ends_the_run() {
    check(
        "attempts 1
         method parallel
         phase base
           bad: build
           needy: build < bad
           other: build
         phase later
           late: build",
        1,
        "0 begin
         0 measured base
         1 fail bad.build
         2 ok other.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started bad.build#1
         0 > start bad.build#1 j1 fresh
         1 + task_failed bad.build#1 compilation_failure
         1 + package_failed bad.build
         1 + package_skipped needy because bad
         1 + task_started other.build#1
         1 > start other.build#1 j1 fresh
         2 + task_finished other.build#1
         2 + package_completed other
         2 + phase_finished base Failed
         2 + run_ended Error missing=bad,needy,late
         2 > end Error",
    );
}

#[test]
fn a_non_critical_failure_skips_dependents_and_the_run_completes_without_them() {
    check(
        "attempts 1
         phase base
           libc: build
         phase? desktop
           xorg: build < libc
           wm: build < xorg
           editor: build < libc ?xorg",
        1,
        "0 begin
         0 measured base
         1 ok libc.build
         1 measured desktop
         2 fail xorg.build
         3 ok editor.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started libc.build#1
         0 > start libc.build#1 j1 fresh
         1 + task_finished libc.build#1
         1 + package_completed libc
         1 + phase_finished base Completed
         1 > measure desktop
         1 + phase_started desktop
         1 + task_started xorg.build#1
         1 > start xorg.build#1 j1 fresh
         2 + task_failed xorg.build#1 compilation_failure
         2 + package_failed xorg.build
         2 + package_skipped wm because xorg
         2 + task_started editor.build#1
         2 > start editor.build#1 j1 fresh degraded
         3 + task_finished editor.build#1
         3 + package_completed editor degraded
         3 + phase_finished desktop Failed
         3 + run_ended Completed missing=xorg,wm
         3 > end Completed",
    );
}

#[test]
fn an_unmet_requirement_ends_the_run_before_anything_is_built() {
    check(
        "phase base
         needs disk 500 memory 2000
           zlib: fetch unpack build",
        1,
        "0 begin
         0 measured base disk 100 memory 3000
         1 fail zlib.fetch",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + task_started zlib.fetch#1
         0 > start zlib.fetch#1 j1
         0 + requirement_unmet base DiskSpace 500>100
         0 > term zlib.fetch
         1 + task_interrupted zlib.fetch#1
         1 + run_ended Error missing=zlib
         1 > end Requirements",
    );
}

#[test]
fn the_toolchain_must_be_complete_and_verify() {
    check(
        "phase toolchain
           gcc: build install
         phase base
         needs toolchain
           bash: build < gcc",
        1,
        "0 begin gcc=all
         0 measured base rotten",
        "0 + run_started b1
         0 + decided reused=gcc archived= skipped=
         0 + phase_started toolchain
         0 + phase_finished toolchain Completed
         0 > measure base
         0 + requirement_unmet base Toolchain 1>0
         0 + run_ended Error missing=bash
         0 > end Requirements",
    );
}

#[test]
fn a_timeout_ends_a_task_and_grace_ends_its_patience() {
    check(
        "attempts 1
         phase base
           slow: build (timeout 30 silent 5)",
        1,
        "0 begin
         0 measured base
         5 tick
         5 output slow.build 4
         9 tick
         9 output slow.build 9
         30 tick
         40 tick
         41 fail slow.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started slow.build#1
         0 > start slow.build#1 j1 fresh
         5 > watch slow.build
         9 > watch slow.build
         30 > watch slow.build
         30 > term slow.build
         40 > kill slow.build
         41 + task_failed slow.build#1 resource_exhaustion
         41 + package_failed slow.build
         41 + phase_finished base Failed
         41 + run_ended Error missing=slow
         41 > end Error",
    );
}

#[test]
fn silence_ends_a_task() {
    check(
        "attempts 1
         phase base
           quiet: build (silent 5)",
        1,
        "0 begin
         0 measured base
         5 tick
         5 output quiet.build 0
         6 fail quiet.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started quiet.build#1
         0 > start quiet.build#1 j1 fresh
         5 > watch quiet.build
         5 > term quiet.build
         6 + task_failed quiet.build#1 resource_exhaustion
         6 + package_failed quiet.build
         6 + phase_finished base Failed
         6 + run_ended Error missing=quiet
         6 > end Error",
    );
}

#[test]
fn a_tolerated_check_fails_once_and_the_package_goes_on() {
    check(
        "attempts 3
         phase base
           a: build check? install",
        1,
        "0 begin
         0 measured base
         1 ok a.build
         2 fail a.check
         3 ok a.install
         4 ok a.merge",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started a.build#1
         0 > start a.build#1 j1 fresh
         1 + task_finished a.build#1
         1 + task_started a.check#1
         1 > start a.check#1 j1
         2 + task_failed a.check#1 compilation_failure tolerated
         2 + task_started a.install#1
         2 > start a.install#1 j1
         3 + task_finished a.install#1
         3 + task_started a.merge#1
         3 > start a.merge#1 j1
         4 + task_finished a.merge#1
         4 + package_completed a
         4 + phase_finished base Completed
         4 + run_ended Completed missing=
         4 > end Completed",
    );
}
