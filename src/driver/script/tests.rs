//! Work directories on a real file system.

use super::*;

#[test]
fn a_work_directory_that_nothing_was_left_in_is_deleted_at_once() {
    let space = tempfile::tempdir().unwrap();
    let work = Work { root: space.path().join("zlib") };
    work.renew(None).unwrap();
    assert!(work.remove_if_empty());
    assert!(!work.root.exists());
}

#[test]
fn a_work_directory_with_anything_in_it_is_left_to_others() {
    for left in ["src/zlib.c", "tmp/.cache", "epoch"] {
        let space = tempfile::tempdir().unwrap();
        let work = Work { root: space.path().join("zlib") };
        work.renew(None).unwrap();
        fs::write(work.root.join(left), "").unwrap();
        assert!(!work.remove_if_empty(), "{left}");
        assert!(work.root.join(left).exists(), "{left}");
    }
}
