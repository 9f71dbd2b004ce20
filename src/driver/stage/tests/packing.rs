//! Manifests and archives.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::StageError;
use super::super::archive::{pack, verify};
use super::super::manifest::{Kind, Manifest};
use super::super::plan::{MergeError, check};
use super::super::rules::{Accounts, StagingRules};
use super::super::testing::{listing, needs_root};
use super::space::{EPOCH, Space, identity, rules, stage, stranger};

const ALL_KINDS: [&str; 9] = [
    "bin/tool=#!tool",
    "bin/tool2==bin/tool",
    "4755 bin/su=su",
    "1777 tmp/",
    "etc/link->../bin//tool/.",
    "|run/pipe",
    "empty=",
    "0400 secret=shh",
    "name with \u{1b} and \\=x",
];

#[test]
fn the_same_files_give_the_same_bytes() {
    let mut space = Space::new();
    let first = space.pack("a", &ALL_KINDS);
    let first_bytes = fs::read(space.archive("a")).unwrap();
    let mut backwards = ALL_KINDS;
    backwards[3..].reverse();
    let second = space.pack("a", &backwards);
    assert_eq!(first_bytes, fs::read(space.archive("a")).unwrap());
    assert_eq!(first, second);
}

#[test]
fn a_manifest_survives_its_file_and_odd_names() {
    let space = Space::new();
    let destdir = space.path("dest");
    stage(&ALL_KINDS, &destdir);
    fs::write(destdir.join(OsStr::from_bytes(b"bin/\xff\xfe")), "bytes").unwrap();
    fs::write(destdir.join("x".repeat(255)), "long").unwrap();
    let deep = "deep/".repeat(60);
    fs::create_dir_all(destdir.join(&deep)).unwrap();
    std::os::unix::fs::symlink("t".repeat(300), destdir.join(&deep).join("far")).unwrap();
    let archive = space.path("packages/a/key.tar.zst");
    fs::create_dir_all(archive.parent().unwrap()).unwrap();
    let manifest = pack(&destdir, identity("a"), &rules(&["bin/su"]), EPOCH, &archive).unwrap();
    let path = space.path("packages/a/key.manifest");
    manifest.store(&path).unwrap();
    assert_eq!(Manifest::load(&path).unwrap(), manifest);
    verify(&archive, &manifest).unwrap();
    let names: Vec<_> =
        fs::read_dir(archive.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no temporary is left: {names:?}");

    let mut sysroot = space.sysroot();
    let plan = check(&space.ownership, &Arc::new(manifest.clone()), &stranger).unwrap();
    super::super::merge::apply(&mut sysroot, &plan, &archive, &mut super::super::merge::to_the_end).unwrap();
    let again = space.path("again.tar.zst");
    let merged = pack(sysroot.path(), identity("a"), &rules(&["bin/su"]), EPOCH, &again).unwrap();
    assert_eq!(merged.contents, manifest.contents);
}

#[test]
fn another_tar_understands_the_archive() {
    let mut space = Space::new();
    let long = format!("{}/file=x", "long".repeat(40));
    space.pack("a", &["bin/tool=#!tool", "bin/again==bin/tool", "l->a//b/", &long]);
    let bytes = zstd::decode_all(fs::File::open(space.archive("a")).unwrap()).unwrap();
    let mut found = Vec::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let entry = entry.unwrap();
        assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (EPOCH, 0));
        let link = entry.link_name_bytes().map(|link| String::from_utf8(link.into_owned()).unwrap());
        found.push((entry.path().unwrap().display().to_string(), link, entry.size()));
    }
    let long = "long".repeat(40);
    let expected = [
        ("bin/".to_owned(), None, 0),
        ("bin/again".to_owned(), None, 6),
        ("bin/tool".to_owned(), Some("bin/again".to_owned()), 0),
        ("l".to_owned(), Some("a//b/".to_owned()), 0),
        (format!("{long}/"), None, 0),
        (format!("{long}/file"), None, 1),
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_the_recipe_does_not_declare_is_refused() {
    let mut space = Space::new();
    for (lines, path) in [(["4755 bin/su=x"], "bin/su"), (["2755 sbin/w=x"], "sbin/w"), (["6755 x=x"], "x")] {
        let result = space.try_pack("a", &lines, &rules(&[]));
        assert!(
            matches!(&result, Err(StageError::SecurityViolation { path: found, .. }) if found == path),
            "{result:?}"
        );
        let declared = rules(&[path]);
        assert!(space.try_pack("a", &lines, &declared).is_ok());
    }
    // A setgid directory only passes a group on.
    assert!(space.try_pack("a", &["2775 var/mail/"], &rules(&[])).is_ok());
    let destdir = space.path("socket");
    fs::create_dir(&destdir).unwrap();
    let _socket = UnixListener::bind(destdir.join("s")).unwrap();
    let result = pack(&destdir, identity("a"), &rules(&[]), EPOCH, &space.path("socket.tar.zst"));
    assert!(matches!(result, Err(StageError::Socket { path }) if path == "s"));
}

#[test]
fn a_device_node_must_be_declared() {
    if !needs_root("a_device_node_must_be_declared") {
        return;
    }
    let mut space = Space::new();
    let destdir = space.path("dest");
    fs::create_dir_all(destdir.join("dev")).unwrap();
    let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o666));
    rustix::fs::mknodat(rustix::fs::CWD, destdir.join("dev/null"), kind, mode, rustix::fs::makedev(1, 3))
        .unwrap();
    let archive = space.path("a.tar.zst");
    let result = pack(&destdir, identity("a"), &rules(&[]), EPOCH, &archive);
    assert!(matches!(result, Err(StageError::SecurityViolation { path, .. }) if path == "dev/null"));
    assert!(!archive.exists());
    let manifest = pack(&destdir, identity("a"), &rules(&["/dev/null"]), EPOCH, &archive).unwrap();
    let kind = &manifest.contents.entries()[1].kind;
    assert_eq!(*kind, Kind::Device { block: false, major: 1, minor: 3 });
    let plan = check(&space.ownership, &Arc::new(manifest.clone()), &stranger).unwrap();
    let mut sysroot = space.sysroot();
    super::super::merge::apply(&mut sysroot, &plan, &archive, &mut super::super::merge::to_the_end).unwrap();
    space.ownership.record(&manifest, []);
    assert_eq!(space.damage(&manifest), [""; 0]);
}

