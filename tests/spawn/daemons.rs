//! What a task leaves behind.

use kiln::driver::spawn::Exit;

use super::host;
use super::space::{Space, permitted};

/// Holds the fifo `hold`, and says `up`.
pub(crate) const HOLD: &str = "sh ./holder";

/// A space where HOLD works.
pub(crate) fn space() -> Space {
    let space = Space::new();
    std::fs::write(space.path().join("holder"), "exec 9>hold; echo up >up; exec sleep 1000").unwrap();
    space
}

/// The task starts HOLD somehow (`{}`), and ends when that is up.
#[track_caller]
pub(crate) fn check_leftover_dies(space: &Space, start: &str, leftovers: u32) {
    let hold = space.fifo("hold");
    space.start_script(1, &format!("mkfifo up; {} & read line <up; rm up hold", start.replace("{}", HOLD)));
    let end = space.end_of(1);
    assert!(!hold.is_held(), "{start}: {end:?}");
    assert_eq!((end.exit, end.leftovers), (Exit::Code(0), leftovers), "{start}");
}

#[test]
fn a_background_process_dies_with_its_task() {
    let space = space();
    let hold = space.fifo("hold");
    space.start_script(1, &format!("mkfifo up; {HOLD} & read line <up"));
    assert_eq!(space.end_of(1).exit, Exit::Code(0));
    assert!(!hold.is_held());
}

#[test]
fn a_daemon_in_a_session_of_its_own_dies_with_its_task() {
    if permitted("a_daemon_in_a_session_of_its_own_dies_with_its_task") {
        check_leftover_dies(&space(), "setsid {}", 1);
    }
}

#[test]
fn a_daemon_that_forked_twice_and_cleared_its_environment_dies_while_other_tasks_run() {
    if !permitted("a_daemon_that_forked_twice_and_cleared_its_environment_dies_while_other_tasks_run") {
        return;
    }
    let space = space();
    space.start(space.job(9, &["/bin/sleep", "1000"]));
    check_leftover_dies(&space, "( setsid setsid -f env -i PATH=/usr/bin:/bin {} & )", 1);
}

#[test]
fn a_stopped_daemon_with_children_of_its_own_dies_with_all_of_them() {
    if !permitted("a_stopped_daemon_with_children_of_its_own_dies_with_all_of_them") {
        return;
    }
    let space = space();
    space.start(space.job(9, &["/bin/sleep", "1000"]));
    check_leftover_dies(&space, "setsid sh -c 'setsid sleep 1000 & {} & kill -STOP $$'", 3);
}

#[test]
fn a_daemon_that_keeps_forking_dies() {
    if !permitted("a_daemon_that_keeps_forking_dies") {
        return;
    }
    let space = space();
    let hold = space.fifo("hold");
    // Each generation leaves the next in a session of its own and ends.
    let script = "echo 'setsid -f sh ./hydra' >hydra; exec 9>hold; setsid -f sh ./hydra";
    space.start_script(1, script);
    assert_eq!(space.end_of(1).exit, Exit::Code(0));
    assert!(!hold.is_held());
}

#[test]
fn a_daemon_lives_as_long_as_its_task_though_others_end() {
    if !permitted("a_daemon_lives_as_long_as_its_task_though_others_end") {
        return;
    }
    let space = space();
    for (id, clear) in [(1, ""), (2, "env -i PATH=/usr/bin:/bin")] {
        let (hold, up) = (space.fifo("hold"), space.fifo("up"));
        let go = format!("go-{id}");
        drop(space.fifo(&go));
        space.start_script(id, &format!("( setsid {clear} {HOLD} & ); read line <{go}"));
        up.wait_for_line();
        space.output_of(space.job(10 + id, &["/bin/true"]));
        assert!(hold.is_held());
        space.answer(&go);
        assert_eq!(space.end_of(id).leftovers, 1);
        assert!(!hold.is_held());
        std::fs::remove_file(space.path().join("up")).unwrap();
        std::fs::remove_file(space.path().join("hold")).unwrap();
    }
}

#[test]
fn a_killed_kiln_takes_every_descendant_with_it() {
    if permitted("a_killed_kiln_takes_every_descendant_with_it") {
        let kiln = host::KilnWithDaemon::start(None);
        kiln.kill();
        kiln.hold.wait_until_free();
    }
}
