//! `config/framework`: the framework's document, word for word, with a recipe for each of its steps.
#![cfg(target_arch = "x86_64")] // the C library that it builds knows no other

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use super::sources::sha256;
use super::space::{RUN, Space};
use super::tree::Tree;

/// A space with the framework's definition. Its requirements are lowered only where this machine has less.
fn framework() -> Space {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/framework");
    let space = Space::new();
    let mut document = fs::read_to_string(shipped.join("kiln.yaml")).unwrap();
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap().trim();
    let memory: u64 = memory.trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
    let disk = rustix::fs::statvfs(space.definition()).unwrap();
    // A fifth more than the most that is required: others use this machine, too.
    if memory < 10 << 30 {
        document =
            document.replace("memory: \"4G\"", "memory: \"1M\"").replace("memory: \"8G\"", "memory: \"1M\"");
    }
    if disk.f_bavail * disk.f_frsize < 36 << 30 {
        for required in ["15G", "20G", "30G"] {
            document = document.replace(&format!("disk_space: \"{required}\""), "disk_space: \"1M\"");
        }
    }
    space.document(&document);
    for file in fs::read_dir(shipped.join("packages")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), space.definition().join("packages").join(file.file_name())).unwrap();
    }
    space
}

#[test]
fn the_frameworks_document_checks_plans_and_runs() {
    let space = framework();
    let check = space.kiln(&["check", "--json"]).exits(0).json();
    assert_eq!(check, serde_json::json!({"ok": true, "diagnostics": []}));

    let plan = space.kiln(&["plan", "--json"]).exits(0).json();
    let rows = plan["packages"].as_array().unwrap();
    let planned: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    let steps: BTreeSet<_> = rows.iter().map(|row| row["step"].as_str().unwrap()).collect();
    assert_eq!(steps.len(), 11, "{steps:?}");
    assert_eq!(planned.len(), 18, "{planned:?}");

    space.kiln(&RUN).exits(0);
    let ledger = space.ledger();
    assert_eq!(ledger.all("phase_finished", "phase"), ["toolchain", "base_system", "desktop"]);
    // `topological`: one after another, in the order of the plan.
    assert_eq!(ledger.all("package_completed", "package"), planned);
    assert_eq!(ledger.of("task_failed").count(), 0);

    let sysroot = space.sysroot();
    let driver = sysroot.at("tools/bin/x86_64-mini-linux-gcc");
    assert!(driver.contains("/usr/include") && !driver.contains("-ffreestanding"), "pass 2 took over");
    assert_eq!(sysroot.at("etc/mtab"), "symlink 0000 ../proc/self/mounts");
    assert_eq!(sysroot.at("root"), "directory 0700");
    assert_eq!(sysroot.at("tmp"), "directory 1777");
    assert!(sysroot.at("usr/share/desktop/session").contains("EDITOR"), "an optional dependency was there");
    nothing_of_the_host_is_in(&space);
    programs_run(&space);
    the_image_can_boot(&space);
    space.sysroot().assert_identical(&sysroot);

    space.kiln(&RUN).exits(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);
}

#[test]
fn what_is_built_elsewhere_or_anew_is_the_same_byte_by_byte() {
    let space = framework();
    space.kiln(&RUN).exits(0);
    let first = archives(&space.state());
    let packages: BTreeSet<_> = first.keys().map(|name| name.split('/').next().unwrap()).collect();
    assert_eq!((first.len(), packages.len()), (17, 17), "one of each, and none of desktop_test");

    // Of another length, so that padding cannot hide a path.
    let elsewhere = space.path("another/and/longer/state");
    let mut command = space.bare_command(&RUN);
    command.arg(space.definition()).arg("--state").arg(&elsewhere);
    space.start_command(command).wait().exits(0);
    assert_same(&first, &archives(&elsewhere));
    Tree::read(&elsewhere.join("sysroot")).assert_identical(&space.sysroot());

    // In a sysroot where pass 2 has taken pass 1's place, and the desktop is there before the image.
    space.kiln(&["run", "--no-listen", "--force", "gcc_pass1"]).exits(0);
    let again = space.ledger().last_start().worked_on();
    assert!(
        again.contains(&"glibc_library".to_owned()) && again.contains(&"bootloader".to_owned()),
        "{again:?}"
    );
    assert_same(&first, &archives(&space.state()));
}

/// By path below `packages`, the bytes of each archive.
fn archives(state: &Path) -> BTreeMap<String, Vec<u8>> {
    let root = state.join("packages");
    let entries = walkdir::WalkDir::new(&root).into_iter().map(|entry| entry.unwrap().into_path());
    let archives = entries.filter(|path| path.to_str().unwrap().ends_with(".tar.zst"));
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    archives.map(|path| (name(&path), fs::read(path).unwrap())).collect()
}

