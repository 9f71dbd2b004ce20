//! Stories of strict dependencies: what is looked at before a package's first script, and what follows from what is found.

use super::script::check;

const TWO: &str = "method parallel
                   delay 5
                   strict build
                   phase base
                     zlib: build install
                     curl: configure build < zlib";

/// What `TWO` says until `curl` wants to begin.
const BEFORE: &str = "0 + run_started b1
         0 + decided reused=zlib archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.configure#1
         0 > verify curl.configure zlib";

#[test]
fn the_first_script_waits_until_its_dependencies_have_been_looked_at() {
    check(
        TWO,
        2,
        "0 begin zlib=all
         0 measured base
         1 verified curl.configure read zlib
         2 ok curl.configure
         3 ok curl.build",
        &format!(
            "{BEFORE}
         1 + verified zlib
         1 > start curl.configure#1 j2 fresh
         2 + task_finished curl.configure#1
         2 + task_started curl.build#1
         2 > start curl.build#1 j2
         3 + task_finished curl.build#1
         3 + package_completed curl
         3 + phase_finished base Completed
         3 + run_ended Completed missing=
         3 > end Completed"
        ),
    );
}

#[test]
fn what_is_damaged_fails_the_attempt_and_is_merged_again() {
    check(
        TWO,
        2,
        "0 begin zlib=all
         0 measured base
         1 verified curl.configure damaged zlib
         2 ok zlib.merge
         6 tick
         7 verified curl.configure
         8 ok curl.configure
         9 ok curl.build",
        "0 + run_started b1
         0 + decided reused=zlib archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.configure#1
         0 > verify curl.configure zlib
         1 + package_damaged zlib bin/x has other bytes
         1 + task_failed curl.configure#1 broken_dependency retry_at=6s
         1 + task_started zlib.merge#1
         1 > start zlib.merge#1 j2 restore
         2 + task_finished zlib.merge#1
         2 + package_completed zlib
         6 + task_started curl.configure#2
         6 > verify curl.configure zlib
         7 > start curl.configure#2 j2 fresh
         8 + task_finished curl.configure#2
         8 + task_started curl.build#1
         8 > start curl.build#1 j2
         9 + task_finished curl.build#1
         9 + package_completed curl
         9 + phase_finished base Completed
         9 + run_ended Completed missing=
         9 > end Completed",
    );
}

#[test]
fn what_cannot_be_merged_again_is_built_again_and_waited_for() {
    check(
        "method parallel
         strict build
         phase first
           zlib: build install
         phase? second
           curl: build < zlib
           other: build < zlib
           third: build",
        1,
        "0 begin zlib=all
         0 measured second
         1 verified curl.build lost zlib
         2 ok zlib.build
         3 ok zlib.install
         4 ok zlib.merge
         5 ok third.build
         6 verified other.build read zlib
         7 ok other.build
         61 tick
         62 verified curl.build
         63 ok curl.build",
        "0 + run_started b1
         0 + decided reused=zlib archived= skipped=
         0 + phase_started first
         0 + phase_finished first Completed
         0 > measure second
         0 + phase_started second
         0 + task_started curl.build#1
         0 > verify curl.build zlib
         1 + package_damaged zlib bin/x has other bytes lost
         1 + task_failed curl.build#1 broken_dependency retry_at=61s
         1 + task_started zlib.build#1
         1 > start zlib.build#1 j1 fresh
         2 + task_finished zlib.build#1
         2 + task_started zlib.install#1
         2 > start zlib.install#1 j1
         3 + task_finished zlib.install#1
         3 + task_started zlib.merge#1
         3 > start zlib.merge#1 j1
         3 + task_started third.build#1
         3 > start third.build#1 j1 fresh
         4 + task_finished zlib.merge#1
         4 + package_completed zlib
         4 + phase_finished first Completed
         5 + task_finished third.build#1
         5 + package_completed third
         5 + task_started other.build#1
         5 > verify other.build zlib
         6 + verified zlib
         6 > start other.build#1 j1 fresh
         7 + task_finished other.build#1
         7 + package_completed other
         61 + task_started curl.build#2
         61 > verify curl.build zlib
         62 > start curl.build#2 j1 fresh
         63 + task_finished curl.build#2
         63 + package_completed curl
         63 + phase_finished second Completed
         63 + run_ended Completed missing=
         63 > end Completed",
    );
}

