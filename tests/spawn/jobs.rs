//! What a job's process is given, and what is said about it.

use std::time::Duration;

use kiln::driver::spawn::{Confinement, Exit, Options, Report, Signal, SpawnError, User};

use super::host;
use super::space::{Space, options, permitted};

#[test]
fn environment_is_the_jobs_and_the_two_marks() {
    let space = Space::new();
    let mut job = space.job(7, &["/usr/bin/env"]);
    job.env = vec![("A".into(), "1 2".into())];
    let output = space.output_of(job);
    let mut lines: Vec<_> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=1 2", "KILN_STATE_ID=test-state", "KILN_TASK_ID=7"]);
}

#[test]
fn no_descriptor_but_the_standard_three_is_inherited() {
    host::check("descriptors", None);
}

#[test]
fn standard_input_is_empty_and_both_outputs_are_one_file_in_the_jobs_directory() {
    let space = Space::new();
    let output = space.output_of(space.job(1, &["/bin/sh", "-c", "cat; echo a; echo b >&2; pwd"]));
    assert_eq!(output, format!("a\nb\n{}\n", space.path().display()));
}

#[test]
fn signals_are_default_and_unblocked_and_the_group_is_the_jobs_own() {
    let space = Space::new();
    let script = "grep -E 'Sig(Blk|Ign)' /proc/self/status";
    let output = space.output_of(space.job(1, &["/bin/sh", "-c", script]));
    let masks = output.lines().map(|line| u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap());
    // glibc's posix_spawn ignores its own two, 32 and 33.
    assert!(
        masks.clone().count() == 2 && masks.into_iter().all(|mask| mask.trailing_zeros() >= 31),
        "{output}"
    );
    let script = "test $(cut -d' ' -f5 /proc/$$/stat) = $$";
    space.output_of(space.job(2, &["/bin/sh", "-c", script]));
}

#[test]
fn a_program_without_a_slash_is_found_in_the_jobs_own_path() {
    let space = Space::new();
    let mut job = space.job(1, &["nowhere-but-here"]);
    let program = space.path().join("nowhere-but-here");
    std::fs::write(&program, "#!/bin/sh\necho found\n").unwrap();
    rustix::fs::chmod(&program, rustix::fs::Mode::from_bits_truncate(0o755)).unwrap();
    job.env = vec![("PATH".into(), space.path().into())];
    assert_eq!(space.output_of(job), "found\n");
}

#[test]
fn a_process_finds_itself_in_proc() {
    if !permitted("a_process_finds_itself_in_proc") {
        return;
    }
    let space = Space::new();
    assert_eq!(space.spawner.confinement(), &Confinement::PidNamespace { private_proc: true });
    let script = "tr '\\0' '\\n' < /proc/$$/environ | grep KILN_TASK_ID";
    assert_eq!(space.output_of(space.job(5, &["/bin/sh", "-c", script])), "KILN_TASK_ID=5\n");
}