#[track_caller]
fn assert_same(first: &BTreeMap<String, Vec<u8>>, second: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    let differ: Vec<_> = first.keys().filter(|name| first[*name] != second[*name]).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// No program needs a loader or a library, and no file names the host's C library or the space.
fn nothing_of_the_host_is_in(space: &Space) {
    let mut programs = 0;
    for entry in walkdir::WalkDir::new(space.state().join("sysroot")) {
        let entry = entry.unwrap();
        if !entry.file_type().is_file() {
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        let names = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        for text in ["GLIBC_2", "ld-linux", "libc.so", &space.here().to_string()] {
            assert!(!names(text), "{}: {text}", entry.path().display());
        }
        if bytes.starts_with(b"\x7fELF") {
            programs += usize::from(!segments(&bytes).is_empty());
            for kind in segments(&bytes) {
                const DYNAMIC: u32 = 2;
                const INTERPRETER: u32 = 3;
                assert!(kind != DYNAMIC && kind != INTERPRETER, "{}: {kind}", entry.path().display());
            }
        }
    }
    assert_eq!(programs, 15);
}

/// Types of the segments of an ELF file.
fn segments(elf: &[u8]) -> Vec<u32> {
    let number = |at: usize, size: usize| {
        elf[at..at + size].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
    };
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).map(|index| u32::try_from(number(start + index * size, 4)).unwrap()).collect()
}

/// The system's shell and programs, and a program that its compiler makes outside of any task.
fn programs_run(space: &Space) {
    let sysroot = space.state().join("sysroot");
    let here = space.path("here");
    fs::create_dir(&here).unwrap();
    fs::write(here.join("hello.c"), "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n")
        .unwrap();
    fs::write(here.join("edits"), "2d\n,s/o/0/g\na\nthree\n.\nw\n").unwrap();
    fs::write(here.join("draw"), "screen 4 2\nfill 0 0 2 2 ffffff\n").unwrap();
    fs::write(
        here.join("script"),
        "WHAT='one two' ; echo \"$WHAT\" | wc\n\
         echo foo > text ; echo bar >> text ; ed text < edits && cat text\n\
         xserver -o picture < draw && view picture\n\
         cc -o hello hello.c && ./hello | cat\n\
         nobody || ls\n\
         exit 3\n",
    )
    .unwrap();
    let directories = ["bin", "usr/bin", "tools/bin"].map(|name| sysroot.join(name));
    let ended = Command::new(sysroot.join("bin/sh"))
        .arg("script")
        .env_clear()
        .env("PATH", std::env::join_paths(directories).unwrap())
        .current_dir(&here)
        .output()
        .unwrap();
    let said = "1 2 8\nf00\nthree\n@@  \nhello\ndraw\nedits\nhello\nhello.c\npicture\nscript\ntext\n";
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), said);
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "nobody: no such file\n");
    assert_eq!(ended.status.code(), Some(3));
}

/// One entry of an image.
#[derive(Debug)]
struct Packed {
    mode: usize,
    owner: (usize, usize),
    time: usize,
    content: Vec<u8>,
}

/// Entries of a cpio archive of the kind `newc`, which is what the kernel unpacks.
fn unpack(image: &[u8]) -> BTreeMap<String, Packed> {
    let mut entries = BTreeMap::new();
    let mut at = 0;
    loop {
        let head = std::str::from_utf8(&image[at..at + 110]).unwrap();
        assert!(head.starts_with("070701"), "{head}");
        let field = |index: usize| usize::from_str_radix(&head[6 + 8 * index..14 + 8 * index], 16).unwrap();
        let (size, length) = (field(6), field(11));
        let name = std::str::from_utf8(&image[at + 110..at + 109 + length]).unwrap();
        let content = (at + 110 + length).next_multiple_of(4);
        at = (content + size).next_multiple_of(4);
        if name == "TRAILER!!!" {
            assert_eq!(at, image.len());
            return entries;
        }
        if let Some((parent, _)) = name.rsplit_once('/') {
            assert!(entries.contains_key(parent), "{name} comes before its directory");
        }
        let content = image[content..content + size].to_vec();
        let packed = Packed { mode: field(1), owner: (field(2), field(3)), time: field(5), content };
        entries.insert(name.to_owned(), packed);
    }
}

fn the_image_can_boot(space: &Space) {
    let sysroot = space.state().join("sysroot");
    let image = fs::read(sysroot.join("boot/initramfs.cpio")).unwrap();
    let manifest = fs::read(sysroot.join("boot/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(
        manifest["initramfs"],
        serde_json::json!({"file": "initramfs.cpio", "bytes": image.len(), "sha256": sha256(&image)})
    );

    let entries = unpack(&image);
    let modes = [
        ("init", 0o120_777),
        ("sbin/init", 0o100_755),
        ("bin/sh", 0o100_755),
        ("etc/rc", 0o100_644),
        ("root", 0o40_700),
        ("tmp", 0o41_777),
        ("dev", 0o40_755),
    ];
    for (name, mode) in modes {
        assert_eq!(entries[name].mode, mode, "{name}");
    }
    assert_eq!(entries["init"].content, b"sbin/init");
    assert_eq!(entries["etc/mtab"].content, b"../proc/self/mounts");
    for name in ["sbin/init", "bin/sh", "bin/mount", "etc/rc", "etc/profile", "etc/passwd"] {
        assert_eq!(entries[name].content, fs::read(sysroot.join(name)).unwrap(), "{name}");
    }
    for (name, entry) in &entries {
        assert_eq!((entry.owner, entry.time), ((0, 0), 1_700_000_000), "{name}");
        assert!(!["usr", "tools", "boot"].iter().any(|other| name.starts_with(other)), "{name}");
    }
}