#[test]
fn what_cannot_be_built_again_is_not_there_any_more() {
    check(
        "method parallel
         strict build
         phase? first
           zlib: build install
         phase? second
           curl: build < zlib
           other: build < zlib",
        1,
        "0 begin zlib=all
         0 measured second
         1 verified curl.build lost zlib
         2 fail zlib.build security",
        "0 + run_started b1
         0 + decided reused=zlib archived= skipped=
         0 + phase_started first
         0 + phase_finished first Completed
         0 > measure second
         0 + phase_started second
         0 + task_started curl.build#1
         0 > verify curl.build zlib
         1 + package_damaged zlib bin/x has other bytes lost
         1 + task_failed curl.build#1 broken_dependency retry_at=61s
         1 + task_started zlib.build#1
         1 > start zlib.build#1 j1 fresh
         2 + task_failed zlib.build#1 security_violation
         2 + package_failed zlib.build
         2 + package_skipped curl because zlib
         2 + package_skipped other because zlib
         2 + phase_finished first Failed
         2 + phase_finished second Failed
         2 + run_ended Completed missing=zlib,curl,other
         2 > end Completed",
    );
}

#[test]
fn a_run_does_not_end_before_what_is_damaged_has_been_put_right() {
    check(
        "method parallel
         attempts 1
         strict build
         phase? base
           zlib: build install
           curl: build < zlib",
        1,
        "0 begin zlib=all
         0 measured base
         1 verified curl.build damaged zlib
         2 ok zlib.merge",
        "0 + run_started b1
         0 + decided reused=zlib archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.build#1
         0 > verify curl.build zlib
         1 + package_damaged zlib bin/x has other bytes
         1 + task_failed curl.build#1 broken_dependency
         1 + package_failed curl.build
         1 + task_started zlib.merge#1
         1 > start zlib.merge#1 j1 restore
         2 + task_finished zlib.merge#1
         2 + package_completed zlib
         2 + phase_finished base Failed
         2 + run_ended Completed missing=curl
         2 > end Completed",
    );
}

#[test]
fn what_could_not_be_put_right_is_built_again() {
    check(
        TWO,
        1,
        "0 begin zlib=all
         0 measured base
         1 verified curl.configure damaged zlib
         2 fail zlib.merge security
         3 ok zlib.build
         6 tick
         6 ok zlib.install
         7 ok zlib.merge
         8 verified curl.configure read zlib
         9 ok curl.configure
         9 ok curl.build",
        "0 + run_started b1
         0 + decided reused=zlib archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started curl.configure#1
         0 > verify curl.configure zlib
         1 + package_damaged zlib bin/x has other bytes
         1 + task_failed curl.configure#1 broken_dependency retry_at=6s
         1 + task_started zlib.merge#1
         1 > start zlib.merge#1 j1 restore
         2 + task_failed zlib.merge#1 security_violation
         2 + package_damaged zlib its archive could not be merged again lost
         2 + task_started zlib.build#1
         2 > start zlib.build#1 j1 fresh
         3 + task_finished zlib.build#1
         3 + task_started zlib.install#1
         3 > start zlib.install#1 j1
         6 + task_finished zlib.install#1
         6 + task_started zlib.merge#2
         6 > start zlib.merge#2 j1
         7 + task_finished zlib.merge#2
         7 + package_completed zlib
         7 + task_started curl.configure#2
         7 > verify curl.configure zlib
         8 + verified zlib
         8 > start curl.configure#2 j1 fresh
         9 + task_finished curl.configure#2
         9 + task_started curl.build#1
         9 > start curl.build#1 j1
         9 + task_finished curl.build#1
         9 + package_completed curl
         9 + phase_finished base Completed
         9 + run_ended Completed missing=
         9 > end Completed",
    );
}

#[test]
fn when_nothing_can_be_found_out_that_is_the_failure() {
    check(
        TWO,
        1,
        "0 begin zlib=all
         0 measured base
         1 verified curl.configure unreadable
         1 stop",
        &format!(
            "{BEFORE}
         1 + task_failed curl.configure#1 disk_space retry_at=6s
         1 + run_paused stopped
         1 > end Stopped"
        ),
    );
}

