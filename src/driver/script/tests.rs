//! Work directories on a real file system.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

#[test]
fn a_work_directory_that_nothing_was_left_in_is_the_next_ones() {
    let space = tempfile::tempdir().unwrap();
    let mut spares = Spares::new(space.path().to_owned());
    let [first, second] = ["zlib", "bash"].map(|name| Work { root: space.path().join(name) });
    first.renew(None, Some(&mut spares)).unwrap();
    fs::write(first.src().join("file"), "").unwrap();
    fs::remove_file(first.src().join("file")).unwrap();
    let inode = |work: &Work| fs::metadata(work.src()).unwrap().ino();
    let made = inode(&first);
    assert!(spares.keep_directory(&first, None));
    assert!(!first.root.exists());
    second.renew(None, Some(&mut spares)).unwrap();
    assert!(second.is_new(None) && inode(&second) == made);
    // A directory that is there already is made anew where it is.
    assert!(spares.keep_directory(&second, None));
    fs::create_dir(&first.root).unwrap();
    fs::write(first.root.join("file"), "").unwrap();
    first.renew(None, Some(&mut spares)).unwrap();
    assert!(first.is_new(None) && inode(&first) != made);
    fs::remove_dir_all(&first.root).unwrap();
    drop(spares);
    assert_eq!(fs::read_dir(space.path()).unwrap().count(), 0);
}

#[test]
fn a_work_directory_that_a_script_has_changed_is_nobodys() {
    let changes: [fn(&Work); 5] = [
        |work| fs::write(work.src().join("zlib.c"), "").unwrap(),
        |work| fs::write(work.tmp().join(".cache"), "").unwrap(),
        |work| fs::write(work.root.join("epoch"), "").unwrap(),
        |work| fs::set_permissions(work.src(), fs::Permissions::from_mode(0o700)).unwrap(),
        |work| {
            fs::remove_dir(work.src()).unwrap();
            std::os::unix::fs::symlink("/tmp", work.src()).unwrap();
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let space = tempfile::tempdir().unwrap();
        let work = Work { root: space.path().join("zlib") };
        work.renew(None, None).unwrap();
        change(&work);
        assert!(!Spares::new(space.path().to_owned()).keep_directory(&work, None), "change {at}");
        assert!(work.root.exists());
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
