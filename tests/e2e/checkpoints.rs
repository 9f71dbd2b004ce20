//! Checkpoints: when they are taken, what they keep, what they find, and what is trusted because of them.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::space::{RUN, Space, one_phase};

/// `count` packages `p01`, `p02`, … , each after the one before, that install a file of their own.
fn chain(count: usize) -> String {
    let recipe = |n: usize| {
        let needs = if n > 1 { format!("build_deps: [p{:02}]\n", n - 1) } else { String::new() };
        format!(
            "package: p{n:02}\nversion: 1\n{needs}tasks: {{install: 'mkdir \"$DESTDIR/etc\"; echo {n} of many > \
             \"$DESTDIR/etc/p{n:02}\"'}}\n"
        )
    };
    (1..=count).map(recipe).collect::<Vec<_>>().join("---\n")
}

fn with_checkpoints(space: &Space, recipes: &str, more: &str) {
    space.recipes(recipes);
    space.document(&format!("{}progress_tracking: {{checkpoints: {{{more}}}}}\n", one_phase(recipes, "")));
}

fn documents(space: &Space) -> Vec<u32> {
    let entries = fs::read_dir(space.state().join("checkpoints")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut numbers: Vec<u32> =
        names.filter_map(|name| Some(name.strip_suffix(".json")?.parse().unwrap())).collect();
    numbers.sort_unstable();
    numbers
}

fn document(space: &Space, number: u32) -> Value {
    let text = fs::read(space.state().join(format!("checkpoints/{number}.json"))).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["checkpoint"].take()
}

/// The only file of a package with this ending below `packages` or `checkpoints/archives`.
#[track_caller]
fn file(space: &Space, below: &str, package: &str, end: &str) -> PathBuf {
    let entries = fs::read_dir(space.state().join(below).join(package)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = paths.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Flips a bit in the middle of a file; size and mtime stay.
fn flip(path: &Path) {
    let before = path.metadata().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(before.modified().unwrap()).unwrap();
}

#[test]
fn taken_every_so_many_packages_and_at_the_end_of_each_phase() {
    let space = Space::new();
    let recipes = chain(4);
    space.recipes(&recipes);
    space.document(
        "build_phases:\n  first: {order: 1, steps: [p01, p02, p03]}\n  second: {order: 2, steps: [p04]}\n\
         progress_tracking: {checkpoints: {frequency: 2}}\n",
    );
    space.run(0).says("checkpoint 1 (full): covers 2 packages, read back");
    let ledger = space.ledger();
    let taken: Vec<String> = ledger
        .of("checkpoint_taken")
        .map(|it| format!("{} {} {} {}", it["checkpoint"], it["kind"], it["phase"], it["packages"]))
        .collect();
    assert_eq!(
        taken,
        [
            r#"1 "full" null ["p01","p02"]"#,
            r#"2 "incremental" "first" ["p03"]"#,
            r#"3 "incremental" "second" ["p04"]"#
        ]
    );
    assert!(ledger.of("checkpoint_taken").all(|it| it["verified"] == true));
    assert_eq!(ledger.last()["record"], "run_ended", "it does not end before the last one");
    assert_eq!(documents(&space), [1, 2, 3]);
    let second = document(&space, 2);
    assert_eq!((&second["base"], &second["phase"]), (&1.into(), &"first".into()));
    // No copies.
    let (own, kept) = (
        file(&space, "packages", "p03", ".tar.zst"),
        file(&space, "checkpoints/archives", "p03", ".tar.zst"),
    );
    assert_eq!(own.metadata().unwrap().ino(), kept.metadata().unwrap().ino());
    let list = space.kiln(&["checkpoint", "list", "--json"]).exits(0).json();
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert_eq!((&list[2]["packages"], &list[2]["kept"]), (&serde_json::json!(["p04"]), &true.into()));
    space.kiln(&["checkpoint", "list"]).exits(0);
    // Nothing new: nothing to cover.
    space.run(0);
    assert_eq!(space.ledger().of("checkpoint_taken").count(), 3);
    // What is not needed any more is deleted, what checkpoints keep is not.
    space.recipes(&recipes.replace("4 of many", "four of many"));
    space.run(0);
    space.kiln(&["clean", "--archives"]).exits(0);
    let kept = fs::read_dir(space.state().join("checkpoints/archives/p04")).unwrap().count();
    assert_eq!(kept, 4, "archive and manifest, old and new");
    space.kiln(&["clean", "--all"]).exits(0);
    assert!(!space.state().join("checkpoints").exists());
}

#[test]
fn older_ones_are_folded_into_the_next() {
    let space = Space::new();
    let recipe = |n: usize| {
        format!(
            "package: p{n:02}\nversion: 1\ntasks: {{install: 'mkdir \"$DESTDIR/etc\"; echo > \"$DESTDIR/etc/p{n:02}\"'}}\n"
        )
    };
    let recipes = |which: &[usize]| which.iter().map(|n| recipe(*n)).collect::<Vec<_>>().join("---\n");
    // Each run has a package more, and so a checkpoint.
    for n in 1..=10 {
        space.packages(&recipes(&(1..=n).collect::<Vec<_>>()));
        space.run(0);
    }
    assert_eq!(documents(&space), [3, 4, 5, 6, 7, 8, 9, 10]);
    let names = |document: &Value| -> Vec<String> {
        let packages = document["packages"].as_array().unwrap().iter();
        packages.map(|package| package["package"].as_str().unwrap().to_owned()).collect()
    };
    let first = document(&space, 3);
    assert_eq!((&first["kind"], &first["base"]), (&"full".into(), &Value::Null));
    assert_eq!(names(&first), ["p01", "p02", "p03"], "it covers what those before it did");
    // What is not wanted any more is not in the sysroot, and the next one says so.
    space.packages(&recipes(&[1, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
    space.run(0);
    let newest = document(&space, 11);
    assert_eq!((names(&newest), &newest["removed"]), (vec!["p11".to_owned()], &serde_json::json!(["p02"])));
    assert_eq!(names(&document(&space, 4)), ["p01", "p02", "p03", "p04"]);
    let list = space.kiln(&["checkpoint", "list", "--json"]).exits(0).json();
    let kept: Vec<&Value> = list.as_array().unwrap().iter().map(|row| &row["kept"]).collect();
    assert_eq!(kept, [&[false; 3][..], &[true; 8][..]].concat());
    let answer = space.kiln(&["checkpoint", "verify", "--json"]).exits(0).json();
    let read = (&answer["checkpoints"], &answer["packages"], &answer["archives"]);
    assert_eq!(read, (&8.into(), &10.into(), &11.into()), "of p02 there is an archive still: {answer}");
    // Nobody needs that but who goes back to where it was wanted.
    flip(&file(&space, "checkpoints/archives", "p02", ".tar.zst"));
    assert_eq!(verify(&space, 0), ["p02: dropped"]);
    assert_eq!(names(&document(&space, 4)), ["p01", "p03", "p04"]);
    assert_eq!(verify(&space, 0), [""; 0]);
}

/// `careless` writes over a file of `lib` while it is built.
fn careless(space: &Space) -> String {
    format!(
        r#"
package: lib
version: 1
tasks: {{install: 'mkdir "$DESTDIR/lib"; echo right > "$DESTDIR/lib/lib"'}}
---
package: careless
version: 1
build_deps: [lib]
tasks:
  build: |
    touch -r "$SYSROOT/lib/lib" stamp
    echo wrong > "{state}/sysroot/lib/lib"
    touch -r stamp "{state}/sysroot/lib/lib"
"#,
        state = space.state().display()
    )
}

#[test]
fn what_is_read_back_damaged_is_merged_again_before_the_run_ends() {
    let space = Space::new();
    let recipes = careless(&space);
    space.recipes(&recipes);
    let document = one_phase(&recipes, "").replace(
        "{method: parallel}",
        "{method: parallel}, package_types: {build_deps: {verification: normal}}",
    );
    space.document(&(document + "settings: {sandbox: off}\n"));
    space.run(0).says("checkpoint 1 failed: `lib` is damaged: `lib/lib` has other bytes");
    let ledger = space.ledger();
    assert_eq!(ledger.only("package_damaged")["package"], "lib");
    assert_eq!(ledger.only("checkpoint_taken")["checkpoint"], 2);
    assert_eq!(ledger.only("checkpoint_taken")["packages"], serde_json::json!(["careless", "lib"]));
    assert_eq!(fs::read_to_string(space.state().join("sysroot/lib/lib")).unwrap(), "right\n");
    assert_eq!(documents(&space), [2], "nothing is left of the first");
}

#[test]
fn after_a_kill_what_a_checkpoint_covers_is_trusted_and_the_rest_is_read() {
    let space = Space::new();
    let (mut here, gate) = (space.bell("here"), space.gate("gate"));
    let last = format!(
        "---\npackage: last\nversion: 1\nbuild_deps: [p04]\ntasks: {{build: 'if mkdir {here}/once; then echo > {bell}; read x < \
         {gate}; fi'}}\n",
        here = space.here(),
        bell = here.path(),
        gate = gate.path()
    );
    // The first phase in a run of its own: nobody could tell whether its checkpoint is there when kiln is killed later.
    space.packages(&chain(2));
    let first = "build_phases:\n  first: {order: 1, steps: [p01, p02]}\n";
    space.document(&format!("{first}settings: {{sandbox: off}}\n"));
    space.run(0);
    space.recipes(&(chain(4) + &last));
    space.document(&format!(
        "{first}  second: {{order: 2, steps: [p03, p04, last]}}\nsettings: {{sandbox: off}}\n"
    ));
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    kiln.kill();
    let reasons = |expected: [&str; 4]| {
        let plan = space.kiln(&["plan", "--json"]).exits(0).json();
        let reasons = plan["packages"].as_array().unwrap().iter().map(|row| row["reason"].as_str().unwrap());
        assert_eq!(reasons.take(4).collect::<Vec<_>>(), expected);
    };
    let trusted = "trusted: covered by checkpoint 1, and unchanged";
    let verified = "verified: no checkpoint covers it; its files were read, and are right";
    reasons([trusted, trusted, verified, verified]);
    let merged = "merged again: its files in the sysroot are damaged, and its archive is intact";
    flip(&space.state().join("sysroot/etc/p02"));
    flip(&space.state().join("sysroot/etc/p03"));
    reasons([trusted, merged, merged, verified]);
    let built = "built again: its files in the sysroot are damaged, and its archive is damaged or gone";
    flip(&file(&space, "packages", "p03", ".tar.zst"));
    reasons([trusted, merged, built, verified]);
    space.kiln(&["why", "p03"]).exits(0);
    space.run(0);
    let resumed = space.ledger().last_start();
    assert_eq!(resumed.all("package_completed", "package"), ["p02", "p03", "last"]);
    for n in 1..=4 {
        let text = fs::read_to_string(space.state().join(format!("sysroot/etc/p{n:02}"))).unwrap();
        assert_eq!(text, format!("{n} of many\n"));
    }
    reasons([
        trusted,
        "trusted: covered by checkpoint 2, and unchanged",
        "trusted: covered by checkpoint 3, and unchanged",
        "trusted: covered by checkpoint 2, and unchanged",
    ]);
}

#[test]
fn what_a_killed_kiln_left_of_one_is_deleted_at_the_next_start() {
    let space = Space::new();
    with_checkpoints(&space, &chain(2), "frequency: 5");
    space.run(0);
    let checkpoints = space.state().join("checkpoints");
    let archives = checkpoints.join("archives");
    fs::copy(checkpoints.join("1.json"), checkpoints.join("2.json")).unwrap();
    fs::write(checkpoints.join("3.json.tmp"), "half").unwrap();
    fs::write(archives.join("p01/stray.tar.zst"), "nobody's").unwrap();
    let kept = file(&space, "checkpoints/archives", "p02", ".tar.zst");
    space.run(0);
    assert_eq!(documents(&space), [1]);
    assert!(!checkpoints.join("3.json.tmp").exists());
    assert!(!archives.join("p01/stray.tar.zst").exists());
    assert!(kept.exists());
    space.kiln(&["checkpoint", "verify"]).exits(0);
}

/// What `kiln checkpoint verify` says, as `PACKAGE or CHECKPOINT: ACTION`.
#[track_caller]
fn verify(space: &Space, code: i32) -> Vec<String> {
    let answer = space.kiln(&["checkpoint", "verify", "--json"]).exits(code).json();
    let damage = answer["damage"].as_array().unwrap().iter();
    let about =
        |it: &Value| it["package"].as_str().map_or_else(|| it["checkpoint"].to_string(), str::to_owned);
    damage.map(|it| format!("{}: {}", about(it), it["action"].as_str().unwrap())).collect()
}

#[test]
fn verify_finds_every_flipped_bit_and_repairs_what_can_be() {
    let space = Space::new();
    with_checkpoints(&space, &chain(4), "frequency: 2");
    space.kiln(&["checkpoint", "list"]).exits(2);
    space.kiln(&["checkpoint", "verify"]).exits(2);
    space.run(0);
    let whole = space.sysroot();
    assert_eq!(verify(&space, 0), [""; 0]);
    // Files of the sysroot.
    flip(&space.state().join("sysroot/etc/p01"));
    fs::remove_file(space.state().join("sysroot/etc/p04")).unwrap();
    assert_eq!(verify(&space, 0), ["p01: repaired", "p04: repaired"]);
    space.sysroot().assert_identical(&whole);
    assert_eq!(verify(&space, 0), [""; 0]);
    // An archive of which there is another copy, either way; its manifest as well.
    let own = file(&space, "packages", "p02", ".tar.zst");
    let kept = file(&space, "checkpoints/archives", "p02", ".tar.zst");
    for (which, other) in [(&own, &kept), (&kept, &own)] {
        fs::remove_file(which).unwrap();
        fs::copy(other, which).unwrap();
        flip(which);
        assert_eq!(verify(&space, 0), ["p02: repaired"]);
        assert_eq!(fs::read(&own).unwrap(), fs::read(&kept).unwrap());
    }
    let (own, kept) = (
        file(&space, "packages", "p02", ".manifest"),
        file(&space, "checkpoints/archives", "p02", ".manifest"),
    );
    fs::remove_file(&own).unwrap();
    fs::copy(&kept, &own).unwrap();
    flip(&own);
    assert_eq!(verify(&space, 0), ["p02: repaired"]);
    // Documents: the last is written anew, the first cannot be.
    flip(&space.state().join("checkpoints/2.json"));
    assert_eq!(verify(&space, 0), ["2: repaired"]);
    assert_eq!(
        (&document(&space, 2)["kind"], document(&space, 2)["packages"].as_array().unwrap().len()),
        (&"full".into(), 4)
    );
    flip(&space.state().join("checkpoints/1.json"));
    assert_eq!(verify(&space, 0), ["1: dropped"]);
    assert_eq!(verify(&space, 0), [""; 0]);
    space.run(0);
    assert_eq!(space.ledger().last_start().of("task_started").count(), 0, "nothing intact is done again");
}

#[test]
fn what_is_missing_beside_is_linked_again() {
    let space = Space::new();
    with_checkpoints(&space, &chain(2), "frequency: 10");
    space.run(0);
    let beside = || {
        let dir = space.state().join("checkpoints/archives/p01");
        let mut inodes: Vec<u64> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().ino()).collect();
        inodes.sort_unstable();
        inodes
    };
    let both = beside();
    assert_eq!(both.len(), 2);
    let (own, kept) = (
        file(&space, "packages", "p01", ".tar.zst"),
        file(&space, "checkpoints/archives", "p01", ".tar.zst"),
    );
    fs::remove_file(&kept).unwrap();
    assert_eq!(verify(&space, 0), [""; 0]);
    assert_eq!(beside(), both, "the same two, and nothing else");
    // Killed while it linked a kept one anew: that has two more names.
    let whole = fs::read(&own).unwrap();
    let mut between = kept.clone().into_os_string();
    between.push(".tmp");
    fs::hard_link(&own, &between).unwrap();
    fs::remove_file(&kept).unwrap();
    fs::copy(&own, &kept).unwrap();
    flip(&kept);
    assert_eq!(verify(&space, 0), ["p01: repaired"]);
    assert!(fs::read(&own).unwrap() == whole, "the good one was written over");
    assert!(fs::read(&kept).unwrap() == whole);
    assert_eq!(beside().len(), 2);
}

#[test]
fn what_verify_cannot_repair_the_next_run_builds_again() {
    let space = Space::new();
    with_checkpoints(&space, &chain(4), "frequency: 10");
    space.run(0);
    let whole = space.sysroot();
    // One file with two names; the files in the sysroot are right.
    flip(&file(&space, "packages", "p01", ".tar.zst"));
    // Both.
    flip(&file(&space, "packages", "p02", ".tar.zst"));
    flip(&space.state().join("sysroot/etc/p02"));
    // What says what is right.
    flip(&file(&space, "packages", "p03", ".manifest"));
    let mut found = verify(&space, 1);
    found.sort();
    assert_eq!(found, ["p01: rebuild", "p02: rebuild", "p02: rebuild", "p03: rebuild"]);
    let plan = space.kiln(&["plan", "--json"]).exits(0).json();
    let decisions: Vec<&Value> =
        plan["packages"].as_array().unwrap().iter().map(|row| &row["decision"]).collect();
    assert_eq!(decisions, ["build", "build", "build", "reuse"]);
    assert_eq!(plan["packages"][0]["reason"], "built again: its archive is damaged or gone");
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), ["p01", "p02", "p03"]);
    space.sysroot().assert_identical(&whole);
    assert_eq!(verify(&space, 0), [""; 0]);
}

#[test]
fn verify_leaves_a_live_run_alone() {
    let space = Space::new();
    let (mut here, gate) = (space.bell("here"), space.gate("gate"));
    space.packages(&format!(
        "package: a\nversion: 1\ntasks: {{build: 'echo > {}; read x < {}'}}\n",
        here.path(),
        gate.path()
    ));
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    space.kiln(&["checkpoint", "verify"]).exits(6).says("another runner");
    space.kiln(&["checkpoint", "list"]).exits(0);
    gate.open();
    kiln.wait().exits(0);
}

#[test]
fn where_no_checkpoint_can_be_taken_the_run_goes_on() {
    let space = Space::new();
    with_checkpoints(&space, &chain(3), "frequency: 1");
    fs::create_dir_all(space.state().join("checkpoints")).unwrap();
    // A file where a directory should be: nothing can be kept.
    fs::write(space.state().join("checkpoints/archives"), "in the way").unwrap();
    fs::write(space.state().join("id"), "0123456789abcdef0123456789abcdef").unwrap();
    space.run(0).says("checkpoint 1 failed: ");
    let ledger = space.ledger();
    assert_eq!(ledger.of("checkpoint_taken").count(), 0);
    assert!(ledger.of("checkpoint_failed").count() > 0);
    fs::remove_file(space.state().join("checkpoints/archives")).unwrap();
    space.run(0);
    let ledger = space.ledger().last_start();
    assert_eq!(ledger.of("task_started").count(), 0);
    assert_eq!(ledger.only("checkpoint_taken")["packages"], serde_json::json!(["p01", "p02", "p03"]));
}