#[test]
fn a_task_that_waits_for_a_look_when_the_run_is_stopped_has_not_begun() {
    check(
        TWO,
        1,
        "0 begin zlib=all
         0 measured base
         1 stop
         2 verified curl.configure damaged zlib",
        &format!(
            "{BEFORE}
         1 > term curl.configure
         2 + package_damaged zlib bin/x has other bytes
         2 + task_interrupted curl.configure#1
         2 + run_paused stopped
         2 > end Stopped"
        ),
    );
}

#[test]
fn nothing_is_merged_while_somebody_looks_and_nobody_looks_while_something_is_merged() {
    check(
        "method parallel
         strict build
         phase base
           zlib: build install
           tool: install
           app: build < zlib
           big: build < zlib",
        3,
        "0 begin zlib=all
         0 measured base
         1 ok tool.install
         2 verified app.build
         3 ok tool.merge
         4 verified big.build",
        "0 + run_started b1
         0 + decided reused=zlib archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started tool.install#1
         0 > start tool.install#1 j3 fresh
         0 + task_started app.build#1
         0 > verify app.build zlib
         1 + task_finished tool.install#1
         2 > start app.build#1 j3 fresh
         2 + task_started tool.merge#1
         2 > start tool.merge#1 j3
         3 + task_finished tool.merge#1
         3 + package_completed tool
         3 + task_started big.build#1
         3 > verify big.build zlib
         4 > start big.build#1 j1 fresh",
    );
}

#[test]
fn only_the_first_script_looks_and_only_at_what_has_files() {
    check(
        "method parallel
         strict build
         phase base
           data: build
           zlib: build install
           curl: fetch unpack build < zlib data
           tool: build < data",
        1,
        "0 begin zlib=all data=all
         0 measured base
         1 ok curl.fetch
         2 ok tool.build
         3 ok curl.unpack
         4 verified curl.build",
        "0 + run_started b1
         0 + decided reused=data,zlib archived= skipped=
         0 > measure base
         0 + task_started curl.fetch#1
         0 > start curl.fetch#1 j1
         0 + phase_started base
         0 + task_started tool.build#1
         0 > start tool.build#1 j1 fresh
         1 + task_finished curl.fetch#1
         2 + task_finished tool.build#1
         2 + package_completed tool
         2 + task_started curl.unpack#1
         2 > start curl.unpack#1 j1 fresh
         3 + task_finished curl.unpack#1
         3 + task_started curl.build#1
         3 > verify curl.build zlib
         4 > start curl.build#1 j1",
    );
}

#[test]
fn which_dependencies_are_looked_at_is_said_by_their_levels() {
    let look = |strict: &str, expect: &str| {
        let words = format!(
            "method parallel
             {strict}
             phase base
               a: build install ~b
               b: build install ~c
               c: build install
               d: build install
               e: build < a ?d"
        );
        check(
            &words,
            1,
            "0 begin a=all b=all c=all d=all
             0 measured base",
            &format!(
                "0 + run_started b1
                 0 + decided reused=a,b,c,d archived= skipped=
                 0 > measure base
                 0 + phase_started base
                 0 + task_started e.build#1
                 0 > {expect}"
            ),
        );
    };
    look("", "start e.build#1 j1 fresh");
    look("strict build", "verify e.build a");
    look("strict runtime", "verify e.build b,c");
    look("strict optional", "verify e.build d");
    look("strict build runtime optional", "verify e.build a,b,c,d");
}

#[test]
fn an_optional_dependency_that_is_not_there_is_not_looked_at() {
    check(
        "method parallel
         strict optional
         attempts 1
         phase? base
           d: build install
           e: build < ?d",
        1,
        "0 begin
         0 measured base
         1 fail d.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started d.build#1
         0 > start d.build#1 j1 fresh
         1 + task_failed d.build#1 compilation_failure
         1 + package_failed d.build
         1 + task_started e.build#1
         1 > start e.build#1 j1 fresh degraded",
    );
}

