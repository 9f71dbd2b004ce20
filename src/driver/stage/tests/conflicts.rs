//! Several packages in one sysroot.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::super::merge::{remove, to_the_end};
use super::super::ownership::Ownership;
use super::super::plan::{Claimant, Clash, MergeError, check, repair};
use super::super::verify::Directories;
use super::space::{Space, stranger};

#[track_caller]
fn clash(result: Result<impl std::fmt::Debug, MergeError>) -> (String, String, Clash) {
    match result {
        Err(MergeError::Conflict(conflicts)) => {
            let first = &conflicts.first[0];
            (first.path.to_string(), first.owner.clone(), first.clash)
        }
        other => panic!("no conflict: {other:?}"),
    }
}

#[test]
fn a_path_of_another_package_is_a_conflict_and_nothing_is_touched() {
    let mut space = Space::new();
    space.merge("a", &["bin/x=a", "lib/", "sub/y=a"], &[]).unwrap();
    let before = space.listing();
    let cases: [(&[&str], _, _); 5] = [
        (&["bin/x=b", "bin/new=b"], "bin/x", Clash::Both),
        (&["bin/x->y"], "bin/x", Clash::Both),
        (&["bin/x/z=b"], "bin/x", Clash::DirectoryOverFile),
        (&["lib=b"], "lib", Clash::FileOverDirectory),
        (&["sub->bin"], "sub", Clash::FileOverDirectory),
    ];
    for (lines, path, expected) in cases {
        assert_eq!(clash(space.merge("b", lines, &[])), (path.into(), "a".into(), expected));
        assert_eq!(space.listing(), before);
    }
    space.merge("b", &["bin/z=b", "lib/l=b"], &[]).unwrap();
}

