//! Archives of every format, made here entry by entry; and hostile ones.

mod hostile;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use super::{Source, UnpackError, Unpacked, give, stem, unpack};
use crate::driver::stage::testing::{directory, needs_root};

/// A tar, written as it comes: nothing is checked.
#[derive(Debug, Default, Clone)]
struct Tar(Vec<u8>);

#[derive(Clone, Copy)]
struct Meta {
    kind: u8,
    mode: u32,
    mtime: u64,
}

const FILE: Meta = Meta { kind: b'0', mode: 0o644, mtime: 1_000 };
const DIRECTORY: Meta = Meta { kind: b'5', mode: 0o755, mtime: 1_000 };
const LINK: Meta = Meta { kind: b'1', mode: 0o644, mtime: 1_000 };
const SYMLINK: Meta = Meta { kind: b'2', mode: 0o777, mtime: 1_000 };

impl Tar {
    fn entry(mut self, meta: Meta, name: &[u8], link: &[u8], data: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        for (long, text) in [(b'L', name), (b'K', link)] {
            if text.len() > 100 {
                self =
                    self.entry(Meta { kind: long, ..FILE }, b"././@LongLink", b"", &[text, b"\0"].concat());
            }
        }
        let old = header.as_old_mut();
        old.name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        old.linkname[..link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        header.set_entry_type(tar::EntryType::new(meta.kind));
        header.set_mode(meta.mode);
        header.set_mtime(meta.mtime);
        header.set_uid(12_345);
        header.set_gid(12_345);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.entry(FILE, name.as_bytes(), b"", data.as_bytes())
    }

    fn directory(self, name: &str) -> Self {
        self.entry(DIRECTORY, name.as_bytes(), b"", b"")
    }

    fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(SYMLINK, name.as_bytes(), to.as_bytes(), b"")
    }

