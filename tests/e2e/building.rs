//! A definition is built, and built again after something has changed.

use super::space::Space;

/// The framework's form: three phases, groups, all kinds of dependencies.
pub(crate) const DOCUMENT: &str = r#"
build_phases:
  toolchain:
    name: "Toolchain Build"
    order: 1
    critical: true
    requirements: {disk_space: "1M", memory: "1M", toolchain: null}
    steps: [assembler, compiler]
  base_system:
    name: "Base System Build"
    order: 2
    critical: true
    requirements: {disk_space: "1M", memory: "1M", toolchain: "complete"}
    steps: [core_packages, config]
  desktop:
    name: "Desktop Environment"
    order: 3
    critical: false
    requirements: {disk_space: "1M", memory: "1M", toolchain: "complete"}
    steps: [applications]
error_recovery:
  automatic_recovery: {delay_between_attempts: 0}
  manual_intervention: {required_for: []}
"#;

pub(crate) const RECIPES: &str = r#"
package: core_packages
group: [shell, tools]
---
package: applications
group: [editor, viewer]
---
package: assembler
version: 2.42
tasks:
  build: echo assembled > as
  install: |
    mkdir -p "$DESTDIR/tools/bin"
    printf '#!/bin/sh\ncat\n' > "$DESTDIR/tools/bin/as"
    chmod 755 "$DESTDIR/tools/bin/as"
    cp as "$DESTDIR/tools/as.txt"
---
package: compiler
version: 14.1
build_deps: ["assembler >= 2.40"]
tasks:
  configure: test -x "$SYSROOT/tools/bin/as"
  build: echo compiled | as > cc     # from TOOLS, by PATH
  check: grep compiled cc
  install: mkdir -p "$DESTDIR/tools"; cp cc "$DESTDIR/tools/cc"; ln -s cc "$DESTDIR/tools/gcc"
provides: [tools/cc]
---
package: shell
version: 5.2
build_deps: [compiler]
runtime_deps: [tools]
tasks:
  install: mkdir -p "$DESTDIR/bin"; cat "$SYSROOT/tools/cc" > "$DESTDIR/bin/sh"; chmod 755 "$DESTDIR/bin/sh"
---
package: tools
version: 9.5
build_deps: [compiler]
optional_deps: [viewer]
tasks: {install: mkdir -p "$DESTDIR/bin"; echo ls > "$DESTDIR/bin/ls"}
---
package: config
version: 1
build_deps: [shell]
tasks: {install: 'test -e "$SYSROOT/bin/ls"; mkdir -m 700 -p "$DESTDIR/etc/private"'}
---
package: editor
version: 1:9.1~rc2
build_deps: [shell, "tools < 10"]
tasks: {install: mkdir -p "$DESTDIR/usr/bin"; echo vi > "$DESTDIR/usr/bin/vi"}
---
package: viewer
version: 3
tasks: {build: "true"}
"#;

fn built() -> Space {
    let space = Space::new();
    space.document(DOCUMENT);
    space.recipes(RECIPES);
    space.run(0);
    space
}

/// Replaces something of the recipes and runs again; the packages that were worked on.
#[track_caller]
fn worked_on_after(space: &Space, edit: impl FnOnce(String) -> String) -> Vec<String> {
    space.recipes(&edit(RECIPES.to_owned()));
    space.run(0);
    space.ledger().last_start().worked_on()
}

#[test]
fn a_definition_builds_in_the_order_of_its_phases_and_dependencies() {
    let space = built();
    let sysroot = space.sysroot();
    assert_eq!(sysroot.at("tools/as.txt"), "file 0644 assembled");
    assert_eq!(sysroot.at("tools/cc"), "file 0644 compiled");
    assert_eq!(sysroot.at("tools/gcc"), "symlink 0000 cc");
    assert_eq!(sysroot.at("bin/sh"), "file 0755 compiled");
    assert_eq!(sysroot.at("etc"), "directory 0755");
    assert_eq!(sysroot.at("etc/private"), "directory 0700");
    assert_eq!(
        sysroot.files(),
        ["bin/ls", "bin/sh", "tools/as.txt", "tools/bin/as", "tools/cc", "tools/gcc", "usr/bin/vi"]
    );

    let ledger = space.ledger();
    assert_eq!(ledger.all("phase_finished", "phase"), ["toolchain", "base_system", "desktop"]);
    let completed = ledger.all("package_completed", "package");
    assert_eq!(completed.len(), 7);
    assert_eq!(completed[..2], ["assembler", "compiler"]);
    assert_eq!(
        ledger.story("compiler"),
        ["configure 1", "build 1", "check 1", "install 1", "merge 1", "completed"]
    );
    assert_eq!(ledger.story("viewer"), ["build 1", "completed"]);
    assert_eq!(ledger.last()["state"], "completed");
}

