//! `--phase`, `--package` and `--force`.

use super::space::{RUN, Space};

const DOCUMENT: &str = r"
build_phases:
  toolchain: {order: 1, steps: [compiler, debugger]}
  base: {order: 2, requirements: {toolchain: complete}, steps: [shell, editor]}
  desktop: {order: 3, steps: [browser]}
error_recovery: {automatic_recovery: {delay_between_attempts: 0}, manual_intervention: {required_for: []}}
";

fn space() -> Space {
    let space = Space::new();
    space.document(DOCUMENT);
    let recipe = |name: &str, more: &str| {
        format!("package: {name}\nversion: 1\n{more}tasks: {{install: 'date +%N > \"$DESTDIR/{name}\"'}}\n")
    };
    space.recipes(
        &[
            recipe("compiler", ""),
            recipe("debugger", ""),
            recipe("shell", "build_deps: [compiler]\n"),
            recipe("editor", "build_deps: [shell]\n"),
            recipe("browser", "runtime_deps: [shell]\n"),
        ]
        .join("---\n"),
    );
    space
}

fn run(space: &Space, arguments: &[&str]) -> Vec<String> {
    space.kiln(&[&RUN[..], arguments].concat()).exits(0);
    space.ledger().last_start().worked_on()
}

#[test]
fn a_phase_is_built_with_what_it_needs() {
    let space = space();
    assert_eq!(run(&space, &["--phase", "toolchain"]), ["compiler", "debugger"]);
    assert_eq!(run(&space, &["--phase", "base"]), ["editor", "shell"]);
    let ledger = space.ledger().last_start();
    assert_eq!(ledger.only("decided")["skipped"], serde_json::json!(["browser"]));
    assert_eq!(ledger.all("phase_finished", "outcome"), ["completed", "completed", "skipped"]);
    assert_eq!(run(&space, &[]), ["browser"]);
}

#[test]
fn a_package_is_built_with_what_it_needs() {
    let space = space();
    assert_eq!(run(&space, &["--package", "debugger"]), ["debugger"]);
    // Its phase requires the toolchain, all of it.
    assert_eq!(run(&space, &["--package", "shell"]), ["compiler", "shell"]);
    assert_eq!(run(&space, &["--package", "shell"]), [""; 0]);
    assert_eq!(run(&space, &[]), ["browser", "editor"]);
}

#[test]
fn what_is_not_selected_stays_as_it_is() {
    let space = space();
    run(&space, &[]);
    let before = space.sysroot();
    let file = space.definition().join("packages/all.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("package: browser\nversion: 1", "package: browser\nversion: 2"))
        .unwrap();
    assert_eq!(run(&space, &["--phase", "base"]), [""; 0]);
    space.sysroot().assert_identical(&before);
    assert_eq!(run(&space, &["--phase", "desktop"]), ["browser"]);
}

#[test]
fn a_forced_package_is_built_again_with_all_that_are_built_with_it() {
    let space = space();
    run(&space, &[]);
    let before = space.sysroot();
    // `browser` needs it to run only: nothing of it went into that.
    assert_eq!(run(&space, &["--force", "shell"]), ["editor", "shell"]);
    let after = space.sysroot();
    assert_eq!(after.at("compiler"), before.at("compiler"));
    assert_ne!(after.at("editor"), before.at("editor"));
    assert_eq!(run(&space, &[]), [""; 0]);
    // What is not selected is not built for it.
    assert_eq!(run(&space, &["--phase", "toolchain", "--force", "compiler"]), ["compiler"]);
}

#[test]
fn a_run_that_goes_on_is_planned_as_it_goes_on() {
    let space = space();
    run(&space, &[]);
    run(&space, &["--force", "shell"]);
    space.cut_ledger("task_finished", "shell", "merge");
    let plan = space.kiln(&["plan", "--json"]).exits(0).json();
    let decisions: Vec<_> = plan["packages"].as_array().unwrap().iter().map(|p| &p["decision"]).collect();
    assert_eq!(decisions, ["reuse", "reuse", "build", "build", "reuse"]);
    assert_eq!(run(&space, &[]), ["editor"]);
}

#[test]
fn a_name_that_is_not_there_is_a_mistake() {
    let space = space();
    for (flag, name) in [("--phase", "tolchain"), ("--package", "shel"), ("--force", "shel")] {
        space.kiln(&[&RUN[..], &[flag, name]].concat()).exits(2).says(name);
    }
    assert!(!space.state().join("ledger.sqlite").exists());
}
