//! What other programs read: the shapes of design section 12, as golden files.

use insta::{Settings, assert_snapshot};

use super::building::{DOCUMENT, RECIPES};
use super::space::Space;

fn space() -> Space {
    let space = Space::new();
    space.document(DOCUMENT);
    space.recipes(RECIPES);
    space
}

/// Compares with `tests/golden/documents/NAME.snap`; digests and the space's path are written out of it.
#[track_caller]
pub(super) fn golden(name: &str, space: &Space, text: &str) {
    let mut settings = Settings::clone_current();
    settings.set_snapshot_path("../golden/documents");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let text = without_times(&without_digests(&text.replace(&space.here().to_string(), "SPACE")));
    settings.bind(|| assert_snapshot!(name, text));
}

fn without_times(text: &str) -> String {
    let times = regex::Regex::new(r"\d{4}-\d\d-\d\dT[\d:]+Z|(?:completed|read back,) in [\dms]+").unwrap();
    times.replace_all(text, "TIME").into_owned()
}

fn without_digests(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let length = rest[at..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len() - at);
        out.push_str(&rest[..at]);
        out.push_str(if length == 64 { "DIGEST" } else { &rest[at..at + length] });
        rest = &rest[at + length..];
    }
    out + rest
}

#[test]
fn plan() {
    let space = space();
    golden("plan-before", &space, &space.kiln(&["plan", "--json"]).exits(0).stdout);
    space.run(0);
    space.recipes(&RECIPES.replace("echo ls >", "echo list >"));
    // Without what it took: that differs from one run to the next.
    let mut plan = space.kiln(&["plan", "--json"]).exits(0).json();
    for package in plan["packages"].as_array_mut().unwrap() {
        let expected = package["expected_seconds"].take();
        let installed = package["name"] != "viewer";
        assert!(expected.is_number() || expected.is_null() && !installed, "{package}: {expected}");
    }
    plan["critical_path"].take();
    golden("plan-after-a-change", &space, &serde_json::to_string_pretty(&plan).unwrap());
}

#[test]
fn plan_with_a_cycle_that_is_broken() {
    let space = Space::new();
    let recipe =
        |name: &str, more: &str| format!("package: {name}\nversion: 1\n{more}\ntasks: {{build: 'true'}}\n");
    let recipes = [recipe("a", "build_deps: [b]"), recipe("b", "optional_deps: [a]")].join("---\n");
    space.packages(&recipes);
    let text = std::fs::read_to_string(space.definition().join("kiln.yaml")).unwrap();
    space.document(&text.replace("method: parallel", "method: parallel, circular_handling: ignore"));
    golden("plan-dropped-edges", &space, &space.kiln(&["plan", "--json"]).exits(0).stdout);
    let drawn = space.kiln(&["graph", "--format", "dot"]).exits(0).stdout;
    assert!(drawn.contains("1 dropped to break cycles (kiln plan lists them)"), "{drawn}");
    golden("graph-cycles", &space, &space.kiln(&["graph", "--cycles", "--json"]).exits(0).stdout);
    space.kiln(&["graph", "--cycles", "--format", "dot"]).exits(2);
    // Where they are errors it is wanted most.
    space.packages(&recipes.replace("optional_deps", "build_deps"));
    space.document(&text.replace("method: parallel", "method: parallel, circular_handling: error"));
    space.kiln(&["plan"]).exits(3);
    let graph = space.kiln(&["graph", "--cycles", "--json"]).exits(0).json();
    assert_eq!((&graph["circular_handling"], &graph["components"][0]["size"]), (&"error".into(), &2.into()));
    space.packages(&recipes.replace("[b]", "[nobody]"));
    space.kiln(&["graph", "--cycles"]).exits(3);
}

