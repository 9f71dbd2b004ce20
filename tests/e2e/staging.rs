//! From `DESTDIR` into the sysroot: who owns what, and what may not be installed.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::space::Space;

/// `second` is merged after `first`.
fn pair(first: &str, second: &str, more: &str) -> String {
    format!(
        "package: first\nversion: 1\ntasks:\n  install: |\n    {first}\n---\npackage: second\nversion: 1\nbuild_deps: \
         [first]\n{more}tasks:\n  install: |\n    {second}\n"
    )
}

/// What became of a package with this `install` and these further keys: how it ended, and the evidence.
fn alone(install: &str, more: &str, code: i32) -> (Space, String) {
    let space = Space::with(&format!("package: p\nversion: 1\n{more}tasks:\n  install: |\n    {install}\n"));
    space.run(code);
    let ledger = space.ledger();
    let evidence = ledger.of("task_failed").next_back().map(|record| record["failure"].to_string());
    (space, evidence.unwrap_or_default())
}

const FILE: &str = "mkdir \"$DESTDIR/bin\"; echo NAME > \"$DESTDIR/bin/tool\"";

#[test]
fn two_packages_with_the_same_path_are_a_configuration_error_that_names_both() {
    let space = Space::with(&pair(&FILE.replace("NAME", "1"), &FILE.replace("NAME", "2"), ""));
    space.run(1).says("second").says("`bin/tool` belongs to `first`");
    assert_eq!(
        space.ledger().story("second"),
        ["install 1", "merge 1", "merge 1: configuration_error", "failed"],
        "and is not tried again"
    );
    assert_eq!(space.sysroot().at("bin/tool"), "file 0644 1");
}

#[test]
fn replaces_takes_a_path_over_and_gives_it_back() {
    let space =
        Space::with(&pair(&FILE.replace("NAME", "1"), &FILE.replace("NAME", "2"), "replaces: [first]\n"));
    space.run(0);
    assert_eq!(space.sysroot().at("bin/tool"), "file 0644 2");
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0], "`first` does not miss it");

    let alone = pair(&FILE.replace("NAME", "1"), "", "");
    space.packages(alone.split_once("---").unwrap().0);
    space.run(0);
    assert_eq!(space.sysroot().at("bin/tool"), "file 0644 1");
}

/// `old` has `shared` and `mine`; `new` takes `shared` over.
fn old_and_new(version: u32, more: &str) -> String {
    format!(
        "package: old\nversion: {version}\ntasks: {{install: 'cd \"$DESTDIR\"; echo old{version} | tee shared > mine'}}\n---\n\
         package: new\nversion: 1\n{more}replaces: [old]\ntasks: {{install: 'echo new > \"$DESTDIR/shared\"'}}\n"
    )
}

#[test]
fn what_was_taken_over_stays_so_when_its_old_owner_is_repaired_or_built_again() {
    let space = Space::with(&old_and_new(1, "build_deps: [old]\n"));
    space.run(0);
    let whole = space.sysroot();
    fs::write(space.state().join("sysroot/mine"), "junk").unwrap();
    space.run(0);
    space.sysroot().assert_identical(&whole);
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);

    let space = Space::with(&old_and_new(1, ""));
    space.run(0);
    space.packages(&old_and_new(2, ""));
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), ["old"]);
    let sysroot = space.sysroot();
    assert_eq!((sysroot.at("shared"), sysroot.at("mine")), ("file 0644 new", "file 0644 old2"));
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);
}

#[test]
fn what_replaces_another_does_so_even_if_it_comes_first() {
    let recipes =
        old_and_new(1, "").replace("package: old\nversion: 1", "package: old\nversion: 1\nbuild_deps: [new]");
    let space = Space::with(&recipes);
    space.run(0);
    let sysroot = space.sysroot();
    assert_eq!((sysroot.at("shared"), sysroot.at("mine")), ("file 0644 new", "file 0644 old1"));
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);
}

#[test]
fn a_file_may_move_from_one_package_to_another() {
    let recipes = |first: &str, second: &str| {
        pair(&format!("echo x > \"$DESTDIR/{first}\""), &format!("echo y > \"$DESTDIR/{second}\""), "")
    };
    let space = Space::with(&recipes("f", "x"));
    space.run(0);
    space.packages(&recipes("x", "y"));
    space.run(0);
    assert_eq!(space.sysroot().files(), ["x", "y"]);
    assert_eq!(space.sysroot().at("x"), "file 0644 x");
    // Where it stays there, too, that is found when the other one is merged again.
    space.packages(&recipes("y", "y"));
    space.run(1).says("`y` belongs to `first`");
}

