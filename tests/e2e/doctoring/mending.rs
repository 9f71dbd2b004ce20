//! Where a run would fail, `kiln doctor` says so, and what mends it: not always is that a permission.

use std::fs;

use serde_json::Value;

use super::super::space::{RUN, Space};
use super::super::users::root;
use super::{JSON, WRITES, answer, check, in_namespace, missing, run_there};

/// What mends it, where the settings of a unit do not.
#[track_caller]
fn only_grant(report: &Value, name: &str) -> String {
    let check = check(report, name);
    assert_eq!(check["unit"], Value::Null, "{check:#}");
    check["grant"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_no_directory_is_no_state_directory() {
    let space = Space::with(WRITES);
    let (file, link) = (space.path("file"), space.path("link"));
    fs::write(&file, "thesis").unwrap();
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for (at, why, code) in [(&file, "is no directory", 2), (&link, "No such file or directory", 1)] {
        for state in [at.clone(), at.join("below")] {
            let kiln = |arguments: &[&str]| {
                let mut command = space.bare_command(arguments);
                command.arg(space.definition()).arg("--state").arg(&state);
                space.start_command(command).wait()
            };
            let report = kiln(&JSON).exits(5).json();
            let said = missing(&report, "state_directory", true, why);
            assert!(said.contains(&format!("`{}`", at.display())), "{said}");
            let grant = only_grant(&report, "state_directory");
            assert!(grant.starts_with("move it away; or --state"), "{grant}");
            let run = kiln(&RUN);
            assert!(run.status.code() == Some(code) || *at != state, "{}", run.stderr);
            assert!(!run.status.success());
        }
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "thesis");
    // A link that leads somewhere is as good as what it leads to.
    fs::create_dir(space.path("nowhere")).unwrap();
    let mut command = space.bare_command(&JSON);
    command.arg(space.definition()).arg("--state").arg(&link);
    assert_eq!(space.start_command(command).wait().exits(0).json()["ok"], true);
}

#[test]
fn where_the_disk_is_full_it_is_space_that_is_missing() {
    // Before anything is made and after; with no room at all and with too little for a ledger.
    for (made, room) in [(false, 0), (true, 0), (false, 24), (true, 24)] {
        let space = Space::with(WRITES);
        let disk = space.path("disk");
        fs::create_dir(&disk).unwrap();
        let make = if made { "run" } else { "true" };
        let lines = format!(
            "disk={0}; mount -t tmpfs -o size=4M none $disk; state=$disk/state\n{make}\nhead -c {room}K /dev/zero > $disk/room\ncat \
             /dev/zero > $disk/fill || true\nrm $disk/room\ndoctor\nrun\n",
            disk.display()
        );
        if in_namespace(&space, &lines).is_none() {
            return;
        }
        let (code, report) = answer(&space);
        assert_eq!((code, &report["ok"]), (5, &false.into()), "{made} {room}: {report:#}");
        missing(&report, "state_directory", true, "");
        let grant = only_grant(&report, "state_directory");
        assert!(grant.starts_with(&format!("free space (or inodes) on `{}`", disk.display())), "{grant}");
        if room == 0 {
            run_there(&space, "1");
        }
    }
}

#[test]
fn a_ledger_that_cannot_be_read_is_not_all_right() {
    let space = Space::with(WRITES);
    space.run(0);
    fs::write(space.state().join("ledger.sqlite"), "x".repeat(100_000)).unwrap();
    let report = space.kiln(&JSON).exits(5).json();
    assert_eq!(report["ok"], false);
    let why = report["unknown"].as_str().unwrap();
    assert!(why.contains("is damaged") && why.contains("kiln checkpoint restore"), "{why}");
    space.kiln(&RUN).exits(1).says(why);
    let said = space.kiln(&["doctor"]).exits(5).stdout;
    assert!(said.contains("what is there cannot be looked at"), "{said}");
    assert!(!said.contains("all that is needed is granted"), "{said}");
}

#[test]
fn users_and_tls_that_are_wanted_are_missed() {
    let space = Space::with(WRITES);
    let kiln = |arguments: &[&str]| {
        let mut command = space.command(arguments);
        command.env("KILN_SET_WEB_CONFIG_FILE", "/etc/web.yaml");
        space.start_command(command).wait()
    };
    let report = kiln(&JSON).exits(5).json();
    let why = missing(&report, "listen", true, "`web_config_file: /etc/web.yaml`");
    assert_eq!(only_grant(&report, "listen"), "unset it, or say --no-listen");
    kiln(&["run"]).exits(5).says(&why);
    kiln(&RUN).exits(0);
}

#[test]
fn a_build_user_that_is_nobody_has_to_be_another() {
    if !root("a_build_user_that_is_nobody_has_to_be_another") {
        return;
    }
    let space = Space::with(WRITES);
    let mut command = space.command(&JSON);
    command.env("KILN_SET_BUILD_USER", "nosuch");
    let report = space.start_command(command).wait().exits(5).json();
    missing(&report, "build_user", true, "no such user");
    let grant = only_grant(&report, "build_user");
    assert!(grant.contains("getent passwd") && !grant.contains("namei"), "{grant}");
}
