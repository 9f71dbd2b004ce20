//! What `kiln check` says of definitions that are right file by file and wrong as a whole: names, versions,
//! phases, cycles (these with `kiln graph --cycles` as well), depth. `tests/golden/graph/NAME.case` and .snap, as in `golden`.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// What a command says in a definition, on standard error, then on standard output.
fn kiln(space: &TempDir, arguments: &[&str]) -> String {
    let kiln = Command::new(env!("CARGO_BIN_EXE_kiln")).args(arguments).current_dir(space).output().unwrap();
    let name = space.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.');
    format!(
        "{}{}exit {}\n",
        String::from_utf8(kiln.stderr).unwrap(),
        String::from_utf8(kiln.stdout).unwrap().replace(name, "NAME"),
        kiln.status.code().unwrap()
    )
}

#[test]
fn every_wrong_graph_is_explained() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/graph");
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(&directory);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _settings = settings.bind_to_scope();
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "case"));
    paths.sort();
    assert!(paths.len() >= 11, "{}", paths.len());
    for path in paths {
        let space = tempfile::tempdir().unwrap();
        fs::create_dir(space.path().join("packages")).unwrap();
        let case = fs::read_to_string(&path).unwrap();
        for part in case.split("=== ").skip(1) {
            let (name, text) = part.split_once(" ===\n").unwrap();
            fs::write(space.path().join(name), text).unwrap();
        }
        let mut said = kiln(&space, &["check"]);
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("cycle") {
            said.push_str(&format!("\n$ kiln graph --cycles\n{}", kiln(&space, &["graph", "--cycles"])));
        }
        insta::assert_snapshot!(name, said);
    }
}

/// Each group has all that come after it as members: the ways from one to the last are beyond counting.
#[test]
fn groups_within_groups_are_packages() {
    const GROUPS: usize = 200;
    let space = tempfile::tempdir().unwrap();
    fs::create_dir(space.path().join("packages")).unwrap();
    fs::write(space.path().join("kiln.yaml"), "build_phases: {all: {order: 1, steps: [g0]}}\n").unwrap();
    let group = |at: usize, back: &str| {
        let members = (at + 1..GROUPS).map(|member| format!("g{member}, "));
        format!("package: g{at}\ngroup: [{}{back}a]\n---\n", members.collect::<Vec<_>>().concat())
    };
    let write = |back: &str| {
        let groups = (0..GROUPS).map(|at| group(at, if at == GROUPS - 1 { back } else { "" }));
        let recipes = groups.collect::<String>() + "package: a\nversion: 1\ntasks: {build: make}\n";
        fs::write(space.path().join("packages/all.yaml"), recipes).unwrap();
    };
    write("");
    assert_eq!(kiln(&space, &["check"]), "NAME: ok, 1 package in 1 phase\nexit 0\n");
    write("g7, ");
    let said = kiln(&space, &["check"]);
    assert!(said.contains("group `g199` contains itself through `g7`"), "{said}");
    assert!(said.contains("group `g7` contains itself through `g199`"), "{said}");
    assert!(!said.contains("group `g6` contains itself"), "{said}");
}
