//! A merge that is killed after any step and done again ends in the same tree, and one that is undone in that before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::manifest::Manifest;
use super::super::merge::{Step, apply, remove, to_the_end};
use super::super::plan::{MergeError, check};
use super::super::undo::{sweep, undo};
use super::space::{Space, replacing, stop_after, stranger};

/// Packages in the order of their merges; the last one is killed.
type Story<'a> = &'a [(&'a str, &'a [&'a str], &'a [&'a str])];

/// Packs what the story needs, once; and merges all but the last package as often as wanted.
struct Stage {
    space: Space,
    packed: Vec<(Arc<Manifest>, PathBuf, Vec<String>)>,
}

impl Stage {
    fn new(story: Story<'_>) -> Self {
        let mut space = Space::new();
        let packed = story.iter().map(|(package, lines, replaces)| {
            let manifest = space.pack(package, lines);
            (manifest, space.archive(package), replaces.iter().map(ToString::to_string).collect())
        });
        let packed = packed.collect();
        fs::create_dir(space.path("sysroot")).unwrap();
        Self { space, packed }
    }

    fn merge(
        &mut self,
        at: usize,
        step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<(), MergeError> {
        let (manifest, archive, replaces) = &self.packed[at];
        let plan = check(&self.space.ownership, manifest, &replacing(replaces)).unwrap();
        apply(&mut self.space.sysroot(), &plan, archive, step)
    }

    /// Takes the last merge back; with its manifest, or as if that were lost.
    fn undo(&self, with_manifest: bool) {
        let (last, before) = self.packed.split_last().unwrap();
        let merged: BTreeMap<&str, _> = before
            .iter()
            .map(|(manifest, archive, _)| (&*manifest.identity.package, (manifest.clone(), archive.clone())))
            .collect();
        let merged: Vec<_> = merged.into_values().collect();
        let left = with_manifest.then_some(&*last.0);
        undo(&mut self.space.sysroot(), &self.space.ownership, left, &merged).unwrap();
    }

    fn begin(&mut self) {
        self.space.reset();
        for at in 0..self.packed.len() - 1 {
            self.merge(at, &mut to_the_end).unwrap();
            self.space.ownership.record(&self.packed[at].0, []);
        }
    }
}

/// After every step, and twice in a row.
#[track_caller]
fn check_kills(story: Story<'_>) {
    let mut stage = Stage::new(story);
    let last = story.len() - 1;
    stage.begin();
    let before = stage.space.listing();
    stage.merge(last, &mut to_the_end).unwrap();
    let expected = stage.space.listing();
    let mut steps = 0;
    loop {
        for with_manifest in [true, false] {
            stage.begin();
            drop(stage.merge(last, &mut stop_after(steps)));
            stage.undo(with_manifest);
            assert_eq!(stage.space.listing(), before, "undone after {steps} steps");
        }
        // After a power cut nobody knows which merge it was. What it wrote over others' files, who looks at those finds.
        stage.begin();
        drop(stage.merge(last, &mut stop_after(steps)));
        sweep(&mut stage.space.sysroot(), &stage.space.ownership).unwrap();
        assert_eq!(unknown(&before, &stage.space.listing()), [""; 0], "swept after {steps} steps");
        stage.begin();
        // The ledger knows of no merge yet, so each try makes the same plan.
        let tries = [steps, steps / 2].map(|steps| {
            let result = stage.merge(last, &mut stop_after(steps));
            check_whole(&stage.space);
            result
        });
        let first_was_whole = match &tries[0] {
            Ok(()) => true,
            Err(MergeError::Interrupted) => false,
            Err(error) => panic!("{error}"),
        };
        stage.merge(last, &mut to_the_end).unwrap();
        assert_eq!(stage.space.listing(), expected, "killed after {steps} steps");
        let manifest = &stage.packed[last].0;
        stage.space.ownership.record(manifest, []);
        assert_eq!(stage.space.damage(manifest), [""; 0]);
        if first_was_whole {
            break;
        }
        steps += 1;
    }
    assert!(steps > 3, "{steps}");
}

/// Paths that were not there before.
fn unknown<'a>(before: &[String], now: &'a [String]) -> Vec<&'a str> {
    let path = |line: &'_ str| line.split(' ').next().map_or(0, str::len);
    let known: Vec<&str> = before.iter().map(|line| &line[..path(line)]).collect();
    now.iter().map(|line| &line[..path(line)]).filter(|path| !known.contains(path)).collect()
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
    let mut stage =
        Stage::new(&[("b", &["bin/x=whole:1:whole"], &[]), ("a", OLD, &[]), ("unused", &["x=x"], &[])]);
    loop {
        stage.space.reset();
        stage.merge(0, &mut to_the_end).unwrap();
        let expected = stage.space.listing();
        stage.begin();
        let Stage { space, .. } = &stage;
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
    let plan = check(&space.ownership, &manifest, &stranger).unwrap();
    let mut placed = BTreeSet::new();
    let archive = space.archive("a");
    apply(&mut space.sysroot(), &plan, &archive, &mut |step| {
        if let Step::Placed(path) = step {
            assert!(placed.insert(path.clone()), "{path}");
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(placed.len(), manifest.contents.file_count());
}