#[test]
fn a_long_list_of_conflicts_is_cut_and_counted() {
    let mut space = Space::new();
    let lines: Vec<_> = (0..30).map(|at| format!("f{at:02}=x")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    space.merge("a", &lines, &[]).unwrap();
    let error = space.merge("b", &lines, &[]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("`f00` belongs to `a`; `f01`")
            && text.ends_with("`f19` belongs to `a`; and 10 more"),
        "{text}"
    );
}

#[test]
fn nothing_is_written_through_a_symlink_of_another_package() {
    let mut space = Space::new();
    space.merge("filesystem", &["usr/lib/", "lib->usr/lib"], &[]).unwrap();
    let error = space.merge("b", &["lib/libb.so=b"], &[]).unwrap_err();
    let text = "`lib` is a directory here and a symlink of `filesystem`: install where that points to";
    assert_eq!(error.to_string(), text);
    assert!(!space.has("usr/lib/libb.so"));
}

#[test]
fn a_symlink_that_no_package_made_is_replaced_and_not_followed() {
    let mut space = Space::new();
    fs::create_dir_all(space.path("sysroot/usr")).unwrap();
    fs::create_dir_all(space.path("outside/sub")).unwrap();
    fs::write(space.path("outside/f"), "alive").unwrap();
    symlink("../outside", space.path("sysroot/lib")).unwrap();
    symlink("../../outside/f", space.path("sysroot/usr/f")).unwrap();
    symlink("../outside", space.path("sysroot/.kiln-merge")).unwrap();
    space.merge("a", &["0700 lib/", "lib/f=mine", "usr/f=mine"], &[]).unwrap();
    assert_eq!(fs::read_to_string(space.path("outside/f")).unwrap(), "alive");
    assert_eq!(fs::read_dir(space.path("outside")).unwrap().count(), 2);
    assert_eq!(fs::metadata(space.path("outside")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(space.read("lib/f"), "mine");
}

#[test]
fn what_is_behind_a_symlink_now_is_neither_repaired_through_it_nor_removed() {
    let mut space = Space::new();
    let manifest = space.merge("a", &["d/f=x"], &[]).unwrap();
    fs::create_dir(space.path("outside")).unwrap();
    fs::write(space.path("outside/f"), "alive").unwrap();
    fs::remove_dir_all(space.path("sysroot/d")).unwrap();
    symlink("../outside", space.path("sysroot/d")).unwrap();
    assert_eq!(space.damage(&manifest), ["d is of another type", "d/f is behind a symlink"]);
    remove(&mut space.sysroot(), &space.ownership, "a", &mut to_the_end).unwrap();
    assert_eq!(fs::read_to_string(space.path("outside/f")).unwrap(), "alive");
    space.apply(&repair(&space.ownership, &manifest)).unwrap();
    assert_eq!(fs::read_to_string(space.path("outside/f")).unwrap(), "alive");
    assert_eq!(space.damage(&manifest), [""; 0]);
}

#[test]
fn a_replaced_package_loses_its_paths_and_gets_them_back() {
    let mut space = Space::new();
    let pass1 = space.merge("pass1", &["bin/gcc=1", "bin/as=1"], &[]).unwrap();
    let pass2 = space.merge("pass2", &["bin/gcc=2", "lib/x=2"], &["pass1"]).unwrap();
    assert_eq!(space.read("bin/gcc"), "2");
    assert_eq!(space.ownership.owner(&pass1.contents.entries()[2].path), Some("pass2"));
    // The old owner is intact: what it lost is not its own any more, and no repair takes it back.
    assert_eq!(space.damage(&pass1), [""; 0]);
    space.apply(&repair(&space.ownership, &pass2)).unwrap();
    let first = space.archive("pass1");
    let plan = repair(&space.ownership, &pass1);
    super::super::merge::apply(&mut space.sysroot(), &plan, &first, &mut to_the_end).unwrap();
    assert_eq!(space.read("bin/gcc"), "2");
    // From the manifests in any order the same owners come out.
    let path = &pass1.contents.entries()[2].path;
    for order in [[&pass1, &pass2], [&pass2, &pass1]] {
        let mut again = Ownership::default();
        for manifest in order {
            let replacers = (manifest.identity.package == "pass1").then_some("pass2");
            again.record(manifest, replacers);
        }
        assert_eq!((again.owner(path), again.is_owner(path, "pass1")), (Some("pass2"), false));
    }
    // A new version of the old owner leaves it where it is.
    let pass1 = space.pack("pass1", &["bin/gcc=1.1", "bin/ld=1.1"]);
    let yields = check(&space.ownership, &pass1, &|_| Claimant::Yields).unwrap();
    space.apply(&yields).unwrap();
    space.ownership.record(&pass1, ["pass2"]);
    assert_eq!((space.read("bin/gcc"), space.read("bin/ld")), ("2".into(), "1.1".into()));
    assert!(!space.has("bin/as"));
    assert_eq!((space.damage(&pass1), space.damage(&pass2)), (vec![], vec![]));
    // Unless the new owner will be merged again: then it has its path until that is.
    let takes = check(&space.ownership, &pass1, &|_| Claimant::Takes).unwrap();
    space.apply(&takes).unwrap();
    space.ownership.record(&pass1, []);
    assert_eq!(space.read("bin/gcc"), "1.1");
    space.merge("pass2", &["bin/gcc=2.1", "lib/x=2"], &["pass1"]).unwrap();
    assert_eq!(space.read("bin/gcc"), "2.1");
    // Without the new owner the old one is damaged, and said to be.
    let exposed = remove(&mut space.sysroot(), &space.ownership, "pass2", &mut to_the_end).unwrap();
    assert_eq!(exposed.into_iter().collect::<Vec<_>>(), ["pass1"]);
}

#[test]
fn an_upgrade_removes_what_the_old_version_alone_had() {
    let mut space = Space::new();
    space.merge("a", &["bin/x=1", "old/deep/f=1", "shared/mine=1", "turns->x", "becomes/f=1"], &[]).unwrap();
    space.merge("b", &["shared/theirs=b"], &[]).unwrap();
    fs::write(space.path("sysroot/old/left-by-somebody"), "").unwrap();
    space.merge("a", &["bin/x=2", "bin/y==bin/x", "turns/f=2", "becomes=2"], &[]).unwrap();
    let paths: Vec<_> =
        space.listing().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let expected = [
        "becomes",
        "bin",
        "bin/x",
        "bin/y",
        "old",
        "old/left-by-somebody",
        "shared",
        "shared/theirs",
        "turns",
        "turns/f",
    ];
    assert_eq!(paths, expected);
    assert_eq!(space.read("becomes"), "2");
}

#[test]
fn a_directory_with_strange_files_does_not_become_a_file() {
    let mut space = Space::new();
    space.merge("a", &["d/f=1"], &[]).unwrap();
    fs::write(space.path("sysroot/d/stranger"), "x").unwrap();
    let error = space.merge("a", &["d=2"], &[]).unwrap_err();
    assert!(matches!(error, MergeError::Blocked { path, .. } if path == "d"));
    assert_eq!(space.read("d/stranger"), "x");
}

#[test]
fn a_shared_directory_is_the_same_whatever_the_order() {
    let packages: [(&str, &[&str]); 3] =
        [("filesystem", &["1777 tmp/"]), ("a", &["tmp/a=x"]), ("z", &["0700 tmp/"])];
    let orders = [[0, 1, 2], [2, 1, 0], [1, 0, 2]];
    let mut listings = Vec::new();
    for order in orders {
        let mut space = Space::new();
        for at in order {
            let (package, lines) = packages[at];
            space.merge(package, lines, &[]).unwrap();
        }
        let mode = fs::metadata(space.path("sysroot/tmp")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        listings.push(space.listing());
    }
    assert!(listings.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn damage_is_found_and_repaired() {
    let mut space = Space::new();
    let lines = ["bin/a=one", "bin/b==bin/a", "bin/c=three", "l->bin/a", "0750 d/", "|p", "4755 bin/su=su"];
    let manifest = space.merge("a", &lines, &[]).unwrap();
    let before = space.listing();
    let at = |path: &str| space.path("sysroot").join(path);
    fs::remove_file(at("bin/b")).unwrap();
    fs::write(at("bin/c"), "THREE").unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(super::space::EPOCH);
    fs::File::options().write(true).open(at("bin/c")).unwrap().set_modified(time).unwrap();
    fs::remove_file(at("l")).unwrap();
    symlink("bin/c", at("l")).unwrap();
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::remove_file(at("p")).unwrap();
    fs::write(at("p"), "x").unwrap();
    fs::write(at("bin/su"), "bad").unwrap();
    let expected = [
        "bin/b is missing",
        "bin/c has other bytes",
        "bin/su has another mode",
        "d has another mode",
        "l points elsewhere",
        "p is of another type",
    ];
    let found = space.damage(&manifest);
    // Writing to a setuid file drops the bit only for ordinary users.
    assert_eq!(found.iter().filter(|line| !line.starts_with("bin/su")).collect::<Vec<_>>(), {
        expected.iter().filter(|line| !line.starts_with("bin/su")).collect::<Vec<_>>()
    });
    assert_eq!(found.len(), expected.len());
    space.apply(&repair(&space.ownership, &manifest)).unwrap();
    assert_eq!(space.listing(), before);
    assert_eq!(space.damage(&manifest), [""; 0]);
}

#[test]
fn a_merge_of_what_is_there_already_writes_nothing_and_needs_no_archive() {
    let mut space = Space::new();
    let manifest = space.merge("a", &["bin/a=one", "bin/b==bin/a", "l->x", "|p", "d/"], &[]).unwrap();
    let inodes = |space: &Space| {
        ["bin/a", "l", "p"].map(|path| fs::symlink_metadata(space.path("sysroot").join(path)).unwrap().ino())
    };
    let before = inodes(&space);
    let plan = check(&space.ownership, &manifest, &stranger).unwrap();
    let archive = space.archive("a");
    let away = space.path("away");
    fs::rename(&archive, &away).unwrap();
    space.apply(&plan).unwrap();
    assert_eq!(inodes(&space), before);
    // A copy is no hard link.
    fs::rename(&away, &archive).unwrap();
    let listing = space.listing();
    let names = ["bin/a", "bin/b"].map(|path| space.path("sysroot").join(path));
    fs::remove_file(&names[1]).unwrap();
    fs::copy(&names[0], &names[1]).unwrap();
    let time = fs::metadata(&names[0]).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&names[1]).unwrap().set_modified(time).unwrap();
    space.apply(&plan).unwrap();
    assert_eq!(space.listing(), listing);
}

#[test]
fn removing_a_package_leaves_what_others_have() {
    let mut space = Space::new();
    let a = space.merge("a", &["bin/a=a", "only/a/f=a", "empty/"], &[]).unwrap();
    let b = space.merge("b", &["bin/b=b", "empty/"], &[]).unwrap();
    remove(&mut space.sysroot(), &space.ownership, "a", &mut to_the_end).unwrap();
    space.ownership.forget("a");
    let paths: Vec<_> =
        space.listing().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(paths, ["bin", "bin/b", "empty"]);
    assert_eq!(space.damage(&b), [""; 0]);
    assert!(space.ownership.claims(&a.contents.entries()[1].path).is_empty());
    assert!(space.ownership.paths_of("a").is_empty() && !space.ownership.paths_of("b").is_empty());
}

#[test]
fn a_file_that_is_in_use_keeps_its_bytes_when_it_is_replaced() {
    let mut space = Space::new();
    space.merge("a", &["f=old"], &[]).unwrap();
    let mut open = fs::File::open(space.path("sysroot/f")).unwrap();
    space.merge("a", &["f=new"], &[]).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut open, &mut text).unwrap();
    assert_eq!((text.as_str(), space.read("f").as_str()), ("old", "new"));
}

#[test]
fn a_read_only_directory_gets_its_files_and_its_mode() {
    let mut space = Space::new();
    for text in ["1", "2"] {
        let file = format!("d/f={text}");
        let manifest = space.merge("a", &[&file, "0555 d/"], &[]).unwrap();
        assert_eq!(space.damage(&manifest), [""; 0]);
        let mode = fs::metadata(space.path("sysroot/d")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o555);
    }
    // For whoever cleans up.
    fs::set_permissions(space.path("sysroot/d"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_directory_of_many_packages_is_looked_at_once_and_damaged_for_all_of_them() {
    let mut space = Space::new();
    let a = space.merge("a", &["usr/a=a"], &[]).unwrap();
    let b = space.merge("b", &["usr/b=b"], &[]).unwrap();
    let mode = |mode| {
        fs::set_permissions(space.path("sysroot/usr"), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o700);
    let mut seen = Directories::default();
    assert_eq!(space.damage_beside(&a, &mut seen), ["usr has another mode"]);
    mode(0o755);
    assert_eq!(space.damage_beside(&b, &mut seen), ["usr has another mode"]);
    assert_eq!(space.damage(&b), [""; 0]);
}
