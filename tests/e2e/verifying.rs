//! Strict dependencies: somebody writes into the sysroot while a run goes on, or a check has failed.

use std::fs::{self, File};

use super::space::{RUN, Space, one_phase};

/// `lib` installs a file, which `careless` overwrites with as many bytes and the same time, the first time that it runs; `app`
/// needs both. `more` is done by `careless`, too.
fn careless(space: &Space, more: &str) -> String {
    format!(
        r#"
package: lib
version: 1
tasks: {{install: 'mkdir "$DESTDIR/lib"; echo right > "$DESTDIR/lib/lib"; echo more > "$DESTDIR/lib/more"'}}
---
package: careless
version: 1
build_deps: [lib]
tasks:
  build: |
    test ! -e {here}/done || exit 0
    touch {here}/done
    touch -r "$SYSROOT/lib/lib" time
    echo wrong > "$SYSROOT/lib/lib"
    touch -r time "$SYSROOT/lib/lib"
    {more}
---
package: app
version: 1
build_deps: [lib, careless]
tasks: {{build: 'cat "$SYSROOT/lib/lib" > {here}/seen'}}
"#,
        here = space.here()
    )
}

fn verification(space: &Space) -> Vec<String> {
    let graph = space.kiln(&["graph"]).exits(0).json();
    let nodes = graph["nodes"].as_array().unwrap().iter();
    nodes
        .map(|node| format!("{} {}", word(node, "package_name"), word(node, "verification_status")))
        .collect()
}

fn word<'v>(node: &'v serde_json::Value, key: &str) -> &'v str {
    node[key].as_str().unwrap()
}

/// The document with other levels.
fn levels(space: &Space, recipes: &str, package_types: &str) {
    space.recipes(recipes);
    let document = one_phase(recipes, "")
        .replace("{method: parallel}", &format!("{{method: parallel}}, {package_types}"));
    space.document(&document);
}

#[test]
fn a_damaged_dependency_is_found_before_a_dependents_first_script_and_merged_again() {
    let space = Space::new();
    space.packages(&careless(&space, ""));
    space.run(0).says("lib: damaged in the sysroot: lib/lib has other bytes");
    let ledger = space.ledger();
    assert_eq!(ledger.story("app"), ["build 1", "build 1: broken_dependency", "build 2", "completed"]);
    assert_eq!(
        ledger.story("lib"),
        ["install 1", "merge 1", "completed", "package_damaged", "merge 1 again", "completed"]
    );
    let failure = &ledger.only("task_failed")["failure"];
    let evidence = failure["evidence"]["text"].as_str().unwrap();
    assert_eq!(evidence, "`lib`, which it needs, is damaged in the sysroot: `lib/lib` has other bytes");
    assert_eq!(space.read("seen"), "right\n");
    assert_eq!(space.sysroot().at("lib/lib"), "file 0644 right");
    assert_eq!(verification(&space), ["lib verified", "careless verified", "app verified"]);
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);
    assert_eq!(space.ledger().of("undone").count(), 0, "it has ended well");
}

#[test]
fn several_damaged_paths_are_counted() {
    let space = Space::new();
    space.packages(&careless(&space, "rm \"$SYSROOT/lib/more\""));
    space.run(0).says("`lib/lib` has other bytes, and 1 more path");
    assert_eq!(space.sysroot().files(), ["lib/lib", "lib/more"]);
}

#[test]
fn what_is_damaged_together_with_its_archive_is_built_again_and_waited_for() {
    let space = Space::new();
    let more = format!("for f in {}/packages/lib/*.zst; do echo >> $f; done", space.state().display());
    space.packages(&careless(&space, &more));
    space.run(0).says("and its archive is damaged, too");
    assert_eq!(
        space.ledger().story("app"),
        ["build 1", "build 1: broken_dependency", "build 2", "completed"]
    );
    let again = ["package_damaged", "install 2", "merge 2", "completed"];
    assert_eq!(space.ledger().story("lib"), [&["install 1", "merge 1", "completed"], &again[..]].concat());
    let status = space.kiln(&["status", "--json"]).exits(0).json();
    assert_eq!(status["progress"]["packages_completed"], 3, "{status}");
    assert_eq!(space.sysroot().at("lib/lib"), "file 0644 right");
    assert_eq!(verification(&space), ["lib verified", "careless verified", "app verified"]);
}

#[test]
fn at_normal_and_relaxed_nobody_looks() {
    for level in ["normal", "relaxed"] {
        let space = Space::new();
        let recipes = careless(&space, "");
        levels(&space, &recipes, &format!("package_types: {{build_deps: {{verification: {level}}}}}"));
        // Nor does a checkpoint.
        let document = space.definition().join("kiln.yaml");
        let text = fs::read_to_string(&document).unwrap();
        space.document(&(text + "\nprogress_tracking: {checkpoints: {verification: false}}\n"));
        space.run(0);
        let ledger = space.ledger();
        assert_eq!(ledger.story("app"), ["build 1", "completed"], "{level}");
        assert_eq!(ledger.of("verified").count(), 0, "{level}");
        assert_eq!(space.read("seen"), "wrong\n");
        // It is not called verified for that.
        assert_eq!(verification(&space), ["lib failed", "careless verified", "app verified"], "{level}");
    }
}

