//! Whatever stands in a definition: it is read or refused with positions that are in it, it is planned or explained, and
//! nothing panics or hangs.
//!
//! Few cases by default. An hour of them, by hand (nextest would end it after three minutes):
//!
//! ```text
//! PROPTEST_CASES=1000000 CARGO_PROFILE_DEV_OPT_LEVEL=2 timeout 3600 cargo test --test definitions fuzz
//! ```
//!
//! (Not `--release`, which lets sums overflow in silence.) Other random tests heed `PROPTEST_CASES` as well; those of definitions
//! are in `cargo test --lib config:: graph:: plan::`. What fails is printed in its smallest form.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use kiln::config::document::Verification;
use kiln::config::render;
use kiln::config::version::{Constraint, Dependency, Version};
use kiln::graph::DependencyType;
use kiln::graph::export::draw::Drawing;
use kiln::graph::export::{NodeStatus, dot, mermaid};
use kiln::graph::part::Part;
use kiln::plan::build::plan;
use proptest::prelude::*;
use proptest::sample::Index;

use super::space::Space;

const FRAMEWORK: &str = include_str!("../../config/framework/kiln.yaml");
const RECIPES: &str = include_str!("../data/recipes/full.yaml");

/// Values that somebody may write by mistake, or out of malice.
const VALUES: [&str; 40] = [
    "",
    "~",
    "null",
    "[]",
    "{}",
    "[[]]",
    "{a: b}",
    "yes",
    "true",
    "0",
    "-0",
    "-1",
    "1.50",
    "1e999",
    ".inf",
    "NaN",
    "0x10",
    "99999999999999999999",
    "15G",
    "15Q",
    "1h",
    "2026-01-01",
    "é日本\u{202e}",
    "a: b: c",
    "x >= 1, < 2",
    "x >=",
    "x > 1, < 1",
    "1:2:3",
    "2.0~rc1-1",
    "../..",
    "/abs",
    "a/b",
    "'",
    "\"",
    "|",
    "&a [*a]",
    "*x",
    "<<: *x",
    "!!binary x",
    "%TAG",
];

/// Few by default, so that all tests together take seconds.
fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases.unwrap_or(60)) }
}

/// One change of a text, by lines and characters.
#[derive(Debug, Clone)]
enum Edit {
    Delete(Index),
    Copy(Index, Index),
    Swap(Index, Index),
    Indent(Index, usize),
    /// Another value behind the first colon or dash of a line.
    Value(Index, &'static str),
    Insert(Index, String),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    let text = prop_oneof![
        "\\PC{0,8}",
        "[\\[\\]{}:,#&*!|>'\"%@` \t\r\n-]{1,6}",
        prop::sample::select(&VALUES[..]).prop_map(str::to_owned)
    ];
    prop_oneof![
        3 => at().prop_map(Edit::Delete),
        2 => (at(), at()).prop_map(|(from, to)| Edit::Copy(from, to)),
        2 => (at(), at()).prop_map(|(one, other)| Edit::Swap(one, other)),
        1 => (at(), 0..9_usize).prop_map(|(line, by)| Edit::Indent(line, by)),
        6 => (at(), prop::sample::select(&VALUES[..])).prop_map(|(line, value)| Edit::Value(line, value)),
        3 => (at(), text).prop_map(|(place, text)| Edit::Insert(place, text)),
        1 => at().prop_map(Edit::Cut),
    ]
}

fn edited(text: &str, edit: &Edit) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        lines.push(String::new());
    }
    let place = |at: &Index| text.floor_char_boundary(at.index(text.len() + 1));
    match edit {
        Edit::Delete(at) => drop(lines.remove(at.index(lines.len()))),
        Edit::Copy(from, to) => {
            let line = lines[from.index(lines.len())].clone();
            lines.insert(to.index(lines.len()), line);
        }
        Edit::Swap(one, other) => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        Edit::Indent(at, by) => {
            let at = at.index(lines.len());
            lines[at] = format!("{}{}", " ".repeat(*by), lines[at].trim_start());
        }
        Edit::Value(at, value) => {
            let at = at.index(lines.len());
            let end = lines[at].find([':', '-']).map_or(0, |end| end + 1);
            lines[at] = format!("{} {value}", &lines[at][..end]);
        }
        Edit::Insert(at, new) => return format!("{}{new}{}", &text[..place(at)], &text[place(at)..]),
        Edit::Cut(at) => return text[..place(at)].to_owned(),
    }
    lines.join("\n") + "\n"
}