#[test]
fn setuid_files_and_devices_have_to_be_declared() {
    let setuid = "touch \"$DESTDIR/su\"; chmod 4755 \"$DESTDIR/su\"";
    let (space, failure) = alone(setuid, "", 1);
    assert!(failure.contains("security_violation") && failure.contains("`su`"), "{failure}");
    assert_eq!(space.ledger().story("p").len(), 3, "once");
    assert_eq!(space.sysroot().files(), [""; 0]);

    let (space, _) = alone(setuid, "privileged: [su]\n", 0);
    assert_eq!(space.sysroot().at("su"), "file 4755");

    let (space, failure) = alone("touch \"$DESTDIR/su\"; chmod 2755 \"$DESTDIR/su\"", "", 1);
    assert!(failure.contains("security_violation"), "{failure}");
    assert_eq!(space.ledger().story("p").len(), 3, "once");

    if rustix::process::geteuid().is_root() {
        let (space, failure) = alone("mknod \"$DESTDIR/null\" c 1 3", "", 1);
        assert!(failure.contains("security_violation"), "{failure}");
        assert_eq!(space.ledger().story("p").len(), 3, "once");
    }
}

#[test]
fn what_a_recipe_says_it_provides_has_to_be_there() {
    let install = FILE.replace("NAME", "x");
    let (_, failure) = alone(&install, "provides: [bin/tool, bin/other]\n", 1);
    assert!(failure.contains("configuration_error") && failure.contains("bin/other"), "{failure}");
    alone(&install, "provides: [bin/tool]\n", 0);
}

#[test]
fn a_symlink_is_only_text_wherever_it_points() {
    let (space, _) = alone(
        "ln -s /etc/passwd \"$DESTDIR/absolute\"; ln -s ../../../.. \"$DESTDIR/up\"; ln -s nothing \"$DESTDIR/x\"",
        "provides: [x]\n",
        0,
    );
    let sysroot = space.sysroot();
    assert_eq!(sysroot.at("absolute"), "symlink 0000 /etc/passwd");
    assert_eq!(sysroot.at("up"), "symlink 0000 ../../../..");
    assert_eq!(sysroot.at("x"), "symlink 0000 nothing");
}

#[test]
fn nothing_is_installed_through_a_symlink_of_another_package() {
    for target in ["OUTSIDE", "../../outside", "real"] {
        let space = Space::new();
        let outside = space.path("outside");
        fs::create_dir(&outside).unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
        let target = target.replace("OUTSIDE", &outside.display().to_string());
        space.packages(&pair(
            &format!("mkdir \"$DESTDIR/real\"; ln -s {target} \"$DESTDIR/lib\""),
            "mkdir \"$DESTDIR/lib\"; touch \"$DESTDIR/lib/escaped\"",
            "",
        ));
        space.run(1);
        assert_eq!(space.ledger().story("second").last().unwrap(), "failed");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(space.sysroot().at("lib"), format!("symlink 0000 {target}"));
        assert!(!space.sysroot().has("real/escaped"));
    }
}

#[test]
fn a_destdir_that_became_a_symlink_is_a_security_violation() {
    let (space, failure) =
        alone("rmdir \"$DESTDIR\"; mkdir ../other; touch ../other/file; ln -s other \"$DESTDIR\"", "", 1);
    assert!(failure.contains("security_violation"), "{failure}");
    assert_eq!(space.ledger().story("p").len(), 3, "once");
    assert_eq!(space.sysroot().files(), [""; 0]);
}

#[test]
fn a_package_that_no_longer_installs_anything_leaves_nothing() {
    let (space, _) = alone("echo > \"$DESTDIR/old\"", "", 0);
    space.packages("package: p\nversion: 1\ntasks: {build: 'true'}\n");
    space.run(0);
    assert_eq!(space.sysroot().files(), [""; 0]);
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);
}

#[test]
fn a_source_that_leaves_its_directory_is_a_security_violation() {
    let space = Space::new();
    let tree = space.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("escaped"), "!").unwrap();
    let path = space.path("evil.tar");
    let tar = std::process::Command::new("tar")
        .args(["-cf"])
        .arg(&path)
        .args(["--transform", "s,escaped,../../escaped,", "-P", "escaped"])
        .current_dir(&tree)
        .status()
        .unwrap();
    assert!(tar.success());
    let source = space.source("evil.tar", &fs::read(&path).unwrap());
    space.packages(&format!("package: p\nversion: 1\n{}tasks: {{build: 'true'}}\n", source.as_sources()));
    space.run(1);
    assert_eq!(space.ledger().story("p"), ["fetch 1", "unpack 1", "unpack 1: security_violation", "failed"]);
    assert!(!space.state().join("escaped").exists() && !space.state().join("work/escaped").exists());
}

