//! Packages that write into the sysroot themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::manifest::Manifest;
use super::super::plan::{Clash, MergeError, repair};
use super::super::tree::{CaptureError, Changes, Snapshot, capture};
use super::space::{EPOCH, Space, identity, rules};

impl Space {
    /// Runs `work` in the sysroot as package `package` would.
    fn direct(
        &mut self,
        package: &str,
        replaces: &[&str],
        work: impl FnOnce(&Self),
    ) -> Result<Manifest, CaptureError> {
        let mut sysroot = self.sysroot();
        let before = Snapshot::take(&sysroot).unwrap();
        work(self);
        let archive = self.path(&format!("{package}.tar.zst"));
        let replaces: Vec<_> = replaces.iter().map(ToString::to_string).collect();
        let rules = rules(&[]);
        let identity = identity(package);
        let manifest =
            capture(&mut sysroot, &before, &self.ownership, identity, &rules, &replaces, EPOCH, &archive)?;
        self.ownership.record(&manifest, []);
        Ok(manifest)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path("sysroot").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn paths(manifest: &Manifest) -> Vec<String> {
    manifest.contents.entries().iter().map(|entry| entry.path.to_string()).collect()
}

#[test]
fn what_was_written_becomes_the_package() {
    let mut space = Space::new();
    space.merge("a", &["etc/a=a", "usr/lib/"], &[]).unwrap();
    let manifest = space
        .direct("conf", &[], |space| {
            space.write("etc/passwd", "root");
            space.write("usr/lib/deep/cache", "c");
        })
        .unwrap();
    assert_eq!(
        paths(&manifest),
        ["etc", "etc/passwd", "usr", "usr/lib", "usr/lib/deep", "usr/lib/deep/cache"]
    );
    assert_eq!(space.damage(&manifest), [""; 0]);
    // Its archive restores it.
    fs::remove_file(space.path("sysroot/etc/passwd")).unwrap();
    let archive = space.path("conf.tar.zst");
    let plan = repair(&space.ownership, &std::sync::Arc::new(manifest));
    super::super::merge::apply(&mut space.sysroot(), &plan, &archive, &mut super::super::merge::to_the_end)
        .unwrap();
    assert_eq!(space.read("etc/passwd"), "root");
}

#[test]
fn a_second_run_keeps_what_it_did_not_write_again() {
    let mut space = Space::new();
    space
        .direct("conf", &[], |space| {
            space.write("etc/one", "1");
            space.write("etc/two", "2");
            space.write("etc/three", "3");
        })
        .unwrap();
    let manifest = space
        .direct("conf", &[], |space| {
            space.write("etc/one", "changed");
            fs::remove_file(space.path("sysroot/etc/two")).unwrap();
        })
        .unwrap();
    assert_eq!(paths(&manifest), ["etc", "etc/one", "etc/three"]);
}

#[test]
fn what_others_own_may_only_be_changed_where_it_is_replaced() {
    type Work = (fn(&Space), &'static str, Clash);

    let begin = || {
        let mut space = Space::new();
        space.merge("a", &["etc/a=a", "etc/b=b", "d/"], &[]).unwrap();
        space
    };
    let works: [Work; 4] = [
        (|space| space.write("etc/a", "mine"), "etc/a", Clash::Both),
        (|space| fs::remove_file(space.path("sysroot/etc/b")).unwrap(), "etc/b", Clash::Removed),
        (|space| fs::remove_dir(space.path("sysroot/d")).unwrap(), "d", Clash::Removed),
        (
            |space| fs::set_permissions(space.path("sysroot/d"), fs::Permissions::from_mode(0o700)).unwrap(),
            "d",
            Clash::Both,
        ),
    ];
    for (work, path, clash) in works {
        match begin().direct("conf", &[], work) {
            Err(CaptureError::Merge(MergeError::Conflict(conflicts))) => {
                let first = &conflicts.first[0];
                assert_eq!((first.path.to_string(), first.clash), (path.to_owned(), clash));
            }
            other => panic!("{path}: {other:?}"),
        }
        assert!(begin().direct("conf", &["a"], work).is_ok(), "{path}");
    }
}

#[test]
fn a_change_that_is_taken_back_is_none() {
    let mut space = Space::new();
    space.merge("a", &["etc/a=a", "etc/b=b"], &[]).unwrap();
    let sysroot = space.sysroot();
    let before = Snapshot::take(&sysroot).unwrap();
    let path = space.path("sysroot/etc/a");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let changes = before.changes(&Snapshot::take(&sysroot).unwrap());
    assert_eq!(changes, Changes::default());
}
