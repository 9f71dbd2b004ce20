//! Linux From Scratch, as `tests/lfs-definition` writes it from its book's tables: planned so that every dependency in
//! them holds, by a reckoning from the tables alone; and what contradicts them is said as what it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln::config::diagnostic::Severity;
use kiln::config::load::{Root, load};
use kiln::config::render;
use kiln::plan::NodeId;
use kiln::plan::build::{Planned, plan};
use serde_json::Value;
use tempfile::TempDir;

const VARIANTS: [&str; 2] = ["sysv", "systemd"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The definition of a variant; `None` where there is no Python to write it.
fn definition(variant: &str, more: &[&str]) -> Option<TempDir> {
    let space = tempfile::tempdir().unwrap();
    let written = Command::new("python3")
        .arg(root("tests/lfs-definition"))
        .arg(root("tests/data/lfs.json"))
        .arg(space.path())
        .args(["--variant", variant])
        .args(more)
        .output();
    match written {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(space)
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "python3 cannot be run: {error}");
            eprintln!("skipped: there is no python3");
            None
        }
    }
}

fn planned(space: &TempDir) -> Planned {
    let (definition, _) = load(Root::Directory(space.path().to_owned())).unwrap();
    plan(&definition).unwrap()
}

/// The tables, and the order that is looked at.
struct Book {
    /// Of each instance: chapter and package.
    instances: BTreeMap<String, (u64, Option<String>)>,
    tables: Value,
    /// Place in the plan, by instance.
    at: BTreeMap<String, usize>,
}

impl Book {
    fn new(variant: &str, order: &[&str]) -> Self {
        let mut facts = json(&root("tests/data/lfs.json"))["variants"][variant].take();
        let mut instances = BTreeMap::new();
        for name in order {
            // `glibc` is of chapter 8, `glibc-ch5` not; `gcc-pass1` is the only one.
            let (plain, chapter) = match name.split_once("-ch") {
                Some((plain, chapter)) => (plain, Some(chapter.parse::<u64>().unwrap())),
                None => (*name, None),
            };
            let all = facts["build_instances"].as_array().unwrap();
            let same: Vec<&Value> = all.iter().filter(|one| one["instance"] == plain).collect();
            let chapter =
                chapter.unwrap_or(if same.len() > 1 { 8 } else { same[0]["chapter"].as_u64().unwrap() });
            let found = same.iter().find(|one| one["chapter"] == chapter).unwrap();
            let package = found["package"].as_str().map(str::to_owned);
            assert!(instances.insert((*name).to_owned(), (chapter, package)).is_none(), "{name} twice");
        }
        assert_eq!(instances.len(), facts["build_instances"].as_array().unwrap().len());
        let at = order.iter().enumerate().map(|(at, name)| ((*name).to_owned(), at)).collect();
        Self { instances, tables: facts["dependencies"].take(), at }
    }

    fn list(&self, package: &str, table: &str) -> Vec<String> {
        let list = self.tables[package][table].as_array();
        list.into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    fn instances_of(&self, package: &str) -> impl Iterator<Item = (&String, u64)> {
        self.instances
            .iter()
            .filter(move |(_, (_, of))| of.as_deref() == Some(package))
            .map(|(name, (chapter, _))| (name, *chapter))
    }

    /// The one that stays.
    fn last(&self, package: &str) -> Option<usize> {
        self.instances_of(package).filter(|(_, chapter)| *chapter == 8).map(|(name, _)| self.at[name]).next()
    }

    /// Whether a package is there before `place`, with what it needs to run.
    fn is_usable(&self, package: &str, place: usize, seen: &mut BTreeSet<String>) -> bool {
        if !seen.insert(package.to_owned()) {
            return true;
        }
        let there = |(name, chapter): (&String, u64)| (self.at[name] < place).then_some(chapter);
        let there: Vec<u64> = self.instances_of(package).filter_map(there).collect();
        let runs = |seen: &mut BTreeSet<String>| {
            self.list(package, "runtime").iter().all(|needed| self.is_usable(needed, place, seen))
        };
        // Of the tools of chapters 5 to 7 the tables say nothing.
        there.iter().any(|chapter| *chapter < 8) || !there.is_empty() && runs(seen)
    }

    /// Everything in the tables that the order does not satisfy.
    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, (chapter, package)) in &self.instances {
            let place = self.at[name];
            let later = |(_, (other, _)): &(&String, &(u64, _))| *other >= 8;
            if *chapter < 8 && self.instances.iter().filter(later).any(|(other, _)| self.at[other] < place) {
                broken.push(format!("{name} is of chapter {chapter}, and comes after one of a later phase"));
            }
            let Some(package) = package.as_ref().filter(|_| *chapter >= 8) else { continue };
            for needed in self.list(package, "build") {
                if !self.is_usable(&needed, place, &mut BTreeSet::new()) {
                    broken.push(format!("{name} is built without {needed}"));
                }
            }
            for needed in self.list(package, "runtime") {
                if self.instances_of(&needed).next().is_none() {
                    broken.push(format!("{name} runs without {needed}"));
                }
            }
        }
        for package in self.tables.as_object().unwrap().keys() {
            for other in self.list(package, "before") {
                if self.last(package).zip(self.last(&other)).is_some_and(|(first, second)| first > second) {
                    broken.push(format!("{package} must be installed before {other}"));
                }
            }
        }
        broken
    }
}

