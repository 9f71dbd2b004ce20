//! A merge that is killed after any step and done again ends in the same tree.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::merge::{apply, remove, to_the_end};
use super::super::plan::{MergeError, check};
use super::space::{Space, stop_after};

/// Packages in the order of their merges; the last one is killed.
type Story<'a> = &'a [(&'a str, &'a [&'a str], &'a [&'a str])];

fn begin(story: Story<'_>) -> Space {
    let mut space = Space::new();
    for (package, lines, replaces) in &story[..story.len() - 1] {
        space.merge(package, lines, replaces).unwrap();
    }
    space
}

/// After every step, and twice in a row.
#[track_caller]
fn check_kills(story: Story<'_>) {
    let (package, lines, replaces) = story[story.len() - 1];
    let replaces: Vec<_> = replaces.iter().map(ToString::to_string).collect();
    let mut undisturbed = begin(story);
    undisturbed.merge(package, lines, &replaces.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let expected = undisturbed.listing();
    let mut steps = 0;
    loop {
        let mut space = begin(story);
        let manifest = space.pack(package, lines);
        let archive = space.archive(package);
        // The ledger knows of no merge yet, so each try makes the same plan.
        let plan = || check(&space.ownership, &manifest, &replaces).unwrap();
        let tries = [steps, steps / 2].map(|steps| {
            let result = apply(&mut space.sysroot(), &plan(), &archive, &mut stop_after(steps));
            check_whole(&space);
            result
        });
        let first_was_whole = match &tries[0] {
            Ok(()) => true,
            Err(MergeError::Interrupted) => false,
            Err(error) => panic!("{error}"),
        };
        apply(&mut space.sysroot(), &plan(), &archive, &mut to_the_end).unwrap();
        assert_eq!(space.listing(), expected, "killed after {steps} steps");
        space.ownership.record(&manifest);
        assert_eq!(space.damage(&manifest), [""; 0]);
        if first_was_whole {
            break;
        }
        steps += 1;
    }
    assert!(steps > 3, "{steps}");
}

/// Files in these stories are `whole:NUMBER:whole`, and never seen otherwise.
#[track_caller]
fn check_whole(space: &Space) {
    for line in space.listing() {
        assert!(line.starts_with(".kiln-merge") || line.matches("whole").count() % 2 == 0, "{line}");
    }
}

const OLD: &[&str] = &[
    "bin/a=whole:1:whole",
    "bin/b==bin/a",
    "4755 bin/su=whole:1:whole",
    "gone/deep/f=whole:1:whole",
    "gone/l->f",
    "kind/f=whole:1:whole",
    "link->bin",
    "0700 d/",
];

const NEW: &[&str] = &[
    "0755 bin/a=whole:2:whole",
    "bin/b=whole:3:whole",
    "bin/c==bin/a",
    "4755 bin/su=whole:2:whole",
    "kind->bin",
    "link/f=whole:2:whole",
    "1777 d/",
    "|pipe",
];

#[test]
fn an_install() {
    check_kills(&[("a", OLD, &[])]);
    check_kills(&[("b", &["bin/b2=whole:1:whole"], &[]), ("a", NEW, &[])]);
}

#[test]
fn an_upgrade() {
    check_kills(&[("a", OLD, &[]), ("a", NEW, &[])]);
    check_kills(&[
        ("a", NEW, &[]),
        ("b", &["bin/x=whole:1:whole", "gone/x=whole:1:whole"], &[]),
        ("a", OLD, &[]),
    ]);
}

#[test]
fn a_takeover() {
    let taker =
        &["bin/a=whole:9:whole", "bin/su2==bin/a", "link/under=whole:9:whole", "gone/l=whole:9:whole"];
    check_kills(&[("a", OLD, &[]), ("b", taker, &["a"])]);
    check_kills(&[("a", OLD, &[]), ("b", taker, &["a"]), ("b", &["bin/b=whole:7:whole"], &["a"])]);
}

#[test]
fn a_removal() {
    let mut steps = 0;
    loop {
        let mut space = Space::new();
        space.merge("b", &["bin/x=whole:1:whole"], &[]).unwrap();
        let expected = space.listing();
        space.merge("a", OLD, &[]).unwrap();
        let whole = remove(&mut space.sysroot(), &space.ownership, "a", &mut stop_after(steps)).is_ok();
        remove(&mut space.sysroot(), &space.ownership, "a", &mut to_the_end).unwrap();
        assert_eq!(space.listing(), expected, "killed after {steps} steps");
        if whole {
            break;
        }
        steps += 1;
    }
    assert!(steps > 3);
}

#[test]
fn a_half_written_file_of_an_earlier_try_is_removed() {
    let mut space = Space::new();
    let work = space.path("sysroot/.kiln-merge");
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("1"), "half").unwrap();
    fs::set_permissions(&work, fs::Permissions::from_mode(0o700)).unwrap();
    space.merge("a", OLD, &[]).unwrap();
    assert!(!work.exists());
    // Also when nothing is left to do.
    fs::create_dir_all(&work).unwrap();
    space.merge("a", OLD, &[]).unwrap();
    assert!(!work.exists());
}

#[test]
fn paths_are_placed_once_each() {
    let mut space = Space::new();
    let manifest = space.pack("a", OLD);
    let plan = check(&space.ownership, &manifest, &[]).unwrap();
    let mut placed = BTreeSet::new();
    let archive = space.archive("a");
    apply(&mut space.sysroot(), &plan, &archive, &mut |step| {
        if let super::super::merge::Step::Placed(path) = step {
            assert!(placed.insert(path.clone()), "{path}");
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(placed.len(), manifest.contents.file_count());
}
