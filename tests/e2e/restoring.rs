//! `kiln checkpoint restore`: back to a checkpoint, and out of a damaged ledger.

use std::fs;

use serde_json::json;

use super::space::{RUN, Space};
use super::tree::Tree;

/// Two phases, `base` with a and b, `top` with c and d: a checkpoint at the end of each.
fn two_phases() -> Space {
    let space = Space::new();
    space.document("build_phases:\n  base: {order: 1, steps: [a, b]}\n  top: {order: 2, steps: [c, d]}\n");
    space.recipes(&recipes("1"));
    space
}

/// With c of this version.
fn recipes(c: &str) -> String {
    let package = |name: &str, version: &str, deps: &str| {
        format!(
            "package: {name}\nversion: {version}\nbuild_deps: [{deps}]\ntasks:\n  install: |\n    mkdir \"$DESTDIR/lib\"\n    \
             echo {name} {version} > \"$DESTDIR/lib/{name}\"\n    echo only {version} > \"$DESTDIR/lib/{name}.{version}\"\n"
        )
    };
    [package("a", "1", ""), package("b", "1", "a"), package("c", c, "b"), package("d", "1", "")].join("---\n")
}

fn restore(space: &Space, number: &str, code: i32) -> super::process::Ended {
    space.kiln(&["checkpoint", "restore", number]).exits(code)
}

fn status(space: &Space) -> (String, u64) {
    let status = space.kiln(&["status", "--json"]).exits(0).json();
    let completed = status["progress"]["packages_completed"].as_u64().unwrap();
    (status["status"].as_str().unwrap().to_owned(), completed)
}

/// What is set aside, by path below the directory that was made for it.
fn aside(space: &Space) -> Vec<String> {
    let tree = Tree::read(&space.state().join("aside"));
    tree.files().iter().map(|path| path.split_once('/').unwrap().1.to_owned()).collect()
}

#[test]
fn what_is_younger_than_a_checkpoint_is_set_aside_and_built_again() {
    let space = two_phases();
    space.run(0);
    let whole = space.sysroot();
    let said = restore(&space, "1", 0);
    assert!(
        said.stdout.contains("checkpoint 1 is restored: 2 packages in the sysroot\nset aside: c, d\n"),
        "{}",
        said.stdout
    );
    assert_eq!(space.sysroot().files(), ["lib/a", "lib/a.1", "lib/b", "lib/b.1"]);
    assert_eq!(status(&space), ("PAUSED".into(), 2));
    let files = aside(&space);
    assert_eq!(files.len(), 4, "an archive and a manifest each: {files:?}");
    assert!(files[0].starts_with("c/") && files[3].starts_with("d/"), "{files:?}");
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), ["c", "d"]);
    space.sysroot().assert_identical(&whole);
    assert_eq!(status(&space), ("COMPLETED".into(), 4));
    // The same run went on, and nothing was counted twice.
    assert_eq!(space.ledger().of("run_started").count(), 1);
}

#[test]
fn an_older_version_comes_back_even_if_its_archive_was_cleaned_away() {
    let space = two_phases();
    space.run(0);
    let old = space.sysroot();
    space.recipes(&recipes("2"));
    space.run(0);
    space.kiln(&["clean"]).exits(0);
    assert!(space.sysroot().at("lib/c").contains("c 2"));
    let answer = space.kiln(&["checkpoint", "restore", "2", "--json"]).exits(0).json();
    assert_eq!(answer["packages"], json!(["a", "b", "c", "d"]));
    assert_eq!(answer["set_aside"], json!(["c"]));
    space.sysroot().assert_identical(&old);
    // The old recipe is there already, the new one is built again.
    space.recipes(&recipes("1"));
    space.run(0);
    assert!(space.ledger().last_start().worked_on().is_empty());
    space.recipes(&recipes("2"));
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), ["c"]);
    assert!(space.sysroot().at("lib/c").contains("c 2"));
}

#[test]
fn checkpoint_0_is_an_empty_sysroot() {
    let space = two_phases();
    space.run(0);
    let whole = space.sysroot();
    restore(&space, "0", 0);
    assert_eq!(space.sysroot().files(), [] as [&str; 0]);
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), ["a", "b", "c", "d"]);
    space.sysroot().assert_identical(&whole);
}

#[test]
fn a_damaged_ledger_is_refused_says_what_can_be_saved_and_is_replaced() {
    let space = two_phases();
    space.run(0);
    let whole = space.sysroot();
    let file = space.state().join("ledger.sqlite");
    let damage = |sql: &str| {
        rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    };
    damage(
        "UPDATE records SET record = replace(record, '\"b\"', '\"x\"') WHERE record LIKE '%package_completed%'",
    );
    let before = fs::read(&file).unwrap();
    for command in [&RUN[..], &["status"], &["plan"], &["history"]] {
        space.kiln(command).exits(1).says("is damaged: record ").says("is not what was written");
    }
    assert_eq!(fs::read(&file).unwrap(), before, "nobody has touched it");
    space
        .kiln(&["checkpoint", "restore"])
        .exits(2)
        .says("the ledger is damaged: record ")
        .says("2: 4 packages, taken ")
        .says(", at the end of phase base: kiln checkpoint restore 1");
    restore(&space, "2", 0);
    space.sysroot().assert_identical(&whole);
    assert!(aside(&space).contains(&"ledger.sqlite".to_owned()));
    space.run(0);
    assert!(space.ledger().last_start().worked_on().is_empty());
    assert_eq!(status(&space), ("COMPLETED".into(), 4));
}