fn order(planned: &Planned) -> Vec<&str> {
    planned.plan.packages.iter().map(|package| &*package.name).collect()
}

/// Another order that the plan allows, as far from its own as can be: of what could be next in a phase, the last.
fn contrary(planned: &Planned) -> Vec<&str> {
    let plan = &planned.plan;
    let mut missing = plan.wait_count.clone();
    let mut ready: Vec<NodeId> =
        plan.node_order.iter().copied().filter(|n| missing[n.0 as usize] == 0).collect();
    let mut order = Vec::new();
    let phase = |node: &NodeId| plan.as_package(*node).map(|id| plan.package(id).phase);
    // What is no package stands for several of them, and takes no time.
    while let Some(next) = ready.iter().copied().min_by_key(|node| (phase(node), Reverse(*node))) {
        ready.retain(|node| *node != next);
        order.extend(plan.as_package(next).map(|id| &*plan.package(id).name));
        for waiter in &plan.waiters[next.0 as usize] {
            missing[waiter.node.0 as usize] -= 1;
            if missing[waiter.node.0 as usize] == 0 {
                ready.push(waiter.node);
            }
        }
    }
    order
}

/// What the book's order contradicts itself.
const CONTRADICTIONS: [&str; 4] = [
    "Coreutils must be installed before Bash",
    "Ncurses must be installed before Readline",
    "Sed must be installed before File",
    "Sed must be installed before Shadow",
];

#[test]
fn the_plan_satisfies_every_dependency_in_the_tables() {
    for variant in VARIANTS {
        let Some(space) = definition(variant, &[]) else { return };
        let planned = planned(&space);
        let order = order(&planned);
        assert_eq!(Book::new(variant, &order).broken(), CONTRADICTIONS, "{variant}");
        // The book's order alone would do for that; what waits for what must do, too.
        let contrary = contrary(&planned);
        assert_ne!(contrary, order);
        let broken = Book::new(variant, &contrary).broken();
        assert!(broken.iter().all(|one| CONTRADICTIONS.contains(&&**one)), "{variant}: {broken:#?}");

        // Chapters 5 to 7 are built in the book's order; build units are weights.
        let facts = &json(&root("tests/data/lfs.json"))["variants"][variant]["build_instances"];
        let facts = facts.as_array().unwrap();
        for (name, fact) in order.iter().zip(facts).take_while(|(_, fact)| fact["chapter"].as_u64() < Some(8))
        {
            assert!(name.starts_with(fact["instance"].as_str().unwrap()), "{name} instead of {fact}");
        }
        let units = facts.iter().filter_map(|fact| fact["sbu"]["sbu"].as_f64()).sum::<f64>();
        let weights = planned.plan.packages.iter().filter_map(|package| package.weight).sum::<f64>();
        assert!((units - weights).abs() < 1e-6, "{units} {weights}");

        // Their tests would use Libtool, which needs them to run: that the tables say so is no quirk of the book's order.
        let dropped = planned.plan.dropped_edges.iter().map(|edge| (&*edge.from, &*edge.to));
        assert_eq!(dropped.collect::<Vec<_>>(), [("autoconf", "libtool"), ("automake", "libtool")]);
    }
}

