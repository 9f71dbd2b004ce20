//! Which directory may be a state directory, and whose.

use std::fs;
use std::process::Command;

use super::space::{Space, binary};

const ONE: &str = "package: one\nversion: 1\ntasks: {install: 'echo one > \"$DESTDIR/one\"'}\n";

#[test]
fn a_directory_with_files_of_somebody_else_is_no_state_directory() {
    let space = Space::with(ONE);
    let thesis = space.state().join("work/thesis");
    fs::create_dir_all(thesis.parent().unwrap()).unwrap();
    fs::write(&thesis, "").unwrap();
    for command in [&["run", "--no-listen"][..], &["fetch"], &["clean"], &["clean", "--all"]] {
        let ended = space.kiln(command);
        let code = if command[0] == "clean" { 0 } else { 2 };
        ended.exits(code);
    }
    space.run(2).says("not empty");
    assert!(thesis.exists());
    assert_eq!(fs::read_dir(space.state()).unwrap().count(), 1, "nothing was put beside it");
}

#[test]
fn an_empty_filesystem_is_a_state_directory_and_so_is_what_clean_all_leaves() {
    let space = Space::with(ONE);
    fs::create_dir_all(space.state().join("lost+found")).unwrap();
    space.run(0);
    space.kiln(&["clean", "--all"]).exits(0);
    assert!(space.state().join("lost+found").exists() && !space.state().join("sysroot").exists());
    space.run(0);
    assert!(space.sysroot().has("one"));
}

#[test]
fn the_state_of_another_definition_is_not_touched() {
    let space = Space::with(ONE);
    space.run(0);
    space.packages("package: two\nversion: 1\ntasks: {install: 'echo two > \"$DESTDIR/two\"'}\n");
    let document = fs::read_to_string(space.definition().join("kiln.yaml")).unwrap();
    space.document(&format!("name: other\n{document}"));
    space.run(2).says("`definition`").says("`other`");
    space.kiln(&["clean"]).exits(2);
    space.kiln(&["clean", "--all"]).exits(2);
    assert_eq!(space.sysroot().files(), ["one"]);
    space.document(&format!("name: definition\n{document}"));
    space.run(0);
    assert_eq!(space.sysroot().files(), ["two"]);
}

#[test]
fn whoever_only_looks_needs_to_write_nothing() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root");
        eprintln!("skipped: whoever_only_looks_needs_to_write_nothing needs root");
        return;
    }
    let space = Space::with(ONE);
    space.run(0);
    for command in ["status", "plan", "graph", "why one", "log one"] {
        let script = format!(
            "mount --bind {state} {state} && mount -o remount,bind,ro {state} && exec {kiln} {command} {definition} \
             --state {state}",
            state = space.state().display(),
            kiln = binary().display(),
            definition = space.definition().display(),
        );
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", &script]);
        // `one` has printed nothing.
        let code = if command == "log one" { 2 } else { 0 };
        space.start_command(shell).wait().exits(code);
    }
}