    fn hard_link(self, name: &str, to: &str) -> Self {
        self.entry(LINK, name.as_bytes(), to.as_bytes(), b"")
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut data = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let mut length = rest.len() + 1;
            while length != rest.len() + length.to_string().len() {
                length += 1;
            }
            data.extend([length.to_string(), rest]);
        }
        self.entry(Meta { kind: b'x', ..FILE }, b"pax", b"", data.as_bytes())
    }

    fn bytes(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A place with a cache, a work directory and a canary that nothing may touch.
struct Space {
    top: TempDir,
    sources: Vec<Source>,
}

impl Space {
    fn new() -> Self {
        let top = directory();
        fs::create_dir(top.path().join("outside")).unwrap();
        fs::write(top.path().join("outside/canary"), "alive").unwrap();
        Self { top, sources: Vec::new() }
    }

    fn add(mut self, file: &str, bytes: &[u8]) -> Self {
        let path = self.top.path().join(format!("cached-{}", self.sources.len()));
        fs::write(&path, bytes).unwrap();
        self.sources.push(Source { path, file: file.into() });
        self
    }

    fn src(&self) -> PathBuf {
        self.top.path().join("src")
    }

    fn unpack(&self) -> Result<Unpacked, UnpackError> {
        let result = unpack(&self.sources, &self.src(), &AtomicBool::new(false));
        self.check_canary();
        result
    }

    #[track_caller]
    fn check_canary(&self) {
        let outside = self.top.path().join("outside");
        let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["canary"]);
        assert_eq!(fs::read_to_string(outside.join("canary")).unwrap(), "alive");
        assert_eq!(fs::metadata(outside.join("canary")).unwrap().nlink(), 1);
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.src().join(path)).unwrap()
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.src().join(path)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn sample() -> Tar {
    Tar::default().directory("pkg-1.0/").file("pkg-1.0/README", "read me").file("pkg-1.0/src/main.c", "main")
}

fn compress(format: &str, data: &[u8]) -> Vec<u8> {
    match format {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        "bz2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        _ => data.to_vec(),
    }
}

#[test]
fn every_format_is_known_by_its_bytes_whatever_the_name() {
    for format in ["", "gz", "bz2", "xz", "zst"] {
        let space = Space::new().add("source", &compress(format, &sample().bytes()));
        assert_eq!(space.unpack().unwrap().newest_mtime, Some(1_000), "{format}");
        assert_eq!(space.names(""), ["README", "src"], "{format}");
        assert_eq!(space.read("src/main.c"), "main", "{format}");
    }
}

#[test]
fn a_later_archive_goes_below_its_own_top_directory_or_its_name() {
    let later = Tar::default().directory("gmp-6/").file("gmp-6/gmp.h", "gmp");
    let flat = Tar::default().file("one", "1").file("two", "2");
    let space = Space::new()
        .add("fix.patch", b"--- a\n+++ b\n")
        .add("pkg.tar", &sample().bytes())
        .add("gmp.tar.gz", &compress("gz", &later.bytes()))
        .add("data-1.5.tar.xz", &compress("xz", &flat.bytes()));
    space.unpack().unwrap();
    assert_eq!(space.names(""), ["README", "data-1.5", "fix.patch", "gmp-6", "src"]);
    assert_eq!(space.names("data-1.5"), ["one", "two"]);
    assert_eq!(space.read("gmp-6/gmp.h"), "gmp");
}

#[test]
fn an_archive_without_a_single_top_directory_stays_as_it_is() {
    let space = Space::new().add("a.tar", &sample().file("top", "t").bytes());
    space.unpack().unwrap();
    assert_eq!(space.names(""), ["pkg-1.0", "top"]);
    let lone = Space::new().add("a.tar", &Tar::default().file("./only", "o").bytes());
    lone.unpack().unwrap();
    assert_eq!(lone.names(""), ["only"]);
}

#[test]
fn sources_with_a_directory_in_common_are_merged() {
    let docs = Tar::default().directory("src/").file("src/extra.c", "extra").file("src/main.c", "newer");
    let space = Space::new().add("a.tar", &sample().bytes()).add("b.tar", &docs.bytes());
    space.unpack().unwrap();
    assert_eq!(space.names("src"), ["extra.c", "main.c"]);
    assert_eq!(space.read("src/main.c"), "newer");
}

#[test]
fn a_compressed_file_that_is_no_tar_is_copied_as_it_is() {
    let patch = compress("gz", b"just a patch");
    let space =
        Space::new().add("fix.patch.gz", &patch).add("empty", b"").add("data.xz", &compress("xz", b""));
    assert_eq!(space.unpack().unwrap().newest_mtime, None);
    assert_eq!(fs::read(space.src().join("fix.patch.gz")).unwrap(), patch);
    assert_eq!(space.names(""), ["data.xz", "empty", "fix.patch.gz"]);
}

#[test]
fn modes_lose_the_umask_and_privileges_and_mtimes_are_kept() {
    let tar = Tar::default()
        .entry(Meta { kind: b'5', mode: 0o2777, mtime: 5_000 }, b"p/", b"", b"")
        .entry(Meta { kind: b'0', mode: 0o6777, mtime: 2_000 }, b"p/run", b"", b"x")
        .entry(Meta { kind: b'5', mode: 0o555, mtime: 3_000 }, b"p/ro/", b"", b"")
        .entry(Meta { kind: b'0', mode: 0o444, mtime: 4_000 }, b"p/ro/data", b"", b"x")
        .pax(&[("mtime", "4321.125")])
        .file("p/fine", "");
    let space = Space::new().add("a.tar", &tar.bytes());
    assert_eq!(space.unpack().unwrap().newest_mtime, Some(4_321));
    let look = |path: &str| {
        let meta = fs::metadata(space.src().join(path)).unwrap();
        (meta.permissions().mode() & 0o7777, meta.mtime())
    };
    assert_eq!(look("run"), (0o755, 2_000));
    assert_eq!(look("ro"), (0o755, 3_000));
    assert_eq!(look("ro/data"), (0o444, 4_000));
    let fine = fs::metadata(space.src().join("fine")).unwrap();
    assert_eq!((fine.mtime(), fine.mtime_nsec()), (4_321, 125_000_000));
    let owner = fs::metadata(space.top.path()).unwrap().uid();
    assert_eq!(fine.uid(), owner);
}

#[test]
fn links_long_names_and_old_archives_are_understood() {
    let deep = format!("p/{}/{}", "d".repeat(120), "f".repeat(120));
    let tar = Tar::default()
        .entry(Meta { kind: b'g', ..FILE }, b"pax_global_header", b"", b"20 comment=whatever\n")
        .entry(Meta { kind: 0, ..DIRECTORY }, b"p/old/", b"", b"")
        .file(&deep, "deep")
        .symlink("p/dangling", "../../outside/canary")
        .symlink("p/absolute", "/etc/passwd")
        .hard_link("p/again", &deep)
        .hard_link("p/link-to-link", "p/dangling")
        .pax(&[("path", "p/päx"), ("mtime", "7")])
        .file("p/short", "pax");
    let space = Space::new().add("a.tar", &tar.bytes());
    space.unpack().unwrap();
    assert!(space.src().join("old").is_dir());
    assert_eq!(space.read(deep.trim_start_matches("p/")), "deep");
    assert_eq!(space.read("again"), "deep");
    assert_eq!(fs::metadata(space.src().join("again")).unwrap().nlink(), 2);
    assert_eq!(fs::read_link(space.src().join("dangling")).unwrap(), Path::new("../../outside/canary"));
    assert_eq!(fs::read_link(space.src().join("link-to-link")).unwrap(), Path::new("../../outside/canary"));
    assert_eq!(fs::symlink_metadata(space.src().join("dangling")).unwrap().mtime(), 1_000);
    assert_eq!(fs::read_link(space.src().join("absolute")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(space.read("päx"), "pax");
}

#[test]
fn sparse_files_come_out_with_their_holes() {
    // GNU: two pieces of data, listed in the header.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_path("p/gnu").unwrap();
    header.set_mode(0o644);
    header.set_size(1024);
    header.set_mtime(9);
    let gnu = header.as_gnu_mut().unwrap();
    for (piece, offset) in gnu.sparse.iter_mut().zip([4096u64, 65_536]) {
        piece.offset[..11].copy_from_slice(format!("{offset:011o}").as_bytes());
        piece.numbytes[..11].copy_from_slice(b"00000001000");
    }
    gnu.realsize[..11].copy_from_slice(format!("{:011o}", 65_536 + 512).as_bytes());
    header.set_cksum();
    let mut tar = Tar::default();
    tar.0.extend_from_slice(header.as_bytes());
    tar.0.extend_from_slice(&[b'a'; 1024]);
    // PAX 1.0: the map comes first in the data.
    let mut data = b"2\n4096\n512\n1048576\n0\n".to_vec();
    data.resize(512, 0);
    data.extend_from_slice(&[b'b'; 512]);
    let tar = tar
        .pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "p/pax"),
            ("GNU.sparse.realsize", "1048576"),
        ])
        .entry(FILE, b"p/GNUSparseFile.0/pax", b"", &data)
        .file("p/after", "in step");
    let space = Space::new().add("a.tar", &tar.bytes());
    space.unpack().unwrap();
    let gnu = fs::read(space.src().join("gnu")).unwrap();
    assert_eq!((gnu.len(), gnu[4095], gnu[4096], gnu[65_535], gnu[65_536]), (66_048, 0, b'a', 0, b'a'));
    let pax = fs::read(space.src().join("pax")).unwrap();
    assert_eq!((pax.len(), pax[4095], pax[4096], pax[4608]), (1_048_576, 0, b'b', 0));
    assert!(fs::metadata(space.src().join("pax")).unwrap().blocks() * 512 < 1_048_576);
    assert_eq!(space.read("after"), "in step");
}

