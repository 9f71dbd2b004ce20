//! What changed the sysroot without ending well is taken back.

use std::fs;

use super::space::{RUN, Space};

/// `a` installs the file that is named first, `b` the other.
fn two(a: &str, b: &str) -> String {
    let recipe = |name: &str, path: &str| {
        format!(
            "package: {name}\nversion: 1\nbuild_deps: [DEPS]\ntasks:\n  install: |\n    cd \"$DESTDIR\"\n    mkdir -p \
             $(dirname {path}); echo {name} > {path}\n"
        )
    };
    format!("{}---\n{}", recipe("a", a).replace("DEPS", ""), recipe("b", b).replace("DEPS", "a"))
}

#[test]
fn a_merge_that_was_refused_is_refused_again() {
    let space = Space::with(&two("same", "same"));
    for _ in 0..3 {
        space.run(1).says("`same` belongs to `a`");
        assert_eq!(space.sysroot().at("same"), "file 0644 a");
    }
}

#[test]
fn a_merge_that_cannot_be_done_is_no_obstacle_once_the_recipe_is_mended() {
    let space = Space::with(&two("x/file", "x"));
    space.run(1);
    space.run(1);
    space.packages(&two("x/file", "y"));
    space.run(0);
    assert_eq!(space.sysroot().files(), ["x/file", "y"]);
    space.packages(&two("x/file", "x"));
    space.run(1);
    space.packages(two("x/file", "x").split_once("---").unwrap().0);
    space.run(0);
    assert_eq!(space.sysroot().files(), ["x/file"]);
}

const VERSIONS: [&str; 2] = [
    "package: p\nversion: 1\ntasks: {install: 'cd \"$DESTDIR\"; echo 1 > both; echo 1 > old'}\n",
    "package: p\nversion: 2\ntasks: {install: 'cd \"$DESTDIR\"; echo 2 > both; echo 2 > new'}\n",
];

/// The second version is merged over the first, and its ledger ends where that began.
fn cut_off() -> Space {
    let space = Space::with(VERSIONS[0]);
    space.run(0);
    space.packages(VERSIONS[1]);
    space.run(0);
    space.cut_ledger("task_started", "p", "merge");
    space
}

#[test]
fn a_merge_that_was_cut_off_is_done_again() {
    let space = cut_off();
    space.run(0);
    assert_eq!(space.ledger().last_start().all("task_started", "task"), ["merge"]);
    assert_eq!(space.sysroot().files(), ["both", "new"]);
}

#[test]
fn a_merge_that_was_cut_off_leaves_nothing_where_its_version_is_not_wanted_any_more() {
    let space = cut_off();
    space.packages(VERSIONS[0]);
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0], "the first version is there again");
    assert_eq!(space.sysroot().files(), ["both", "old"]);
    assert_eq!(space.sysroot().at("both"), "file 0644 1");
}

#[test]
fn a_merge_that_was_cut_off_leaves_nothing_where_its_package_is_not_wanted_any_more() {
    let space = cut_off();
    space.packages("package: other\nversion: 1\ntasks: {install: 'echo > \"$DESTDIR/other\"'}\n");
    space.run(0);
    assert_eq!(space.sysroot().files(), ["other"]);
}

#[test]
fn a_merge_that_was_cut_off_and_whose_archives_are_gone_is_built_again_without_leftovers() {
    let space = cut_off();
    fs::remove_dir_all(space.state().join("packages/p")).unwrap();
    space.run(0);
    assert_eq!(space.sysroot().files(), ["both", "new"]);
}

#[test]
fn a_package_whose_list_is_lost_leaves_nothing_behind() {
    let space = Space::with(VERSIONS[0]);
    space.run(0);
    for entry in fs::read_dir(space.state().join("packages/p")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "zst") {
            fs::write(path, "damaged").unwrap();
        }
    }
    space.packages(VERSIONS[1]);
    space.run(0);
    assert_eq!(space.sysroot().files(), ["both", "new"]);
}

#[test]
fn what_a_direct_package_leaves_when_it_fails_is_taken_back_before_it_is_tried_again() {
    let install = "test -e \"$SYSROOT/conf\" || echo conf > \"$SYSROOT/conf\"; echo $KILN_ATTEMPT > \
                   \"$SYSROOT/attempt.$KILN_ATTEMPT\"; echo spoilt > \"$SYSROOT/a\"; test $KILN_ATTEMPT = 2; echo a > \
                   \"$SYSROOT/a\"";
    let recipes = format!(
        "{}---\npackage: d\nversion: 1\ndirect: true\nbuild_deps: [a]\nreplaces: [a]\ntasks: {{install: '{install}'}}\n",
        two("a", "b")
    );
    let space = Space::with(&recipes);
    space.run(0);
    assert_eq!(space.sysroot().files(), ["a", "attempt.2", "b", "conf"]);
    // All of it is on the package's list.
    space.packages(&two("a", "b"));
    space.run(0);
    assert_eq!(space.sysroot().files(), ["a", "b"]);
    assert_eq!(space.sysroot().at("a"), "file 0644 a");
}

#[test]
fn what_a_direct_package_leaves_when_kiln_is_killed_is_taken_back() {
    let space = Space::new();
    let mut here = space.bell("here");
    let recipes = format!(
        "{}---\npackage: d\nversion: 1\ndirect: true\nbuild_deps: [a]\ntasks:\n  install: |\n    echo x > \
         \"$SYSROOT/x\"; rm \"$SYSROOT/a\"\n    echo here > {}; read x < {}\n",
        two("a", "b"),
        here.path(),
        space.gate("never").path()
    );
    space.packages(&recipes);
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    kiln.kill();
    assert!(space.sysroot().has("x") && !space.sysroot().has("a"));
    space.packages(&two("a", "b"));
    space.run(0);
    assert_eq!(space.sysroot().files(), ["a", "b"]);
    assert!(
        !space.ledger().last_start().worked_on().contains(&"a".to_owned()),
        "what it had removed is put back"
    );
}