#[test]
fn the_reckoning_sees_an_order_that_is_wrong() {
    let Some(space) = definition("sysv", &[]) else { return };
    let planned = planned(&space);
    let mut order = order(&planned);
    let place = |order: &[&str], name: &str| order.iter().position(|one| *one == name).unwrap();
    let (perl, openssl) = (place(&order, "perl"), place(&order, "openssl"));
    order.swap(perl, openssl);
    let broken = Book::new("sysv", &order).broken();
    assert!(broken.len() > CONTRADICTIONS.len(), "{broken:?}");
}

/// Two of what the book contradicts need only another order, which kiln finds.
#[test]
fn what_only_the_books_order_contradicts_is_planned() {
    for variant in VARIANTS {
        let Some(space) = definition(variant, &["--also", "readline=ncurses", "--also", "shadow=sed"]) else {
            return;
        };
        let planned = planned(&space);
        for order in [order(&planned), contrary(&planned)] {
            let broken = Book::new(variant, &order).broken();
            let left = [CONTRADICTIONS[0], CONTRADICTIONS[2]];
            assert!(broken.iter().all(|one| left.contains(&&**one)), "{variant}: {broken:#?}");
        }
    }
}

#[test]
fn contradictions_are_said_as_what_they_are() {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(root("tests/golden/lfs"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _settings = settings.bind_to_scope();
    let cases: [(&str, &[&str]); 7] = [
        // Two that must be installed before others, says the book, whose order is another.
        ("coreutils-before-bash", &["--also", "bash=coreutils"]),
        ("sed-before-file", &["--also", "file=sed"]),
        // Of 12.0: built later than what needs it.
        ("perl-needs-groff", &["--also", "perl=groff"]),
        // In no chapter at all.
        ("ninja-needs-cmake", &["--also", "ninja=cmake"]),
        // What the tables say of a package, of a first instance of it.
        ("the-first-glibc-needs-python", &["--also", "glibc-ch5=python"]),
        // Without instances there is no order.
        ("packages", &["--packages"]),
        // The framework's max_depth.
        ("the-frameworks-depth", &[]),
    ];
    for (name, more) in cases {
        let Some(space) = definition("sysv", more) else { return };
        if name == "the-frameworks-depth" {
            let document = space.path().join("kiln.yaml");
            let text = std::fs::read_to_string(&document).unwrap();
            std::fs::write(document, text.replace(", max_depth: 100", "")).unwrap();
        }
        let (definition, _) = load(Root::Directory(space.path().to_owned())).unwrap();
        let mut said = plan(&definition).unwrap_err();
        said.retain(|diagnostic| diagnostic.severity == Severity::Error);
        let text = render::text(&definition.files.render_all(&said), false);
        insta::assert_snapshot!(name, text.replace(&format!("{}/", space.path().display()), ""));
    }
}

/// Where the tables are beside the repository: the facts that were taken from them are theirs.
#[test]
fn the_facts_are_those_of_the_tables() {
    let tables = root("../shared/data/lfs/packages.json");
    if !tables.exists() {
        eprintln!("skipped: there is no {}", tables.display());
        return;
    }
    let (facts, tables) = (json(&root("tests/data/lfs.json")), json(&tables));
    for variant in VARIANTS {
        let (ours, theirs) = (&facts["variants"][variant], &tables["variants"][variant]);
        let instances = |facts: &Value| {
            let facts = facts["build_instances"].as_array().unwrap().iter();
            let keys = ["chapter", "instance", "package", "version"];
            facts.map(|one| (keys.map(|key| one[key].clone()), one["sbu"]["sbu"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(instances(ours), instances(theirs), "{variant}");
        let dependencies = |facts: &Value| {
            let facts = facts["dependencies"].as_object().unwrap().iter();
            let keys = ["build", "runtime", "test", "before"];
            facts.map(|(name, one)| (name.clone(), keys.map(|key| one[key].clone()))).collect::<Vec<_>>()
        };
        assert_eq!(dependencies(ours), dependencies(theirs), "{variant}");
    }
}