#[test]
fn what_would_leave_the_directory_is_refused() {
    let hostile = [
        ("absolute", Tar::default().file("/outside/x", "x")),
        ("dots", Tar::default().file("p/../../outside/x", "x")),
        ("dots in a directory", Tar::default().directory("../outside/d/")),
        ("through a symlink", Tar::default().symlink("p/l", "../../../outside").file("p/l/x", "x")),
        ("through an absolute symlink", Tar::default().symlink("l", "/tmp").file("l/kiln-x", "x")),
        ("directory over a symlink", Tar::default().symlink("l", "../../outside").directory("l/")),
        (
            "through a symlink that stays inside",
            Tar::default().directory("d/").symlink("l", "d").file("l/x", "x"),
        ),
        ("hard link outside", Tar::default().hard_link("p/h", "../../outside/canary")),
        ("absolute hard link", Tar::default().hard_link("p/h", "/etc/passwd")),
        (
            "hard link through a symlink",
            Tar::default().symlink("l", "../../outside").hard_link("h", "l/canary").file("h", "x"),
        ),
        ("device", Tar::default().entry(Meta { kind: b'3', ..FILE }, b"p/null", b"", b"")),
        ("fifo", Tar::default().entry(Meta { kind: b'6', ..FILE }, b"p/fifo", b"", b"")),
    ];
    for (what, tar) in hostile {
        let space = Space::new().add("evil.tar", &tar.bytes());
        let result = space.unpack();
        assert!(
            matches!(&result, Err(UnpackError::Escape { file, entry, .. })
            if file == "evil.tar" && !entry.is_empty()),
            "{what}: {result:?}"
        );
    }
    for file in ["../x", "/x", "a/b", ".kiln-unpack", ""] {
        let result = Space::new().add(file, b"x").unpack();
        assert!(matches!(result, Err(UnpackError::Escape { .. })), "{file}: {result:?}");
    }
}

