//! The framework's document, word for word, with a recipe for each of its steps.

use std::fs;
use std::path::Path;

use super::space::{RUN, Space};

/// A space with the framework's definition. Its requirements are lowered only where this machine has less.
fn framework() -> Space {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/framework");
    let space = Space::new();
    let mut document = fs::read_to_string(data.join("kiln.yaml")).unwrap();
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
    for file in fs::read_dir(data.join("packages")).unwrap() {
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
    let names = |rows: &serde_json::Value| -> Vec<String> {
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    let planned = names(&plan["packages"]);
    assert_eq!(planned.len(), 13, "{planned:?}");

    space.kiln(&["run", "--no-listen"]).exits(0);
    let ledger = space.ledger();
    assert_eq!(ledger.all("phase_finished", "phase"), ["toolchain", "base_system", "desktop"]);
    // `topological`: one after another, in the order of the plan.
    assert_eq!(ledger.all("package_completed", "package"), planned);
    let sysroot = space.sysroot();
    assert!(sysroot.at("tools/bin/kiln-cc").contains("-lmini"), "pass 2 took over from pass 1");
    assert_eq!(sysroot.at("etc/mtab"), "symlink 0000 ../proc/self/mounts");
    assert!(sysroot.at("boot/boot.img").starts_with("file 0644 Linux 6.8.0\n\0"));
    assert_eq!(ledger.of("task_failed").count(), 0);

    space.kiln(&RUN).exits(0);
    assert_eq!(space.ledger().last_start().worked_on(), [""; 0]);
}
