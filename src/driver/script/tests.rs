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

#[test]
fn the_last_line_is_found_with_its_number_however_long_the_output_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut text = String::new();
    for number in 1..=20_000 {
        text.push_str(&format!("line {number}\n"));
    }
    assert!(text.len() as u64 > 2 * TAIL_BYTES);
    text.push_str(" \n\n");
    fs::write(file.path(), &text).unwrap();
    assert_eq!(last_line(file.path()).unwrap(), Some((20_000, "line 20000".to_owned())));
    fs::write(file.path(), " \n").unwrap();
    assert_eq!(last_line(file.path()).unwrap(), None);
}
