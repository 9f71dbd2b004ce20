//! Debian's source graph, whole: 34,288 packages. What is planned is checked by code of its own, against what the graph
//! says and not against what kiln made of it. The data lies beside the repository; where it does not, nothing is tested.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kiln::config::diagnostic::{FileId, Place};
use kiln::config::document::CircularHandling;
use kiln::config::files::Files;
use kiln::config::load::{Definition, Located, Root};
use kiln::graph::DependencyType;
use kiln::plan::build::{Planned, plan};
use serde_json::{Value, json};

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/debian").join(name);
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

/// A package: its name, what it needs to be built, what it needs to run.
struct Package {
    name: String,
    build: Vec<String>,
    runtime: Vec<String>,
}

fn packages(path: &Path) -> Vec<Package> {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    liblzma::read::XzDecoder::new(file).read_to_string(&mut text).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let name = |package: &Value| package["name"].as_str().unwrap().to_owned();
    let known: HashSet<String> = lines.iter().map(name).collect();
    let list = |package: &Value, key: &str| {
        let own = name(package);
        let entries = package[key].as_array().into_iter().flatten();
        let names = entries.map(|entry| entry.as_str().or(entry["src"].as_str()).unwrap().to_owned());
        let names: BTreeSet<String> = names.filter(|name| *name != own && known.contains(name)).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    let package = |line: &Value| Package {
        name: name(line),
        build: [list(line, "build_deps"), list(line, "deps")].concat(),
        runtime: list(line, "runtime_deps"),
    };
    lines.iter().map(package).collect()
}

fn definition(packages: &[Package], handling: CircularHandling) -> Definition {
    let mut files = Files::default();
    files.add("debian", "");
    let recipe = |value: Value| Located {
        value: serde_json::from_value(value).unwrap(),
        place: Place::document(FileId(0), 0),
    };
    let own = packages.iter().map(|package| {
        json!({
            "package": package.name, "version": "1", "build_deps": package.build,
            "runtime_deps": package.runtime, "tasks": {"build": "true"},
        })
    });
    let names: Vec<&str> = packages.iter().map(|package| &*package.name).collect();
    let group = json!({"package": "everything", "group": names});
    let document = json!({
        "build_phases": {"archive": {"order": 1, "steps": ["everything"]}},
        "dependency_tracking": {"dependency_resolution": {"max_depth": 100_000, "circular_handling": handling}},
    });
    Definition {
        name: "debian".parse().unwrap(),
        root: Root::Directory("debian".into()),
        document: serde_json::from_value(document).unwrap(),
        place: Place::document(FileId(0), 0),
        recipes: own.chain([group]).map(recipe).collect(),
        files,
    }
}

/// Edges that were dropped, as the plan lists them.
fn dropped(planned: &Planned) -> Vec<(String, String, DependencyType)> {
    let edges = planned.plan.dropped_edges.iter();
    edges.map(|edge| (edge.from.to_string(), edge.to.to_string(), edge.dependency_type)).collect()
}

/// Goes through the plan as somebody would who builds it: at its turn all that a package needs is there, and all that this
/// needs to run, but for what was dropped.
fn can_be_built(planned: &Planned, packages: &[Package]) {
    let gone: HashSet<_> = dropped(planned).into_iter().collect();
    let number: HashMap<&str, usize> = packages.iter().zip(0..).map(|(p, at)| (&*p.name, at)).collect();
    let kept = |package: &Package, list: &[String], kind: DependencyType| {
        let stays = |to: &&String| !gone.contains(&(package.name.clone(), (*to).clone(), kind));
        list.iter().filter(stays).map(|to| number[&**to]).collect::<Vec<usize>>()
    };
    let build: Vec<_> = packages.iter().map(|p| kept(p, &p.build, DependencyType::Build)).collect();
    let runtime: Vec<_> = packages.iter().map(|p| kept(p, &p.runtime, DependencyType::Runtime)).collect();
    let mut done = vec![false; packages.len()];
    let mut usable = vec![false; packages.len()];
    for package in &planned.plan.packages {
        let at = number[&*package.name];
        let mut needed: Vec<usize> = build[at].clone();
        while let Some(other) = needed.pop() {
            if !std::mem::replace(&mut usable[other], true) {
                assert!(done[other], "{} is built before {}", package.name, packages[other].name);
                needed.extend(&runtime[other]);
            }
        }
        assert!(!std::mem::replace(&mut done[at], true), "{} is built twice", package.name);
    }
    assert!(!done.contains(&false), "something is never built");
}

#[test]
fn with_its_cycles_it_is_planned_without_few_of_its_edges() {
    let Some(path) = data("graph.jsonl.xz") else { return };
    let packages = packages(&path);
    let warned = plan(&definition(&packages, CircularHandling::Warn)).unwrap();
    let edges = dropped(&warned);
    // As many as a textbook heuristic drops (README of the data): of build edges, and in all.
    let build = edges.iter().filter(|(.., kind)| *kind == DependencyType::Build).count();
    assert!(build < 2052 && edges.len() < 2772, "{build} of {}", edges.len());
    assert_eq!(edges.iter().collect::<HashSet<_>>().len(), edges.len(), "an edge is dropped twice");
    assert_eq!(warned.warnings.len(), edges.len());
    can_be_built(&warned, &packages);
    // Once more: all of it is the same.
    let ignored = plan(&definition(&packages, CircularHandling::Ignore)).unwrap();
    assert_eq!(dropped(&ignored), edges);
    assert!(ignored.warnings.is_empty());
    assert_eq!(ignored.plan.node_order, warned.plan.node_order);
    let errors = plan(&definition(&packages, CircularHandling::Error)).unwrap_err();
    let whole = errors.iter().find(|error| error.message.contains("5657 packages need each other"));
    assert!(whole.is_some_and(|error| error.message.contains("a shortest cycle: ")), "{errors:?}");
}

#[test]
fn without_its_cycles_nothing_is_dropped() {
    let Some(path) = data("acyclic-all.jsonl.xz") else { return };
    let packages = packages(&path);
    let planned = plan(&definition(&packages, CircularHandling::Error)).unwrap();
    assert_eq!(dropped(&planned), []);
    can_be_built(&planned, &packages);
}

#[test]
fn without_the_recipe_that_most_need_the_mistake_is_said_a_few_times() {
    let Some(path) = data("acyclic-all.jsonl.xz") else { return };
    let mut packages = packages(&path);
    packages.retain(|package| package.name != "debhelper");
    // Names of which each is wrong in its own way.
    for (at, package) in packages.iter_mut().enumerate().take(2000) {
        package.runtime.push(format!("{}-of-{at}", package.name));
    }
    let problems = plan(&definition(&packages, CircularHandling::Error)).unwrap_err();
    assert!(problems.iter().all(|problem| problem.code == "unknown-package"), "{problems:?}");
    let (debhelper, others): (Vec<_>, Vec<_>) =
        problems.iter().partition(|problem| problem.message.contains("`debhelper`"));
    assert_eq!((debhelper.len(), others.len()), (6, 2000));
    let more = debhelper.iter().find(|problem| problem.message.contains("more places like this one"));
    assert!(more.is_some(), "{debhelper:?}");
}