#[test]
fn a_symlink_is_replaced_and_not_written_through() {
    let tar = Tar::default().symlink("p/l", "../../outside/canary").file("p/l", "mine").file("p/k", "k");
    let space = Space::new().add("a.tar", &tar.bytes());
    space.unpack().unwrap();
    assert_eq!(space.read("l"), "mine");
    // Nor is one that is there already.
    let space = Space::new().add("x", b"plain").add("a.tar", &Tar::default().file("y", "y").bytes());
    fs::create_dir(space.src()).unwrap();
    symlink("../outside/canary", space.src().join("x")).unwrap();
    symlink("../outside", space.src().join("y")).unwrap();
    space.unpack().unwrap();
    assert_eq!((space.read("x"), space.read("y")), ("plain".into(), "y".into()));
}

#[test]
fn an_archive_that_contradicts_itself_is_damaged() {
    let bad = [
        Tar::default().directory("p/d/").file("p/d", "x"),
        Tar::default().file("p/f", "x").file("p/f/g", "x"),
        Tar::default().file("p/f", "x").directory("p/f/"),
        Tar::default().hard_link("p/h", "p/none"),
        Tar::default().directory("p/d/").hard_link("p/h", "p/d"),
        Tar::default().symlink("p/s", ""),
        Tar::default().file(&"d/".repeat(300), "x"),
    ];
    for (at, tar) in bad.into_iter().enumerate() {
        let result = Space::new().add("a.tar", &tar.bytes()).unpack();
        assert!(matches!(result, Err(UnpackError::Damaged { .. })), "{at}: {result:?}");
    }
}