#[test]
fn of_a_ledger_that_is_garbage_or_gone_the_checkpoints_are_left() {
    for garbage in [Some("x".repeat(5000)), Some(String::new()), None] {
        let space = two_phases();
        space.run(0);
        let whole = space.sysroot();
        let file = space.state().join("ledger.sqlite");
        fs::remove_file(&file).unwrap();
        if let Some(garbage) = garbage {
            fs::write(&file, garbage).unwrap();
        }
        space.run(1).says("is damaged").says("kiln checkpoint restore");
        let mut clean = vec!["clean"];
        space.kiln(&clean).exits(1).says("is damaged");
        restore(&space, "1", 0);
        assert_eq!(space.sysroot().files(), ["lib/a", "lib/a.1", "lib/b", "lib/b.1"]);
        space.run(0);
        assert_eq!(space.ledger().last_start().worked_on(), ["c", "d"]);
        space.sysroot().assert_identical(&whole);
        fs::write(&file, "y".repeat(5000)).unwrap();
        clean.push("--all");
        space.kiln(&clean).exits(0);
        assert!(!file.exists());
    }
}

#[test]
fn a_restore_that_was_cut_off_is_finished_by_the_next_run() {
    let space = two_phases();
    space.run(0);
    let whole = space.sysroot();
    restore(&space, "1", 0);
    // As if it had been killed right after its record.
    let db = rusqlite::Connection::open(space.state().join("ledger.sqlite")).unwrap();
    db.execute("DELETE FROM records WHERE record LIKE '%restore_finished%'", []).unwrap();
    drop(db);
    fs::remove_file(space.state().join("ledger.durable")).unwrap();
    let sysroot = space.state().join("sysroot");
    fs::write(sysroot.join("lib/c"), "half").unwrap();
    fs::write(sysroot.join("lib/b"), "half").unwrap();
    fs::remove_file(sysroot.join("lib/a")).unwrap();
    space.run(0);
    assert_eq!(space.ledger().last_start().worked_on(), ["c", "d"]);
    assert_eq!(space.ledger().of("restore_finished").count(), 1);
    space.sysroot().assert_identical(&whole);
}

#[test]
fn what_cannot_be_restored_says_why_and_changes_nothing() {
    let space = two_phases();
    space.run(0);
    let whole = space.sysroot();
    restore(&space, "7", 2).says("there is no checkpoint 7: kept are 1, 2, and 0 is an empty sysroot");
    let kept = space.state().join("checkpoints/archives/b");
    for entry in fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.to_str().unwrap().ends_with(".tar.zst") {
            let mut bytes = fs::read(&entry).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&entry, bytes).unwrap(); // the same file as in packages/
        }
    }
    restore(&space, "1", 1).says("checkpoint 1 cannot be restored: the archive of `b` is damaged or gone");
    assert_eq!(space.ledger().of("restored").count(), 0);
    space.sysroot().assert_identical(&whole);
}

#[test]
fn nothing_is_restored_under_a_live_runner() {
    let space = Space::new();
    let mut here = space.bell("here");
    let go = space.gate("go");
    let script = format!("echo > {}; read x < {}", here.path(), go.path());
    space.packages(&format!("package: p\nversion: 1\ntasks: {{build: '{script}'}}\n"));
    let kiln = space.start(&RUN);
    here.wait(&kiln);
    restore(&space, "0", 6).says("holds the state directory");
    go.open();
    kiln.wait().exits(0);
}

#[test]
fn checkpoints_that_were_taken_after_a_restore_can_be_restored_when_older_ones_are_dropped() {
    let space = Space::new();
    let names: Vec<String> = (10..24).map(|number| format!("p{number}")).collect();
    space.document(&format!(
        "build_phases:\n  all: {{order: 1, steps: [{}]}}\nprogress_tracking: {{checkpoints: {{frequency: 1}}}}\n",
        names.join(", ")
    ));
    let package = |name: &String| {
        format!("package: {name}\nversion: 1\ntasks: {{install: 'echo {name} > \"$DESTDIR/{name}\"'}}\n")
    };
    space.recipes(&names.iter().map(package).collect::<Vec<_>>().join("---\n"));
    space.run(0);
    let whole = space.sysroot();
    let kept = || -> Vec<String> {
        let list = space.kiln(&["checkpoint", "list", "--json"]).exits(0).json();
        let kept = list.as_array().unwrap().iter().filter(|row| row["kept"] == true);
        kept.map(|row| row["checkpoint"].to_string()).collect()
    };
    restore(&space, &kept()[0], 0);
    assert_ne!(space.sysroot().files().len(), names.len());
    space.run(0);
    space.sysroot().assert_identical(&whole);
    for number in kept() {
        restore(&space, &number, 0);
        space.kiln(&["checkpoint", "verify"]).exits(0).says("");
    }
    space.run(0);
    space.sysroot().assert_identical(&whole);
}

#[test]
fn what_is_nothing_of_ours_stays() {
    let space = two_phases();
    let precious = space.state().join("sysroot/precious");
    fs::create_dir_all(&precious).unwrap();
    restore(&space, "0", 2).says("has no run yet");
    assert!(precious.exists());
    assert_eq!(fs::read_dir(space.state()).unwrap().count(), 1);
}