#[test]
fn another_user_gets_its_groups_and_no_privileges_and_the_next_job_is_root_again() {
    if !permitted("another_user_gets_its_groups_and_no_privileges_and_the_next_job_is_root_again") {
        return;
    }
    let space = Space::new();
    let show = ["/bin/grep", "-E", "^([UG]id|Groups|Cap(Prm|Eff)):", "/proc/self/status"];
    let before = space.output_of(space.job(1, &show));
    let mut job = space.job(2, &show);
    job.user = Some(User { uid: 1234, gid: 2345, groups: vec![34, 45] });
    let output = space.output_of(job);
    let words: Vec<_> = output.split_whitespace().collect();
    let uids = ["Uid:", "1234", "1234", "1234", "1234", "Gid:", "2345", "2345", "2345", "2345"];
    let rest = ["Groups:", "34", "45", "CapPrm:", "0000000000000000", "CapEff:", "0000000000000000"];
    assert_eq!(words, [&uids[..], &rest[..]].concat());
    assert_eq!(space.output_of(space.job(3, &show)), before);
    // A user that may not enter the directory, and is not left behind on failure.
    std::fs::create_dir(space.path().join("closed")).unwrap();
    rustix::fs::chmod(space.path().join("closed"), rustix::fs::Mode::from_bits_truncate(0o700)).unwrap();
    let mut job = space.job(4, &["/bin/true"]);
    job.cwd = space.path().join("closed");
    job.user = Some(User { uid: 1234, gid: 2345, groups: vec![] });
    space.spawner.spawn(job);
    assert!(matches!(space.report(), Report::SpawnFailed { id: 4, error: SpawnError::Exec { .. } }));
    assert_eq!(space.output_of(space.job(5, &show)), before);
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    let space = Space::new();
    space.start_script(1, "exit 143");
    assert_eq!(space.end_of(1).exit, Exit::Code(143));
    space.start_script(2, "kill -TERM $$");
    assert_eq!(space.end_of(2).exit, Exit::Signal(15));
}

#[test]
fn usage_of_a_busy_process_is_not_zero() {
    let space = Space::new();
    space.start_script(1, "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done");
    let usage = space.end_of(1).usage;
    assert!(usage.user + usage.system > Duration::ZERO, "{usage:?}");
    assert!(usage.max_rss_bytes > 100_000, "{usage:?}");
}

#[test]
fn a_job_that_cannot_start_says_why_and_the_next_one_runs() {
    let space = Space::new();
    space.spawner.spawn(space.job(1, &["/does/not/exist"]));
    let Report::SpawnFailed { id: 1, error: SpawnError::Exec { program, source } } = space.report() else {
        panic!()
    };
    assert_eq!((&*program, source.kind()), ("/does/not/exist", std::io::ErrorKind::NotFound));
    space.spawner.spawn(space.job(2, &[]));
    assert!(matches!(space.report(), Report::SpawnFailed { id: 2, error: SpawnError::NoProgram }));
    space.output_of(space.job(1, &["/bin/true"]));
}

#[test]
fn an_id_is_free_again_when_its_job_has_ended() {
    let space = Space::new();
    space.start(space.job(1, &["/bin/sleep", "1000"]));
    space.spawner.spawn(space.job(1, &["/bin/true"]));
    assert!(matches!(space.report(), Report::SpawnFailed { id: 1, error: SpawnError::Duplicate(1) }));
    space.spawner.kill(1, Signal::Kill);
    assert_eq!(space.end_of(1).exit, Exit::Signal(9));
    space.output_of(space.job(1, &["/bin/true"]));
    // Nobody is there to hear it.
    space.spawner.kill(1, Signal::Kill);
    space.output_of(space.job(2, &["/bin/true"]));
}

#[test]
fn term_reaches_the_whole_group_even_when_it_is_stopped() {
    let space = Space::new();
    let (hold, up) = (space.fifo("hold"), space.fifo("up"));
    space.start_script(1, "sh -c 'exec 9>hold; echo up >up; exec sleep 1000' & kill -STOP $$");
    up.wait_for_line();
    space.spawner.kill(1, Signal::Term);
    assert_eq!(space.end_of(1).exit, Exit::Signal(15));
    assert!(!hold.is_held());
}

/// Its shell dies of TERM at once; what that runs reads a line from `go` first, and then says that it has.
const TIDY: &str = "mkfifo go never; exec 8>shell; sh -c 'exec 8>&- 9>hold; trap \"read x <go; : >tidied; exit 1\" TERM; echo up >up; while :; do read x \
                    <never; done'; :";

#[test]
fn what_a_terminated_shell_runs_may_tidy_up() {
    check_tidying(&Space::new());
}

#[test]
fn what_a_terminated_shell_runs_may_tidy_up_without_a_namespace_too() {
    check_tidying(&Space::with(Options { namespace: false, ..options() }));
}

