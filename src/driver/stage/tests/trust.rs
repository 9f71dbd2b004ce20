//! When a file that was right is read again.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use super::super::verify::{Depth, Directories, Looked, verify_merged};
use super::space::{EPOCH, Space};

fn look(space: &Space, manifest: &super::super::manifest::Manifest, depth: Depth) -> Looked {
    verify_merged(&mut space.sysroot(), &space.ownership, manifest, depth, &mut Directories::default())
        .unwrap()
}

/// The last moment before which a file must not have changed for this one to be read again.
fn changed(space: &Space, path: &str) -> i64 {
    let meta = fs::symlink_metadata(space.path("sysroot").join(path)).unwrap();
    let grain = if meta.ctime_nsec() == 0 { 1_020_000_000 } else { 20_000_000 };
    meta.ctime() * 1_000_000_000 + meta.ctime_nsec() + grain
}

#[test]
fn what_has_not_changed_since_it_was_right_is_not_read_again() {
    let mut space = Space::new();
    let manifest = space.merge("a", &["bin/", "bin/x=one", "bin/y=two", "bin/z->x"], &[]).unwrap();
    let latest = ["bin/x", "bin/y"].map(|path| changed(&space, path)).into_iter().max().unwrap();
    let clean = |read| Looked { damage: Vec::new(), read };
    assert_eq!(look(&space, &manifest, Depth::Stat), clean(0));
    assert_eq!(look(&space, &manifest, Depth::Digest), clean(2));
    assert_eq!(look(&space, &manifest, Depth::Since(latest + 1)), clean(0));
    assert_eq!(look(&space, &manifest, Depth::Since(0)), clean(2), "both have changed since");
    // A clock that knows no moment between the change and the look: it may have come after that.
    assert!(look(&space, &manifest, Depth::Since(latest)).read > 0);
}

#[test]
fn what_has_changed_and_has_its_old_size_and_time_is_found_if_it_is_read() {
    let mut space = Space::new();
    let manifest = space.merge("a", &["x=one", "y=two"], &[]).unwrap();
    let right = changed(&space, "x");
    fs::write(space.path("sysroot/x"), "two").unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH);
    File::options().write(true).open(space.path("sysroot/x")).unwrap().set_modified(time).unwrap();
    assert!(look(&space, &manifest, Depth::Stat).damage.is_empty(), "nobody can see it without reading");
    for depth in [Depth::Digest, Depth::Since(right)] {
        let damage = look(&space, &manifest, depth).damage;
        let said: Vec<_> = damage.iter().map(|damage| format!("{} {}", damage.path, damage.what)).collect();
        assert_eq!(said, ["x has other bytes"], "{depth:?}");
    }
}