#[test]
fn graph() {
    let space = space();
    golden("graph", &space, &space.kiln(&["graph", "--format", "json"]).exits(0).stdout);
    assert_eq!(space.kiln(&["graph", "--json"]).exits(0).stdout, space.kiln(&["graph"]).exits(0).stdout);
    space.kiln(&["graph", "--json", "--format", "dot"]).exits(2);
    space.run(0);
    let graph = space.kiln(&["graph"]).exits(0).json();
    for node in graph["nodes"].as_array().unwrap() {
        assert_eq!(node["build_status"], "completed", "{node}");
        assert_eq!(node["verification_status"], "verified", "{node}");
    }
}

#[test]
fn log() {
    let space = Space::with(
        "package: a\nversion: 1\ntasks: {configure: 'printf \"\\033[2Jone\\r\\n\"', build: 'printf \"two\\377\"'}\n",
    );
    space.run(0);
    let started = space.ledger();
    let path = space.kiln(&["log", "a", "--path"]).exits(0).stdout;
    let mut expected = serde_json::json!({
        "package": "a", "task": "build", "attempt": 1, "build_id": started.only("run_started")["build_id"],
        "path": path.trim_end(), "text": "two\u{fffd}",
    });
    assert_eq!(space.kiln(&["log", "a", "--json"]).exits(0).json(), expected);
    expected.as_object_mut().unwrap().remove("text");
    assert_eq!(space.kiln(&["log", "a", "--json", "--path"]).exits(0).json(), expected);
    let configure = space.kiln(&["log", "a", "--json", "--task", "configure"]).exits(0).json();
    let text = "\x1b[2Jone\r\n";
    assert_eq!((&configure["task"], &configure["text"]), (&"configure".into(), &text.into()));
    assert_eq!(
        space.kiln(&["log", "a", "--task", "configure"]).exits(0).stdout,
        text,
        "a copy, where nobody looks"
    );
}

#[test]
fn graph_shows_the_attributes_that_the_document_names() {
    let space = space();
    space.document(&format!(
        "{DOCUMENT}\ndependency_graph:\n  nodes: [package_name, build_status]\n  edges: [requirement_level]\n"
    ));
    golden("graph-chosen-attributes", &space, &space.kiln(&["graph", "--format", "json"]).exits(0).stdout);
}

#[test]
fn check() {
    let space = space();
    golden("check-sound", &space, &space.kiln(&["check", "--json"]).exits(0).stdout);
    space.recipes(
        &RECIPES.replace("assembler >= 2.40", "assembler >= 3").replace("[editor, viewer]", "[editer]"),
    );
    golden("check-wrong", &space, &space.kiln(&["check", "--json"]).exits(3).stdout);
    let plain = space.kiln(&["check"]).exits(3);
    assert_eq!(plain.stdout, "");
    let wrong = format!("{}/packages/all.yaml:", space.definition().display());
    assert!(plain.stderr.contains(&wrong) && plain.stderr.contains(": error["), "{}", plain.stderr);
    for command in ["plan", "run", "fetch", "graph"] {
        space.kiln(&[command]).exits(3).says("error[");
    }
}

#[test]
fn why() {
    let space = space();
    space.run(0);
    space.recipes(&RECIPES.replace("echo ls >", "echo list >"));
    golden("why-changed", &space, &space.kiln(&["why", "tools", "--json"]).exits(0).stdout);
    golden("why-reused", &space, &space.kiln(&["why", "compiler", "--json"]).exits(0).stdout);
    space.kiln(&["why", "compilr"]).exits(2).says("did you mean `compiler`?");
}

#[test]
fn an_answer_goes_to_standard_output_and_nothing_else_does() {
    let space = space();
    for arguments in [&["plan", "--json"][..], &["graph"], &["check", "--json"], &["why", "shell", "--json"]]
    {
        let ended = space.kiln(arguments).exits(0);
        assert!(ended.stdout.starts_with('{') && ended.stdout.ends_with("}\n"), "{}", ended.stdout);
        assert_eq!(ended.stderr, "");
    }
}