fn check_tidying(space: &Space) {
    let (hold, up, shell) = (space.fifo("hold"), space.fifo("up"), space.fifo("shell"));
    space.start_script(1, TIDY);
    up.wait_for_line();
    space.spawner.kill(1, Signal::Term);
    shell.wait_until_free();
    space.output_of(space.job(2, &["/bin/true"]));
    assert!(hold.is_held());
    space.answer("go");
    let end = space.end_of(1);
    assert_eq!((end.exit, end.leftovers), (Exit::Signal(15), 0));
    assert!(space.path().join("tidied").exists() && !hold.is_held());
}

#[test]
fn what_a_terminated_shell_runs_is_killed_when_time_is_up() {
    let space = Space::new();
    let (hold, up, shell) = (space.fifo("hold"), space.fifo("up"), space.fifo("shell"));
    space.start_script(1, TIDY);
    up.wait_for_line();
    space.spawner.kill(1, Signal::Term);
    shell.wait_until_free();
    space.output_of(space.job(2, &["/bin/true"]));
    assert!(hold.is_held());
    space.spawner.kill(1, Signal::Kill);
    assert_eq!(space.end_of(1).exit, Exit::Signal(15));
    assert!(!space.path().join("tidied").exists() && !hold.is_held());
}

#[test]
fn kill_ends_a_group_that_ignores_term() {
    let space = Space::new();
    let (hold, up) = (space.fifo("hold"), space.fifo("up"));
    space.start_script(1, "trap '' TERM; sh -c 'exec 9>hold; echo up >up; exec sleep 1000'");
    up.wait_for_line();
    space.spawner.kill(1, Signal::Term);
    space.output_of(space.job(2, &["/bin/true"]));
    assert!(hold.is_held());
    space.spawner.kill(1, Signal::Kill);
    assert_eq!(space.end_of(1).exit, Exit::Signal(9));
    assert!(!hold.is_held());
}

#[test]
fn a_thousand_jobs_two_at_a_time_all_end_once() {
    let space = Space::new();
    let mut ended = vec![0; 1000];
    let mut next = 0;
    let mut running = 0;
    while next < 1000 || running > 0 {
        while next < 1000 && running < 2 {
            space.spawner.spawn(space.job(next, &["/bin/true"]));
            next += 1;
            running += 1;
        }
        let report = space.report();
        if let Report::Started { .. } = report {
            continue;
        }
        let Report::Exited { id, exit: Exit::Code(0), leftovers: 0, .. } = report else {
            panic!("{report:?}")
        };
        ended[usize::try_from(id).unwrap()] += 1;
        running -= 1;
    }
    assert_eq!(ended, vec![1; 1000]);
}

#[test]
fn shutdown_kills_and_reports_every_job() {
    let space = Space::new();
    let (hold, up) = (space.fifo("hold"), space.fifo("up"));
    space.start_script(1, "setsid sh -c 'exec 9>hold; echo up >up; exec sleep 1000' & sleep 1000");
    space.start(space.job(2, &["/bin/sleep", "1000"]));
    up.wait_for_line();
    let ends = space.shutdown();
    assert!(!hold.is_held());
    assert!(
        matches!(
            ends[..],
            [
                Report::Exited { id: 1, exit: Exit::Signal(9), .. },
                Report::Exited { id: 2, exit: Exit::Signal(9), .. }
            ]
        ),
        "{ends:?}"
    );
}

#[test]
fn an_init_that_cannot_start_is_an_error() {
    if !permitted("an_init_that_cannot_start_is_an_error") {
        return;
    }
    let options = Options { executable: "/bin/true".into(), ..options() };
    let error = kiln::driver::spawn::Spawner::start(options, |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "cannot start `/bin/true` as init of a pid namespace");
}

#[test]
fn nothing_starts_when_somebody_has_killed_init() {
    if permitted("nothing_starts_when_somebody_has_killed_init") {
        host::check("init-killed", None);
    }
}