#[test]
fn the_second_run_of_an_unchanged_definition_starts_nothing() {
    let space = built();
    let before = space.sysroot();
    space.run(0);
    let again = space.ledger().last_start();
    assert_eq!(again.worked_on(), [""; 0]);
    assert_eq!(again.only("decided")["reused"].as_array().unwrap().len(), 7);
    assert_eq!(again.of("run_started").count(), 1, "a completed run is over: this is another");
    space.sysroot().assert_identical(&before);
}

#[test]
fn a_changed_recipe_rebuilds_itself_and_its_dependents_alone() {
    let space = built();
    let changed = worked_on_after(&space, |recipes| recipes.replace("echo ls >", "echo list >"));
    // `shell` needs it to run, so those who build with `shell` do, too; `shell` itself does not.
    assert_eq!(changed, ["config", "editor", "tools"]);
    assert_eq!(space.sysroot().at("bin/ls"), "file 0644 list");

    let changed = worked_on_after(&space, |recipes| recipes.replace("version: 3", "version: 4"));
    assert_eq!(changed, ["config", "editor", "tools", "viewer"], "and `tools` is as it was before");
    assert_eq!(space.sysroot().at("bin/ls"), "file 0644 ls");
}

#[test]
fn what_only_the_document_says_rebuilds_nothing() {
    let space = built();
    space.document(&DOCUMENT.replace("critical: false", "critical: true").replace("1M", "2M"));
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);
}

#[test]
fn a_removed_recipe_takes_its_files_along() {
    let space = built();
    let without = |recipes: String| {
        let (before, after) = recipes.split_once("---\npackage: editor").unwrap();
        let (_, after) = after.split_once("---\n").unwrap();
        format!("{before}---\n{after}").replace("[editor, viewer]", "[viewer]")
    };
    assert_eq!(worked_on_after(&space, without), [""; 0]);
    let sysroot = space.sysroot();
    assert!(!sysroot.has("usr/bin/vi"));
    assert!(!sysroot.has("usr"), "nobody owns that directory any more");
    assert!(sysroot.has("bin/sh"));
    assert_eq!(space.ledger().only("package_removed")["package"], "editor");
}

#[test]
fn a_new_version_removes_what_the_old_one_alone_had() {
    let space = built();
    let changed = worked_on_after(&space, |recipes| {
        recipes
            .replace("version: 1:9.1~rc2", "version: 1:9.1")
            .replace("echo vi > \"$DESTDIR/usr/bin/vi\"", "echo vim > \"$DESTDIR/usr/bin/vim\"")
    });
    assert_eq!(changed, ["editor"]);
    let sysroot = space.sysroot();
    assert!(!sysroot.has("usr/bin/vi"));
    assert_eq!(sysroot.at("usr/bin/vim"), "file 0644 vim");
}

#[test]
fn files_that_somebody_took_from_the_sysroot_come_back_from_the_archive() {
    let space = built();
    let before = space.sysroot();
    std::fs::remove_file(space.state().join("sysroot/bin/ls")).unwrap();
    std::fs::write(space.state().join("sysroot/bin/sh"), "longer than it was").unwrap();
    space.run(0);
    space.sysroot().assert_identical(&before);
    let again = space.ledger().last_start();
    assert_eq!(again.story("tools"), ["merge 1", "completed"]);
    assert_eq!(again.story("shell"), ["merge 1", "completed"]);
    assert_eq!(again.worked_on(), ["shell", "tools"]);
}

#[test]
fn what_is_only_optional_and_failed_is_built_without_and_again_once_it_is_there() {
    let space = Space::with(
        r#"
package: documentation
version: 1
tasks: {build: test -e "$SYSROOT/allowed"}
---
package: program
version: 1
optional_deps: [documentation]
tasks: {install: mkdir -p "$DESTDIR/bin"; echo program > "$DESTDIR/bin/program"}
"#,
    );
    space.run(1); // its only phase is critical
    assert_eq!(space.ledger().story("program"), ["install 1", "merge 1", "completed"]);
    assert!(space.sysroot().has("bin/program"));
    std::fs::write(space.state().join("sysroot/allowed"), "").unwrap();
    space.run(0);
    let again = space.ledger().last_start();
    assert_eq!(again.worked_on(), ["documentation", "program"], "its archive was not taken for a whole one");
}
