//! Without a pid namespace: process groups, adopted orphans, and the sweep at the next start.

use kiln::driver::leftover;
use kiln::driver::spawn::{Confinement, Exit};

use super::daemons::{HOLD, check_leftover_dies, space};
use super::host;
use super::space::{Space, options};

/// Debian's `nobody`.
const NOBODY: u32 = 65534;

/// As an ordinary user, who is refused a namespace.
fn check(scenario: &str) {
    let uid = rustix::process::geteuid().is_root().then_some(NOBODY);
    host::check(scenario, uid);
}

#[test]
fn an_ordinary_user_is_told_why_there_is_no_namespace() {
    check("fallback-confinement");
}

pub(crate) fn confinement() {
    let space = Space::new();
    let Confinement::ProcessGroups { reason } = space.spawner.confinement() else { panic!() };
    assert!(reason.contains("not permitted"), "{reason}");
}

#[test]
fn leftovers_of_all_kinds_die_with_their_task() {
    check("fallback-leftovers");
}

pub(crate) fn leftovers() {
    let space = space();
    space.start(space.job(9, &["/bin/sleep", "1000"]));
    check_leftover_dies(&space, "setsid {}", 1);
    check_leftover_dies(&space, "setsid sh -c 'setsid sleep 1000 & {} & kill -STOP $$'", 3);
    // Alone, a task is the only one that an orphan without any evidence can belong to.
    space.spawner.kill(9, kiln::driver::spawn::Signal::Kill);
    space.end_of(9);
    check_leftover_dies(&space, "( setsid setsid -f env -i PATH=/usr/bin:/bin {} & )", 1);
    no_zombies();
}

/// This process has no children: what it adopted it has also reaped.
fn no_zombies() {
    let options = rustix::process::WaitIdOptions::EXITED
        | rustix::process::WaitIdOptions::NOWAIT
        | rustix::process::WaitIdOptions::NOHANG;
    assert_eq!(
        rustix::process::waitid(rustix::process::WaitId::All, options).unwrap_err(),
        rustix::io::Errno::CHILD
    );
}

#[test]
fn an_orphan_without_evidence_ends_with_the_last_task_that_it_can_belong_to() {
    check("fallback-no-evidence");
}

pub(crate) fn no_evidence() {
    let space = space();
    let hold = space.fifo("hold");
    space.start(space.job(9, &["/bin/sleep", "1000"]));
    space.start_script(1, &format!("mkfifo up; setsid -f env -i PATH=/bin {HOLD}; read line <up"));
    // The script has waited for the parent half of `setsid -f`, which has evidence, and a child: the orphan.
    let end = space.end_of(1);
    assert_eq!((end.exit, end.leftovers), (Exit::Code(0), 0));
    assert!(hold.is_held());
    space.spawner.kill(9, kiln::driver::spawn::Signal::Kill);
    assert_eq!(space.end_of(9).leftovers, 1);
    assert!(!hold.is_held());
}

#[test]
fn shutdown_ends_orphans_too() {
    check("fallback-shutdown");
}

pub(crate) fn shutdown() {
    let space = space();
    let (hold, up) = (space.fifo("hold"), space.fifo("up"));
    space.start_script(1, &format!("( setsid -f env -i PATH=/bin {HOLD} & ); sleep 1000"));
    up.wait_for_line();
    // A child of this process that is no task.
    let mut other = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    space.shutdown();
    assert!(!hold.is_held());
    assert!(other.try_wait().unwrap().is_none());
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    no_zombies();
}

#[test]
fn the_next_start_ends_what_a_killed_kiln_left() {
    let uid = rustix::process::geteuid().is_root().then_some(NOBODY);
    let kiln = host::KilnWithDaemon::start(uid);
    kiln.kill();
    assert!(kiln.hold.is_held());
    assert_eq!(leftover::sweep("some other state").unwrap(), []);
    assert!(kiln.hold.is_held());
    let ended = leftover::sweep(&kiln.state_id).unwrap();
    assert!(!kiln.hold.is_held());
    // The task, the daemon, and its child, which may not have reached its exec.
    let named = |names: &[&str]| ended.iter().filter(|ended| names.contains(&&*ended.comm)).count();
    assert_eq!((ended.len(), named(&["sh", "sleep"])), (3, 3), "{ended:?}");
    assert_eq!(leftover::sweep(&kiln.state_id).unwrap(), []);
}

#[test]
fn a_sweep_spares_itself_and_its_ancestors() {
    let uid = rustix::process::geteuid().is_root().then_some(NOBODY);
    host::check_with("sweep-from-inside", uid, &[("KILN_STATE_ID", "inside")]);
}

pub(crate) fn sweep_from_inside() {
    assert_eq!(leftover::sweep("inside").unwrap(), []);
    assert_eq!(options().state_id, "test-state");
}
