//! Each `tests/golden/diagnostics/NAME.case` holds the files of a definition, each after a line
//! `=== FILE ===`; what is said of it is NAME.snap beside it. `INSTA_UPDATE=always cargo nextest run golden`
//! writes those anew.

use std::fs;
use std::path::Path;

use kiln::config::render;

use super::space::Space;

/// Stands for kiln.yaml where a case is about recipes.
const PLAIN: &str = "build_phases: {all: {order: 1, steps: [a]}}\n";

fn files(case: &str) -> Vec<(&str, Vec<u8>)> {
    let mut files = vec![("kiln.yaml", PLAIN.as_bytes().to_owned())];
    for part in case.split("=== ").skip(1) {
        let (name, text) = part.split_once(" ===\n").unwrap();
        // What an editor would not keep is written as an escape.
        let text = text.replace("<CR>", "\r").replace("<BOM>", "\u{feff}").replace("<TAB>", "\t");
        let text = text.replace("<ESC>", "\x1b");
        let bytes = text.split("<FF>").map(str::as_bytes).collect::<Vec<_>>().join(&0xff);
        if name == "kiln.yaml" {
            files.remove(0);
        }
        files.push((name, bytes));
    }
    files
}

#[test]
fn every_wrong_definition_is_explained() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/diagnostics");
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(&directory);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _settings = settings.bind_to_scope();
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "case"));
    paths.sort();
    assert!(paths.len() >= 40, "{}", paths.len());
    for path in paths {
        let case = fs::read_to_string(&path).unwrap();
        let files = files(&case);
        let space = Space::new(files.iter().map(|(name, text)| (*name, &**text)));
        let diagnostics = space.diagnostics();
        assert!(!diagnostics.is_empty(), "{} is right", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        insta::assert_snapshot!(name, render::text(&diagnostics, false));
    }
}

#[test]
fn json_has_exactly_these_keys() {
    let space = Space::kiln_yaml("build_phases: {all: {order: 1, steps: [a], critcal: no}}\n");
    let report = serde_json::to_value(render::report(&space.diagnostics())).unwrap();
    let expected = serde_json::json!({"ok": false, "diagnostics": [{
        "severity": "error", "code": "unknown-key", "message": "unknown key `critcal`",
        "file": "kiln.yaml", "line": 1, "column": 44, "hint": "did you mean `critical`?",
    }]});
    assert_eq!(report, expected);
    let space = Space::new([("packages/a.yaml", &b"package: a"[..])]);
    let report = serde_json::to_value(render::report(&space.diagnostics())).unwrap();
    assert_eq!(report["diagnostics"][0]["code"], "missing-file");
    assert_eq!(report["diagnostics"][0]["file"], "kiln.yaml");
    assert!(report["diagnostics"][0]["line"].is_null());
}

#[test]
fn a_warning_alone_is_ok() {
    let space = Space::kiln_yaml(
        "build_phases: {all: {order: 1, steps: [a], requirements: {toolchain: complete}}}\n",
    );
    let (_, warnings) = space.load().unwrap();
    assert_eq!(warnings.len(), 1);
    let report = serde_json::to_value(render::report(&space.diagnostics())).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["diagnostics"][0]["severity"], "warning");
}