#[test]
fn every_truncation_of_a_compressed_archive_is_damage() {
    let tar = sample().entry(
        FILE,
        b"pkg-1.0/data",
        b"",
        &(0..20_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>(),
    );
    for format in ["gz", "bz2", "xz", "zst"] {
        let whole = compress(format, &tar.clone().bytes());
        for length in (20..whole.len()).step_by(whole.len() / 7).chain([whole.len() - 1]) {
            let result = Space::new().add("a.tar", &whole[..length]).unpack();
            assert!(matches!(result, Err(UnpackError::Damaged { .. })), "{format} {length}: {result:?}");
        }
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x55;
        let result = Space::new().add("a.tar", &flipped).unpack();
        assert!(matches!(result, Err(UnpackError::Damaged { .. })), "{format}: {result:?}");
    }
    let plain = tar.bytes();
    for length in [700, 1536 + 100, plain.len() - 2000] {
        let result = Space::new().add("a.tar", &plain[..length]).unpack();
        assert!(matches!(result, Err(UnpackError::Damaged { .. })), "{length}: {result:?}");
    }
}

#[test]
fn gzip_members_follow_each_other_and_padding_is_ignored() {
    let tar = sample().bytes();
    let (first, second) = tar.split_at(700);
    let bytes = [compress("gz", first), compress("gz", second), vec![0; 600]].concat();
    let space = Space::new().add("a", &bytes);
    space.unpack().unwrap();
    assert_eq!(space.read("README"), "read me");
}

#[test]
fn cancelling_ends_it() {
    let space = Space::new().add("a.tar.gz", &compress("gz", &sample().bytes()));
    let result = unpack(&space.sources, &space.src(), &AtomicBool::new(true));
    assert!(matches!(result, Err(UnpackError::Cancelled)));
}

#[test]
fn a_missing_source_is_the_systems_fault() {
    let mut space = Space::new();
    space.sources.push(Source { path: space.top.path().join("none"), file: "none".into() });
    assert!(matches!(space.unpack(), Err(UnpackError::Io { path, .. }) if path.ends_with("none")));
}

#[test]
fn an_interrupted_unpacking_leaves_nothing_behind_for_the_next() {
    let space = Space::new().add("a.tar", &sample().bytes());
    fs::create_dir_all(space.src().join(".kiln-unpack/stale/dir")).unwrap();
    space.unpack().unwrap();
    assert_eq!(space.names(""), ["README", "src"]);
}

fn zip(entries: &[(&str, Option<u32>, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, mode, data) in entries {
        let time = zip::DateTime::from_date_and_time(2020, 1, 2, 3, 4, 6).unwrap();
        let mut options = zip::write::SimpleFileOptions::default().last_modified_time(time);
        if let Some(mode) = mode {
            options = options.unix_permissions(mode & 0o777);
        }
        match mode.unwrap_or(0) & 0o170_000 {
            0o120_000 => writer.add_symlink(*name, *data, options).unwrap(),
            _ if name.ends_with('/') => writer.add_directory(*name, options).unwrap(),
            _ => {
                writer.start_file(*name, options).unwrap();
                writer.write_all(data.as_bytes()).unwrap();
            }
        }
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_zip_keeps_modes_times_and_symlinks() {
    let bytes = zip(&[
        ("p/", Some(0o40_755), ""),
        ("p/run", Some(0o100_775), "#!"),
        ("p/sub/data", None, "data"),
        ("p/link", Some(0o120_777), "../../outside/canary"),
    ]);
    let space = Space::new().add("a.zip", &bytes);
    let unpacked = space.unpack().unwrap();
    assert_eq!(unpacked.newest_mtime, Some(1_577_934_246));
    assert_eq!(fs::metadata(space.src().join("run")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(space.read("sub/data"), "data");
    assert_eq!(fs::read_link(space.src().join("link")).unwrap(), Path::new("../../outside/canary"));
}

#[test]
fn a_hostile_zip_is_refused() {
    let link = Some(0o120_777);
    let hostile: [&[(&str, Option<u32>, &str)]; 4] = [
        &[("../outside/x", None, "x")],
        &[("/outside/x", None, "x")],
        &[("l", link, "../../outside"), ("l/x", None, "x")],
        &[("a/../../outside/x", None, "x")],
    ];
    for entries in hostile {
        let result = Space::new().add("evil.zip", &zip(entries)).unpack();
        assert!(matches!(result, Err(UnpackError::Escape { .. })), "{entries:?}: {result:?}");
    }
    let whole = zip(&[("p/a", None, "some data"), ("p/b", None, "more data")]);
    for length in [30, 60, whole.len() - 1] {
        let result = Space::new().add("a.zip", &whole[..length]).unpack();
        assert!(matches!(result, Err(UnpackError::Damaged { .. })), "{length}: {result:?}");
    }
}

#[test]
fn giving_away_changes_links_and_not_what_they_point_to() {
    if !needs_root("giving_away_changes_links_and_not_what_they_point_to") {
        return;
    }
    let space = Space::new().add("a.tar", &sample().symlink("pkg-1.0/l", "../outside/canary").bytes());
    space.unpack().unwrap();
    give(&space.src(), 4_321, 1_234).unwrap();
    for path in ["", "l", "src/main.c"] {
        let meta = fs::symlink_metadata(space.src().join(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (4_321, 1_234), "{path}");
    }
    assert_eq!(fs::metadata(space.top.path().join("outside/canary")).unwrap().uid(), 0);
}

#[test]
fn a_stem_has_no_extension_of_archives() {
    let stems = [
        ("gmp-6.3.0.tar.xz", "gmp-6.3.0"),
        ("x.tgz", "x"),
        ("1.5.zip", "1.5"),
        (".tar", ".tar"),
        ("v2", "v2"),
    ];
    for (file, expected) in stems {
        assert_eq!(stem(file), expected);
    }
}