#[test]
fn what_is_needed_to_run_is_looked_at_where_runtime_deps_are_strict() {
    for (level, seen) in [("strict", "right\n"), ("normal", "wrong\n")] {
        let space = Space::new();
        let recipes = format!(
            "{}---\npackage: tool\nversion: 1\nruntime_deps: [lib]\ntasks: {{install: 'echo > \"$DESTDIR/tool\"'}}\n",
            careless(&space, "").replace("build_deps: [lib, careless]", "build_deps: [tool, careless]")
        );
        levels(&space, &recipes, &format!("package_types: {{runtime_deps: {{verification: {level}}}}}"));
        space.run(0);
        assert_eq!(space.read("seen"), seen, "{level}");
    }
}

/// `lib` has a check that may fail, and fails until there is a file `good`.
fn checked(space: &Space, more: &str) -> String {
    format!(
        "package: lib\nversion: 1\ntasks:\n  check: {{run: 'test -e {}/good', required: false}}\n  install: 'echo > \
         \"$DESTDIR/lib\"'\n---\npackage: app\nversion: 1\nbuild_deps: [lib]\n{more}tasks: {{build: 'true'}}\n",
        space.here()
    )
}

#[test]
fn a_failed_check_is_not_enough_for_strict_in_this_run_and_in_later_ones() {
    let space = Space::new();
    space.packages(&checked(&space, ""));
    for worked_on in [&["app", "lib"][..], &["app"]] {
        space
            .run(1)
            .says("the `check` of `lib`, which it needs at `strict`, failed")
            .says("accept_failed_check: true");
        let ledger = space.ledger().last_start();
        assert_eq!(ledger.worked_on(), worked_on);
        assert_eq!(ledger.story("app"), ["build 1", "build 1: broken_dependency", "failed"]);
        assert_eq!(verification(&space), ["lib failed", "app unverified"]);
    }
    // Merged again, it is what it was.
    fs::remove_file(space.state().join("sysroot/lib")).unwrap();
    space.run(1);
    assert_eq!(space.ledger().last_start().worked_on(), ["app", "lib"]);

    File::create(space.path("good")).unwrap();
    space.run(1);
    let force = [&RUN[..], &["--force", "lib"]].concat();
    space.kiln(&force).exits(0);
    assert_eq!(verification(&space), ["lib verified", "app verified"]);
}

#[test]
fn who_accepts_a_failed_check_is_built() {
    let space = Space::new();
    space.packages(&checked(&space, "accept_failed_check: true\n"));
    space.run(0);
    assert_eq!(verification(&space), ["lib failed", "app verified"]);
    // Whoever does not any more is told so, and nothing is built for it.
    space.packages(&checked(&space, ""));
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0], "it is built already");
}

#[test]
fn at_normal_a_failed_check_is_enough() {
    let space = Space::new();
    levels(&space, &checked(&space, ""), "package_types: {build_deps: {verification: normal}}");
    space.run(0);
    assert_eq!(verification(&space), ["lib failed", "app verified"]);
}

#[test]
fn what_was_changed_between_runs_is_found_though_size_and_time_are_right() {
    let space = Space::with("package: lib\nversion: 1\ntasks: {install: 'echo right > \"$DESTDIR/lib\"'}\n");
    assert_eq!(verification(&space), ["lib unverified"]);
    space.run(0);
    assert_eq!(verification(&space), ["lib verified"]);
    let file = space.state().join("sysroot/lib");
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "wrong\n").unwrap();
    File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    assert_eq!(verification(&space), ["lib failed"]);
    space.run(0);
    assert_eq!(space.ledger().last_start().all("task_started", "task"), ["merge"]);
    assert_eq!(space.sysroot().at("lib"), "file 0644 right");
    assert_eq!(verification(&space), ["lib verified"]);
}

#[test]
fn a_run_that_is_killed_while_something_is_put_right_leaves_nothing_half_done() {
    let space = Space::new();
    space.packages(&careless(&space, ""));
    space.run(0);
    space.cut_ledger("task_started", "lib", "merge");
    fs::write(space.state().join("sysroot/lib/lib"), "half").unwrap();
    space.run(0);
    assert_eq!(space.sysroot().files(), ["lib/lib", "lib/more"]);
    assert_eq!(space.sysroot().at("lib/lib"), "file 0644 right");
    assert_eq!(space.ledger().last_start().story("lib").last().unwrap(), "completed");
    // What was put right is not taken back at every start.
    space.run(0);
    assert_eq!(space.ledger().of("undone").count(), 1);
}