#[test]
fn owners_are_roots_unless_the_recipe_says_otherwise() {
    let mut space = Space::new();
    let owners = [("/var/mail", "0:12"), ("bin/tool", "7:8")];
    let rules = StagingRules::new(owners, [], true, Accounts::default).unwrap();
    let manifest = space.try_pack("a", &["bin/tool=x", "bin/same==bin/tool", "var/mail/"], &rules).unwrap();
    let owners: Vec<_> = manifest
        .contents
        .entries()
        .iter()
        .map(|entry| (entry.path.to_string(), entry.uid, entry.gid))
        .collect();
    let owners: Vec<_> = owners.iter().map(|(path, uid, gid)| (path.as_str(), *uid, *gid)).collect();
    let expected =
        [("bin", 0, 0), ("bin/same", 0, 0), ("bin/tool", 7, 8), ("var", 0, 0), ("var/mail", 0, 12)];
    assert_eq!(owners, expected);
    // One file cannot have two owners.
    let is_link =
        |entry: &&super::super::manifest::Entry| matches!(entry.kind, Kind::File { link: Some(_), .. });
    assert_eq!(manifest.contents.entries().iter().find(is_link), None);
    let missing = space.try_pack("a", &["bin/tool=x"], &rules);
    assert!(matches!(missing, Err(StageError::Rule { path, .. }) if path == "var/mail"));
}