#[test]
fn an_owner_that_the_recipe_names_is_set() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root");
        eprintln!("skipped: an_owner_that_the_recipe_names_is_set needs root");
        return;
    }
    let (space, _) = alone(
        "mkdir -p \"$DESTDIR/var/mail\"; chmod 2775 \"$DESTDIR/var/mail\"",
        "privileged: [var/mail]\nowners: {var/mail: 'root:mail', var: '7:7'}\n",
        0,
    );
    let mail = space.sysroot().at("var/mail").to_owned();
    assert!(mail.starts_with("directory 2775 0:"), "{mail}");
    assert_eq!(space.sysroot().at("var"), "directory 0755 7:7");
}

#[test]
fn modes_hard_links_and_odd_names_survive() {
    let (space, _) = alone(
        "cd \"$DESTDIR\"; mkdir -m 1777 tmp; touch a; chmod 400 a; ln a b; mkdir -m 500 closed; touch -- 'with space' \
         -dash; echo x > \"$(printf 'new\\nline')\"; mkfifo -m 600 fifo",
        "",
        0,
    );
    let sysroot = space.sysroot();
    assert_eq!(sysroot.at("tmp"), "directory 1777");
    assert_eq!(sysroot.at("a"), "file 0400");
    assert_eq!(sysroot.at("closed"), "directory 0500");
    assert_eq!(sysroot.at("new\nline"), "file 0644 x");
    assert_eq!(sysroot.at("fifo"), "fifo 0600");
    assert!(sysroot.has("with space") && sysroot.has("-dash"));
    let inode = |name: &str| space.state().join("sysroot").join(name).metadata().unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
}

#[test]
fn a_direct_package_writes_into_the_sysroot_and_owns_what_it_wrote() {
    let recipes = pair(
        "mkdir \"$DESTDIR/etc\"; echo first > \"$DESTDIR/etc/first\"",
        "test \"$DESTDIR\" = \"$SYSROOT\"; echo cache > \"$SYSROOT/etc/ld.so.cache\"; mkdir \"$SYSROOT/var\"",
        "direct: true\n",
    );
    let space = Space::with(&recipes);
    space.run(0);
    let sysroot = space.sysroot();
    assert_eq!(sysroot.at("etc/ld.so.cache"), "file 0644 cache");
    assert_eq!(sysroot.at("var"), "directory 0755");
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);

    // It is taken out, and put back from its archive, like any other.
    fs::remove_file(space.state().join("sysroot/etc/ld.so.cache")).unwrap();
    space.run(0);
    space.sysroot().assert_identical(&sysroot);
    space.packages(recipes.split_once("---").unwrap().0);
    space.run(0);
    assert_eq!(space.sysroot().files(), ["etc/first"]);
    assert!(!space.sysroot().has("var"));
}

#[test]
fn a_direct_package_may_not_touch_what_belongs_to_another() {
    let recipes = pair(
        "echo first > \"$DESTDIR/first\"",
        "echo second > \"$SYSROOT/first\"; echo second > \"$SYSROOT/second\"",
        "direct: true\n",
    );
    let space = Space::with(&recipes);
    space.run(1).says("`first` belongs to `first`");
    assert_eq!(space.ledger().story("second").last().unwrap(), "failed");
    space.packages(&recipes.replace("echo second > \"$SYSROOT/first\"", "true"));
    space.run(0);
    assert_eq!(space.sysroot().at("first"), "file 0644 first", "the next run puts it right");
    assert_eq!(space.sysroot().at("second"), "file 0644 second");
}

#[test]
fn a_chain_of_replaces_ends_the_same_whoever_of_it_is_built_again() {
    let file = |name: &str, also: &str| {
        format!("tasks: {{install: 'for f in {name} {also}; do echo {name} > \"$DESTDIR/$f\"; done'}}\n")
    };
    let space = Space::with(
        &[
            format!("package: a\nversion: 1\n{}", file("a", "")),
            format!("package: b\nversion: 1\nbuild_deps: [a]\nreplaces: [a]\n{}", file("b", "a")),
            format!("package: c\nversion: 1\nbuild_deps: [b]\nreplaces: [b]\n{}", file("c", "b")),
        ]
        .join("---\n"),
    );
    space.run(0);
    let whole = space.sysroot();
    assert!(whole.at("a").contains('b') && whole.at("b").contains('c'), "{whole:?}");
    for lost in [&["a", "b"][..], &["b"], &["a"], &["b", "c"], &["a", "c"], &["a", "b", "c"]] {
        for name in lost {
            for entry in fs::read_dir(space.state().join("packages").join(name)).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        space.run(0);
        space.sysroot().assert_identical(&whole);
        space.run(0);
        assert!(space.ledger().last_start().worked_on().is_empty(), "{lost:?}");
        space.sysroot().assert_identical(&whole);
    }
}