/// A dependency whose check fails, and who takes that for good.
fn checked(strict: &str, accept: &str, expect: &str) {
    let words = format!(
        "method parallel
         {strict}
         phase base
           zlib: check? install
           curl: build < zlib {accept}"
    );
    check(
        &words,
        1,
        "0 begin
         0 measured base
         1 fail zlib.check
         2 ok zlib.install
         3 ok zlib.merge",
        &format!(
            "0 + run_started b1
             0 + decided reused= archived= skipped=
             0 > measure base
             0 + phase_started base
             0 + task_started zlib.check#1
             0 > start zlib.check#1 j1 fresh
             1 + task_failed zlib.check#1 compilation_failure tolerated
             1 + task_started zlib.install#1
             1 > start zlib.install#1 j1
             2 + task_finished zlib.install#1
             2 + task_started zlib.merge#1
             2 > start zlib.merge#1 j1
             3 + task_finished zlib.merge#1
             3 + package_completed zlib
             3 + task_started curl.build#1
             {expect}"
        ),
    );
}

#[test]
fn a_failed_check_is_not_enough_for_strict_unless_the_dependent_says_so() {
    checked(
        "strict build",
        "",
        "3 + task_failed curl.build#1 broken_dependency
         3 + package_failed curl.build
         3 + phase_finished base Failed
         3 + run_ended Error missing=curl
         3 > end Error",
    );
    checked("strict build", "(accept 1)", "3 > verify curl.build zlib");
    checked("", "", "3 > start curl.build#1 j1 fresh");
}

#[test]
fn that_a_check_had_failed_is_known_in_later_runs() {
    check(
        "method parallel
         strict build
         phase base
           zlib: check? install
           curl: build < zlib",
        1,
        "0 begin zlib=all!
         0 crash
         0 begin zlib=all!
         0 measured base",
        "0 + run_started b1
         0 + decided reused=zlib archived= skipped= failed_checks=zlib
         0 > measure base
         0 + run_resumed
         0 > measure base
         0 + phase_started base
         0 + task_started curl.build#1
         0 + task_failed curl.build#1 broken_dependency
         0 + package_failed curl.build
         0 + phase_finished base Failed
         0 + run_ended Error missing=curl
         0 > end Error",
    );
}

#[test]
fn a_check_that_succeeds_when_the_package_is_built_again_is_good_enough() {
    check(
        "method parallel
         strict build
         phase base
           opt: install
           zlib: check? install < ?opt
           curl: build < zlib",
        1,
        "0 begin zlib=degraded! opt=all
         0 measured base
         1 ok zlib.check
         2 ok zlib.install
         3 ok zlib.merge",
        "0 + run_started b1
         0 + decided reused=opt archived= skipped= degraded=zlib failed_checks=zlib
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.check#1
         0 > start zlib.check#1 j1 fresh
         1 + task_finished zlib.check#1
         1 + task_started zlib.install#1
         1 > start zlib.install#1 j1
         2 + task_finished zlib.install#1
         2 + task_started zlib.merge#1
         2 > start zlib.merge#1 j1
         3 + task_finished zlib.merge#1
         3 + package_completed zlib
         3 + task_started curl.build#1
         3 > verify curl.build zlib",
    );
}

#[test]
fn one_package_at_a_time_looks_as_well() {
    check(
        "method topological
         strict build
         phase base
           zlib: install
           curl: build < zlib
           other: build",
        4,
        "0 begin
         0 measured base
         1 ok zlib.install
         2 ok zlib.merge
         3 verified curl.build read zlib
         4 ok curl.build",
        "0 + run_started b1
         0 + decided reused= archived= skipped=
         0 > measure base
         0 + phase_started base
         0 + task_started zlib.install#1
         0 > start zlib.install#1 j4 fresh
         1 + task_finished zlib.install#1
         1 + task_started zlib.merge#1
         1 > start zlib.merge#1 j4
         2 + task_finished zlib.merge#1
         2 + package_completed zlib
         2 + task_started curl.build#1
         2 > verify curl.build zlib
         3 + verified zlib
         3 > start curl.build#1 j4 fresh
         4 + task_finished curl.build#1
         4 + package_completed curl
         4 + task_started other.build#1
         4 > start other.build#1 j4 fresh",
    );
}