/// All that kiln does with a definition before it runs it, and what it says.
fn read(space: &Space) -> Result<bool, TestCaseError> {
    let said = space.diagnostics();
    for rendered in &said {
        let (Some(file), Some(position)) = (&rendered.file, rendered.position) else { continue };
        let text = String::from_utf8_lossy(&fs::read(space.path().join(file)).unwrap()).into_owned();
        // A carriage return alone ends a line of YAML.
        let lines = text.matches(['\n', '\r']).count() + 1;
        prop_assert!((1..=lines).contains(&position.line), "{rendered:?} of {lines} lines");
    }
    render::text(&said, true);
    serde_json::to_string(&render::report(&said)).unwrap();
    let Ok((definition, _)) = space.load() else { return Ok(false) };
    match plan(&definition) {
        Ok(planned) => {
            let status = NodeStatus { build: "pending", verification: "unverified" };
            let status = vec![status; planned.graph.nodes.len()];
            let drawing = Drawing::new(&planned, &Part::whole(&planned.graph), &status, false);
            dot::dot(&drawing);
            mermaid::mermaid(&drawing);
            let order: Vec<usize> = planned.package_of_node.iter().map(|id| id.0 as usize).collect();
            let types = &definition.document.dependency_tracking.package_types;
            for edge in &planned.graph.edges {
                prop_assert!(!edge.waits() || order[edge.to] < order[edge.from], "{edge:?}");
                let recipe = |node: usize| &definition.recipes[planned.graph.nodes[node].recipe].value;
                let (of_kind, list) = match edge.dependency_type {
                    DependencyType::Build => (types.build_deps, &recipe(edge.from).build_deps),
                    DependencyType::Runtime => (types.runtime_deps, &recipe(edge.from).runtime_deps),
                    DependencyType::Optional => (types.optional_deps, &recipe(edge.from).optional_deps),
                };
                let version = recipe(edge.to).version.as_ref().unwrap();
                let fits = list[edge.index as usize].constraint.allows(version);
                let checked = definition.document.dependency_graph.validation.version_compatibility
                    && of_kind.verification != Verification::Relaxed;
                prop_assert!(fits || !checked, "{edge:?}");
            }
            Ok(true)
        }
        Err(problems) => {
            let said = definition.files.render_all(&problems);
            render::text(&said, false);
            prop_assert!(render::report(&said).ok == problems.is_empty());
            Ok(false)
        }
    }
}

/// Every file of every shipped definition, by its path below `config`.
fn shipped() -> Vec<(String, String)> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = walkdir::WalkDir::new(&config).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "yaml"));
    let file = |entry: walkdir::DirEntry| {
        let path = entry.path().strip_prefix(&config).unwrap().to_str().unwrap().to_owned();
        (path, fs::read_to_string(entry.path()).unwrap())
    };
    files.map(file).collect()
}

/// A list of dependencies of package `at`: mostly on those before it, each once.
fn list(at: usize, count: usize, wanted: &[(usize, u8, &str)]) -> String {
    let mut entries = BTreeMap::new();
    for (which, how, constraint) in wanted {
        let to = if *how > 0 { which % at.max(1) } else { *which % (count + 1) };
        if to != at {
            entries.insert(to, constraint);
        }
    }
    let entries: Vec<_> = entries.iter().map(|(to, constraint)| format!("\"k{to}{constraint}\"")).collect();
    format!("[{}]", entries.join(", "))
}

