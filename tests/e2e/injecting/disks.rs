//! Disks that are full: the state is on a file system of the test's own.

use std::fs;
use std::process::Command;

use super::super::ledger::Ledger;
use super::super::process::Ended;
use super::super::space::{RUN, Space};
use super::{AFTER_SYSTEM_FAILURE, building, failed, put, why, with};

/// Runs the lines of a shell with the state on a new tmpfs of this size, in which all must succeed: `kiln COMMAND…`, and
/// `run CODE`, a run which must end with that. What is then in the state is copied to `left`. `None` where this machine does
/// not permit it.
fn on_a_small_disk(space: &Space, size: &str, script: &str) -> Option<Ended> {
    let state = space.state();
    fs::create_dir_all(&state).unwrap();
    let mounts = format!("mount -t tmpfs -o size={size} none {}", state.display());
    let tries = |script: &str| {
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", &format!("{mounts} && {script}"), "sh"]);
        shell
    };
    if !tries("true").status().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "the tests of full disks need to mount");
        eprintln!("skipped: no file system can be mounted");
        return None;
    }
    let kiln = space.bare_command(&[]);
    let script = format!(
        "kiln() {{ {program} \"$@\" {definition} --state {state}; }}\nrun() {{ code=0; kiln {run} || code=$?; test $code = \
         $1; }}\n{script}\ncp -a {state} {left}\n",
        program = kiln.get_program().to_str().unwrap(),
        definition = space.definition().display(),
        state = state.display(),
        run = RUN.join(" "),
        left = space.path("left").display()
    );
    let mut shell = tries(&format!("{{ set -e\n{script}}}"));
    shell.env_clear().envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(space.start_command(shell).wait())
}

fn left(space: &Space) -> Ledger {
    Ledger::read(&space.path("left/ledger.sqlite"))
}

#[test]
fn finished_work_and_sources_that_nobody_names_make_room() {
    let space = Space::new();
    space.recipes(
        "package: failed\nversion: 1\ntasks: {build: 'head -c 20M /dev/zero > work; exit 1'}\n---\npackage: p\n\
         version: 1\ntasks: {build: 'head -c 36M /dev/zero > big'}\n",
    );
    space.document(
        "build_phases:\n  one: {order: 1, critical: false, steps: [failed]}\n  two: {order: 2, steps: [p]}\n\
         error_recovery: {automatic_recovery: {delay_between_attempts: 0}}\n",
    );
    let unnamed = space.state().join("sources/sha256/aa/aaaa");
    let script = format!(
        "kiln fetch\nmkdir {0}\nhead -c 4M /dev/zero > {1}\nrun 0",
        unnamed.parent().unwrap().display(),
        unnamed.display()
    );
    let Some(ended) = on_a_small_disk(&space, "64M", &script) else { return };
    ended.exits(0).says("p: free_resources: 1 work directory and 1 cached source deleted, 24M freed; ");
    let ledger = left(&space);
    assert!(why(&ledger).starts_with("disk_space high kernel: "), "{}", why(&ledger));
    assert_eq!(ledger.story("p"), ["build 1", "build 1: disk_space", "build 2", "completed"]);
    assert_eq!(
        ledger.actions("p"),
        ["free_resources: done", AFTER_SYSTEM_FAILURE[1], AFTER_SYSTEM_FAILURE[2], AFTER_SYSTEM_FAILURE[3]]
    );
}

#[test]
fn a_package_that_alone_fills_the_disk_needs_a_person_after_its_attempts() {
    let space = with(&building("cat /dev/zero > big"), true, "", "");
    // There is room for the answer, too.
    let Some(ended) = on_a_small_disk(&space, "48M", "run 4\nkiln resolve 1 skip\nrun 0") else { return };
    ended.exits(0).says("gate 1 (system_resource_exhaustion): p needs a person");
    let ledger = left(&space);
    let reason = format!("disk_space high kernel: `{}/work` had 0 bytes left", space.state().display());
    assert_eq!(why(&ledger), reason);
    assert_eq!(failed(&ledger, "p").len(), 3);
    assert_eq!(ledger.actions("p"), [AFTER_SYSTEM_FAILURE, AFTER_SYSTEM_FAILURE].concat());
}

#[test]
fn a_disk_that_others_have_filled_needs_a_person_at_once_and_the_run_goes_on_when_there_is_room() {
    let script = "test $KILN_ATTEMPT != 1 || head -c 99M /dev/zero > STATE/logs/others || cp /dev/zero mine";
    let space = Space::new();
    put(&space, &building(&script.replace("STATE", &space.state().display().to_string())), true, "", "");
    let script = format!("run 4\nrm {}/logs/others\nkiln resolve 1 retry\nrun 0", space.state().display());
    let Some(ended) = on_a_small_disk(&space, "32M", &script) else { return };
    ended.exits(0).says("gate 1 (system_resource_exhaustion): p needs a person");
    let ledger = left(&space);
    assert_eq!(
        ledger.story("p"),
        ["build 1", "build 1: disk_space", "gate 1: system_resource_exhaustion", "build 2", "completed"]
    );
    assert_eq!(ledger.actions("p"), ["free_resources: failed"]);
}

#[test]
fn a_disk_that_is_full_for_the_tool_alone_is_seen_from_what_it_says() {
    let recipe = building("fallocate -l 900M big");
    let space = with(&recipe, false, "", "");
    let Some(ended) = on_a_small_disk(&space, "48M", "run 4") else { return };
    // In whichever phase: the next package would meet the same.
    ended.exits(0).says("gate 1 (system_resource_exhaustion): p needs a person");
    assert_eq!(
        why(&left(&space)),
        "disk_space medium output 1: fallocate: fallocate failed: No space left on device"
    );
}

#[test]
fn a_compiler_that_takes_its_half_written_file_away_has_said_why() {
    let array = "static const char all[40 << 20] = { 1 };";
    let recipe = building(&format!("echo '{array}' > array.c\ngcc -pipe -c array.c"));
    let space = with(&recipe, true, ", max_attempts: 1", "");
    let Some(ended) = on_a_small_disk(&space, "32M", "run 4") else { return };
    ended.exits(0).says("gate 1 (system_resource_exhaustion): p needs a person");
    let reason = why(&left(&space));
    // Unless kiln happened to look while the disk was full.
    let seen = reason.starts_with("disk_space high kernel: ");
    let said = reason.starts_with("disk_space medium output 2: {standard input}: Fatal error: ")
        && reason.ends_with(" in section .rodata of array.o: 'No space left on device'");
    assert!(seen || said, "{reason}");
}

#[test]
fn a_disk_without_inodes_is_full_too() {
    let space = with(&building("touch $(seq 1000)"), true, "", "");
    let Some(ended) = on_a_small_disk(&space, "48M,nr_inodes=400", "run 4") else { return };
    ended.exits(0).says("gate 1 (system_resource_exhaustion): p needs a person");
    let ledger = left(&space);
    let reason = format!("disk_space high kernel: `{}/work` had 0 inodes left", space.state().display());
    assert_eq!(why(&ledger), reason);
    assert_eq!(ledger.actions("p"), [AFTER_SYSTEM_FAILURE, AFTER_SYSTEM_FAILURE].concat());
}