#[test]
fn owners_arrive_in_the_sysroot() {
    if !needs_root("owners_arrive_in_the_sysroot") {
        return;
    }
    let mut space = Space::new();
    let owners = [("d", "5:6"), ("d/f", "7:8"), ("d/l", "9:10"), ("d/su", "11:12")];
    let rules = StagingRules::new(owners, ["d/su"], true, Accounts::default).unwrap();
    let manifest =
        Arc::new(space.try_pack("a", &["2770 d/", "d/f=x", "d/l->f", "4755 d/su=x"], &rules).unwrap());
    space.apply(&check(&space.ownership, &manifest, &stranger).unwrap()).unwrap();
    let expected = [
        "d 42770 5:6 ".to_owned(),
        format!("d/f 100644 7:8 x @{EPOCH}"),
        "d/l 120777 9:10 f".to_owned(),
        format!("d/su 104755 11:12 x @{EPOCH}"),
    ];
    assert_eq!(space.listing(), expected);
}

#[test]
fn a_damaged_archive_is_noticed_before_anything_is_placed() {
    let mut space = Space::new();
    let manifest = space.pack("a", &["f=some text", "g=other text"]);
    let archive = space.archive("a");
    let whole = fs::read(&archive).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x11;
        fs::write(&archive, &bytes).unwrap();
        assert!(matches!(verify(&archive, &manifest), Err(StageError::Damaged { .. })));
        let plan = check(&space.ownership, &manifest, &stranger).unwrap();
        match space.apply(&plan) {
            // A bit that only the frame's checksum covers.
            Ok(()) | Err(MergeError::Damaged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        for (name, text) in [("f", "some text"), ("g", "other text")] {
            assert!(!space.has(name) || space.read(name) == text);
        }
        fs::remove_dir_all(space.path("sysroot")).unwrap();
    }
    fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(verify(&archive, &manifest), Err(StageError::Damaged { .. })));
}

#[test]
fn a_manifest_that_would_leave_the_sysroot_is_not_loaded() {
    let mut space = Space::new();
    let path = space.path("a.manifest");
    space.pack("a", &["bin/f=x"]).store(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let changes = [
        (r#""bin/f""#, r#""../f""#),
        (r#""bin/f""#, r#""/bin/f""#),
        (r#""bin/f""#, r#""sbin/f""#),
        (r#""0644""#, r#""10000644""#),
        (r#""format":1"#, r#""format":2"#),
        (r#""size":1"#, r#""size":-1"#),
        (r#""type":"file""#, r#""type":"char""#),
    ];
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replace(from, to)).unwrap();
        assert!(matches!(Manifest::load(&path), Err(StageError::Damaged { .. })), "{to}");
    }
}

fn any_tree() -> impl Strategy<Value = Vec<String>> {
    let name = prop::sample::select(vec!["a", "b", "c/d", "c/e", "c/f/g", "h-i", "h/j"]);
    let line = (name, 0..4u8, "[a-z]{0,9}", prop::sample::select(vec!["0644", "0755", "0600", "1755"]))
        .prop_map(|(name, kind, text, mode)| match kind {
            0 => (name, format!("{name}->{text}x")),
            1 => (name, format!("{mode} {name}/")),
            2 => (name, format!("|{name}")),
            _ => (name, format!("{mode} {name}={text}")),
        });
    prop::collection::vec(line, 0..8).prop_map(|lines| {
        let mut seen = std::collections::BTreeSet::new();
        lines.into_iter().filter(|(name, _)| seen.insert(*name)).map(|(_, line)| line).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packing_and_merging_reproduces_any_tree(lines in any_tree(), next in any_tree()) {
        let mut space = Space::new();
        for lines in [lines, next] {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let manifest = space.merge("a", &lines, &[]).unwrap();
            let clean = space.path("clean");
            stage(&lines, &clean);
            let again = space.path("again.tar.zst");
            let merged = pack(&space.path("sysroot"), identity("a"), &rules(&[]), EPOCH, &again).unwrap();
            prop_assert_eq!(&merged.contents, &manifest.contents);
            prop_assert_eq!(merged.contents.entries().len(), listing(&clean).len());
            fs::remove_dir_all(clean).unwrap();
        }
    }
}
