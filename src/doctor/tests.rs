//! The table, words, and what is left of the tries.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::driver::spawn::{Confinement, Control, Ground, Isolation};
use crate::ledger::place::StateDir;

use super::place::Place;
use super::*;

#[test]
fn every_permission_has_checks_and_every_check_a_name_and_a_way_to_be_granted() {
    let names: BTreeSet<&str> = CHECKS.iter().map(|row| row.check).collect();
    assert_eq!(names.len(), CHECKS.len());
    let permissions: Vec<Permission> = CHECKS.iter().map(|row| row.permission).collect();
    assert!(permissions.is_sorted(), "in the framework's order");
    for permission in PERMISSIONS {
        assert!(permissions.contains(&permission));
        assert_eq!(serde_json::to_value(permission).unwrap(), permission.name());
    }
    for row in &CHECKS {
        assert!([row.what, row.grant, row.without].iter().all(|text| !text.is_empty()), "{row:?}");
    }
}

#[test]
fn what_was_tried_can_be_asked_for_by_any_thread() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Permissions>();
}

fn check(name: &'static str, why: &str, needed_by: &[&str]) -> Check {
    Check {
        permission: Permission::PackageManagement,
        check: name,
        granted: false,
        needed: true,
        needed_by: needed_by.iter().map(|name| (*name).into()).collect(),
        why: Some(why.into()),
        grant: Some("do it".into()),
        unit: None,
        without: Some("less".into()),
        refused: true,
    }
}

#[test]
fn what_is_missing_for_one_reason_is_said_once() {
    let (one, two, three) =
        (check("one", "no", &["a", "b", "c", "d"]), check("two", "never", &[]), check("three", "no", &[]));
    let said = in_words(&[&one, &two, &three]);
    assert_eq!(
        said,
        [
            "one (package_management): missing, needed by `a`, `b`, `c` and 1 more\n  why:     no\n  also:    three \
             (package_management)\n  grant:   do it\n  without: less",
            "two (package_management): missing, needed\n  why:     never\n  grant:   do it\n  without: less"
        ]
    );
}

/// Everything below a directory, with the time of its last change.
fn left(dir: &Path) -> Vec<(std::path::PathBuf, std::time::SystemTime)> {
    let entries = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().map(Result::unwrap);
    entries.map(|entry| (entry.path().to_owned(), entry.metadata().unwrap().modified().unwrap())).collect()
}

#[test]
fn nothing_is_left_and_nothing_appears_in_the_sysroot() {
    let space = tempfile::tempdir().unwrap();
    let state = StateDir::new(space.path().join("deep/state"));
    let attempt = || {
        let mut place = Place::attempt(&state, None, true);
        place.clear();
        place
    };
    let place = attempt();
    assert!(
        place.state.is_ok() && place.work.is_ok() && place.logs.is_ok() && place.merge.is_ok(),
        "{place:?}"
    );
    assert_eq!(fs::read_dir(space.path()).unwrap().count(), 0, "no state directory is made");
    state.create().unwrap();
    let sysroot = left(&state.sysroot());
    let before = left(state.root()).len();
    let place = attempt();
    let more = place.more.as_ref().unwrap();
    assert!(
        place.state.is_ok() && place.work.is_ok() && more.links.is_ok() && more.execute.is_ok(),
        "{place:?}"
    );
    assert_eq!(left(&state.sysroot()), sysroot, "not even for a moment");
    assert_eq!(left(state.root()).len(), before);
}

#[test]
fn somebody_elses_directory_is_not_touched() {
    let space = tempfile::tempdir().unwrap();
    fs::write(space.path().join("thesis"), "").unwrap();
    let before = left(space.path());
    let place = Place::attempt(&StateDir::new(space.path()), None, true);
    assert!(place.state.unwrap_err().why.contains("it is not empty"));
    assert_eq!(left(space.path()), before);
}

#[test]
fn what_tasks_run_on_is_told_as_the_spawner_found_it() {
    let refused = || "not permitted".to_owned();
    let ground = |confinement, control, isolation| Ground { confinement, control, memory: None, isolation };
    let done = |ground: &Ground| {
        use super::ground as of;
        [of::control_groups, of::pid_namespace, of::private_proc, of::landlock, of::network_namespace]
            .map(|attempt| attempt(ground).map_err(|missing| missing.why))
    };
    let all = ground(
        Confinement::PidNamespace { private_proc: true },
        Control::V1 { memory: true, pids: true },
        Isolation { writes: Ok(7), network: Ok(()) },
    );
    assert!(done(&all).iter().all(Result::is_ok));
    let none = ground(
        Confinement::ProcessGroups { reason: refused() },
        Control::V1 { memory: true, pids: false },
        Isolation { writes: Err(refused()), network: Err(refused()) },
    );
    let whys = done(&none).map(Result::unwrap_err);
    assert!(whys[0].ends_with("controller pids can be made"), "{whys:?}");
    assert!(whys[1..].iter().all(|why| why.contains("not permitted")), "{whys:?}");
}
