//! What a phase requires before it starts.

use super::space::{Space, one_phase};

const RECIPES: &str = r#"
package: a
version: 1
tasks: {install: touch "$DESTDIR/a"}
"#;

#[test]
fn a_first_phase_whose_requirements_are_not_met_starts_nothing() {
    for (requirement, name) in [("disk_space: 900000T", "disk_space"), ("memory: 900000T", "memory")] {
        let space = Space::new();
        space.recipes(RECIPES);
        space.document(&one_phase(RECIPES, &format!("    requirements: {{{requirement}}}\n")));
        space.run(5).says("main");
        let ledger = space.ledger();
        let unmet = ledger.only("requirement_unmet");
        assert_eq!((&unmet["phase"], &unmet["requirement"]), (&"main".into(), &name.into()));
        assert_eq!(unmet["required"], 900_000_u64 << 40);
        assert!(unmet["available"].as_u64().unwrap() > 0);
        assert_eq!(ledger.worked_on(), [""; 0]);

        // Nothing to build needs nothing to build it with.
        space.document(&one_phase(RECIPES, ""));
        space.run(0);
        space.document(&one_phase(RECIPES, &format!("    requirements: {{{requirement}}}\n")));
        space.run(0);
    }
}

#[test]
fn check_and_plan_do_not_look_at_requirements() {
    let space = Space::new();
    space.recipes(RECIPES);
    space.document(&one_phase(RECIPES, "    requirements: {disk_space: 900000T}\n"));
    space.kiln(&["plan"]).exits(0);
    let mut check = space.command(&["check"]);
    check.current_dir(space.definition());
    space.start_command(check).wait().exits(0);
}

const TOOLCHAIN: &str = r"
build_phases:
  toolchain: {order: 1, critical: false, steps: [compiler]}
  base: {order: 2, requirements: {toolchain: complete}, steps: [user]}
error_recovery:
  automatic_recovery: {enabled: false}
  manual_intervention: {required_for: []}
";

fn toolchain(compiler: &str) -> String {
    format!(
        "package: compiler\nversion: 1\ntasks: {{install: '{compiler}; echo cc > \"$DESTDIR/cc\"'}}\n---\npackage: \
         user\nversion: 1\ntasks: {{install: cp \"$SYSROOT/cc\" \"$DESTDIR/user\"}}\n"
    )
}

#[test]
fn a_phase_that_requires_the_toolchain_waits_for_all_of_it() {
    let space = Space::new();
    space.document(TOOLCHAIN);
    space.recipes(&toolchain("true"));
    space.run(0);
    // Nothing but the requirement orders these two.
    assert_eq!(space.ledger().all("package_completed", "package"), ["compiler", "user"]);
    assert_eq!(space.sysroot().at("user"), "file 0644 cc");
}

#[test]
fn without_a_toolchain_a_phase_that_requires_it_does_not_start() {
    let space = Space::new();
    space.document(TOOLCHAIN);
    space.recipes(&toolchain("false"));
    let ended = space.kiln(&["run", "--no-listen"]);
    assert_ne!(ended.status.code(), Some(0));
    let ledger = space.ledger();
    let unmet = ledger.only("requirement_unmet");
    assert_eq!((&unmet["phase"], &unmet["requirement"]), (&"base".into(), &"toolchain".into()));
    assert_eq!(ledger.story("user"), [""; 0]);
}

#[test]
fn a_damaged_archive_of_the_toolchain_is_built_again_before_it_is_required() {
    let space = Space::new();
    space.document(TOOLCHAIN);
    let recipes = |text: &str| {
        space.recipes(&format!(
            "package: compiler\nversion: 1\ntasks: {{install: echo cc > \"$DESTDIR/cc\"}}\n---\npackage: user\nversion: 1\nbuild_deps: [compiler]\ntasks: {{build: echo {text}}}\n"
        ));
    };
    recipes("one");
    space.run(0);
    let archives = space.state().join("packages/compiler");
    for entry in std::fs::read_dir(archives).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|extension| extension == "zst") {
            let mut bytes = std::fs::read(&entry).unwrap();
            bytes.push(0);
            std::fs::write(&entry, bytes).unwrap();
        }
    }
    // Nothing needs it: nothing is done.
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);
    recipes("two");
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), ["compiler", "user"]);
}

#[test]
fn nothing_is_served_to_all_where_users_were_wanted() {
    let space = Space::with("package: a\nversion: 1\ntasks: {build: 'true'}\n");
    let kiln = |arguments: &[&str]| {
        let mut command = space.command(arguments);
        command.env("KILN_SET_WEB_CONFIG_FILE", "/etc/kiln/web.yaml");
        space.start_command(command).wait()
    };
    kiln(&["run", "--listen", "127.0.0.1:0"]).exits(5).says("`web_config_file: /etc/kiln/web.yaml`");
    assert!(!space.state().exists(), "nothing was begun");
    kiln(&["run", "--no-listen"]).exits(0);
}