/// A small definition with everything that graphs are made of, as text.
fn definition() -> impl Strategy<Value = Vec<(String, String)>> {
    let constraints =
        ["", "", "", "", "", "", " >= 1", " < 2", " = 1.0", " > 1~, <= 3", " >= 2, < 1", " > 1:0"];
    let dependency = (0..9_usize, 0..12_u8, prop::sample::select(constraints.to_vec()));
    let wanted = || prop::collection::vec(dependency.clone(), 0..3);
    let version = prop::sample::select(vec!["1", "1.0", "1.00", "2~rc1", "1:0"]);
    let package = (version, wanted(), wanted(), wanted(), 0..8_u8);
    let level = || prop::sample::select(vec!["strict", "normal", "relaxed"]);
    let circular = prop::sample::select(vec!["error", "warn", "ignore"]);
    let tracking = (any::<[bool; 3]>(), [level(), level(), level()], 1..12_u32, circular);
    (prop::collection::vec(package, 3..9), tracking, any::<[bool; 3]>(), any::<Index>()).prop_map(
        |(packages, (required, levels, depth, circular), switches, cut)| {
            let count = packages.len();
            let mut recipes = String::new();
            for (at, (version, build, runtime, optional, group)) in packages.iter().enumerate() {
                let lists = [build, runtime, optional].map(|wanted| list(at, count, wanted));
                let body = if *group == 0 && at > 1 {
                    format!("group: [k{}, k{}]", at - 1, at - 2)
                } else {
                    format!(
                        "version: \"{version}\"\nbuild_deps: {}\nruntime_deps: {}\noptional_deps: {}\ntasks: {{build: x}}",
                        lists[0], lists[1], lists[2]
                    )
                };
                recipes.push_str(&format!("---\npackage: k{at}\n{body}\n"));
            }
            let steps = |range: Range<usize>| range.map(|at| format!("k{at}")).collect::<Vec<_>>().join(", ");
            // What no step names is pulled in by those that need it.
            let cut = 1 + cut.index(count);
            let late = if cut < count { format!("  late: {{order: 2, steps: [k{}]}}\n", count - 1) } else { String::new() };
            let of_kind = |at: usize| format!("{{required: {}, verification: {}}}", required[at], levels[at]);
            let document = format!(
                "build_phases:\n  early: {{order: 1, steps: [{}]}}\n{late}dependency_tracking:\n  package_types: \
                 {{build_deps: {}, runtime_deps: {}, optional_deps: {}}}\n  dependency_resolution: {{max_depth: {depth}, \
                 circular_handling: {circular}}}\ndependency_graph: {{validation: {{cycle_detection: {}, \
                 version_compatibility: {}, build_order_verification: {}}}}}\n",
                steps(0..cut.min(count - 1)), of_kind(0), of_kind(1), of_kind(2), switches[0], switches[1], switches[2]
            );
            vec![("kiln.yaml".to_owned(), document), ("packages/all.yaml".to_owned(), recipes)]
        },
    )
}

fn space(files: &[(String, String)]) -> Space {
    Space::new(files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_text_is_a_constraint_or_none(
        text in prop_oneof![
            "\\PC{0,40}",
            "[a-z]{0,3} ?([<>=]{1,2} ?[0-9a-z.~:+-]{0,8} ?,? ?){0,4}",
        ],
        version in "([0-9]:)?[0-9][0-9a-z.~+-]{0,8}",
    ) {
        let version = version.parse::<Version>();
        if let Ok(dependency) = text.parse::<Dependency>() {
            prop_assert_eq!(dependency.to_string().parse::<Dependency>().unwrap(), dependency);
        }
        if let (Ok(constraint), Ok(version)) = (text.parse::<Constraint>(), version) {
            let again: Constraint = constraint.to_string().parse().unwrap();
            prop_assert_eq!(again.allows(&version), constraint.allows(&version));
        }
    }

    #[test]
    fn an_edited_document_is_read_or_refused(edits in prop::collection::vec(edit(), 1..6)) {
        let text = edits.iter().fold(FRAMEWORK.to_owned(), |text, one| edited(&text, one));
        read(&Space::kiln_yaml(&text))?;
    }

    #[test]
    fn edited_recipes_are_read_or_refused(edits in prop::collection::vec(edit(), 1..6)) {
        let recipes = edits.iter().fold(RECIPES.to_owned(), |text, one| edited(&text, one));
        let document = "build_phases: {all: {order: 1, steps: [busybox]}}\n";
        read(&Space::new([("kiln.yaml", document.as_bytes()), ("packages/p.yaml", recipes.as_bytes())]))?;
    }

    /// Shipped definitions with a few slips of the finger.
    #[test]
    fn an_edited_definition_is_read_or_refused(
        which in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), edit()), 0..4),
    ) {
        let shipped = shipped();
        let kilns: Vec<_> = shipped.iter().filter_map(|(path, _)| path.strip_suffix("/kiln.yaml")).collect();
        let prefix = format!("{}/", kilns[which.index(kilns.len())]);
        let of_one = shipped.iter().filter_map(|(path, text)| Some((path.strip_prefix(&prefix)?.to_owned(), text.clone())));
        let mut files: Vec<_> = of_one.collect();
        for (file, edit) in &edits {
            let at = file.index(files.len());
            files[at].1 = edited(&files[at].1, edit);
        }
        let whole = read(&space(&files))?;
        prop_assert!(whole || !edits.is_empty(), "{prefix} is not sound as it is shipped");
    }

    #[test]
    fn a_random_graph_is_planned_or_explained(files in definition()) {
        read(&space(&files))?;
    }

    #[test]
    fn an_edited_random_graph_is_planned_or_explained(
        files in definition(),
        edits in prop::collection::vec((any::<Index>(), edit()), 1..3),
    ) {
        let mut files = files;
        for (file, edit) in &edits {
            let at = file.index(files.len());
            files[at].1 = edited(&files[at].1, edit);
        }
        read(&space(&files))?;
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&Space::new([("kiln.yaml", &bytes[..]), ("packages/p.yaml", &bytes[..])]))?;
    }
}
