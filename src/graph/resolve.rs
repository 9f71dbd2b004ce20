//! From steps, groups and recipes to a graph.
//!
//! Owns: which packages are part of the build and in which phase, what becomes of each dependency, and every complaint about
//! either. Does not know: cycles, order, which version would do (`versions`), what a name stands for (`groups`), what is
//! said of one that is none (`names`).

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::document::{PackageType, Verification};
use crate::config::load::Definition;
use crate::config::recipe::Recipe;
use crate::words::listed;

use super::components::number;
use super::groups::{components_of_groups, members, recipes};
use super::names::Unknown;
use super::versions::{self, Want};
use super::{DependencyType, Edge, Graph, Node, PhaseNode, RequirementLevel, dependency, lists};

/// Of the members of a group that are left out, so many are named.
const NAMED_MOST: usize = 3;

/// Resolves every name of the definition. All problems are reported, not just the first; where there are errors, the graph
/// is what is left without them.
pub fn resolve(definition: &Definition) -> (Graph, Vec<Diagnostic>) {
    let mut resolver = Resolver::new(definition);
    resolver.place_steps();
    resolver.connect();
    let Resolver { graph, mut diagnostics, mut unknown, in_no_step, .. } = resolver;
    diagnostics.extend(unknown.others());
    // What is in no step because a name of one is misspelt is no news.
    if !diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        diagnostics.extend(in_no_step);
    }
    (graph, diagnostics)
}

struct Resolver<'a> {
    definition: &'a Definition,
    /// Only looked up in, never gone through in its own order.
    recipes: HashMap<&'a str, usize>,
    /// Of groups that dependencies name, the members.
    groups: HashMap<usize, Rc<[usize]>>,
    graph: Graph,
    diagnostics: Vec<Diagnostic>,
    unknown: Unknown<'a>,
    /// Warnings of what is left out because it is no part of the build.
    in_no_step: Vec<Diagnostic>,
    /// By recipe: what became of it.
    known: Vec<Known>,
    /// What the recipes that are part of the build need.
    needs: Vec<Need>,
}

/// What is known of a recipe. Small, and beside the recipe: a dependency leads anywhere, and recipes are large.
#[derive(Clone)]
struct Known {
    is_group: bool,
    /// One of its lists has a name that is none.
    unknown_names: bool,
    /// Which of the steps' packages it is.
    placed: Option<u32>,
    /// Its needs, once they are looked up: the first, and the one behind the last.
    needs: Option<(u32, u32)>,
    node: Option<u32>,
}

/// What a dependency string of a recipe resolved to.
#[derive(Clone, Copy)]
struct Need {
    recipe: u32,
    kind: DependencyType,
    index: u32,
}

/// What becomes of a dependency of a package that is part of the build; with nodes.
enum Fate {
    /// It names the package itself.
    Itself,
    /// It is used.
    Used(usize),
    /// It is not, and the package can do without: it is no part of the build, or (a node) of a later phase.
    LeftOut(Option<usize>),
    /// It is built in a later phase, and the package cannot do without.
    TooLate(usize),
}

impl Known {
    fn new(recipe: &Recipe) -> Self {
        let is_group = recipe.group.is_some();
        Self { is_group, unknown_names: false, placed: None, needs: None, node: None }
    }
}

impl<'a> Resolver<'a> {
    fn new(definition: &'a Definition) -> Self {
        let recipes = recipes(definition);
        let mut phases: Vec<_> = definition.document.build_phases.iter().collect();
        phases.sort_by_key(|(_, phase)| phase.order);
        let phases = phases.into_iter().map(|(key, _)| PhaseNode { key: (**key).into() }).collect();
        Self {
            definition,
            recipes,
            groups: HashMap::new(),
            unknown: Unknown::new(definition),
            in_no_step: Vec::new(),
            graph: Graph { phases, nodes: Vec::new(), edges: Vec::new() },
            diagnostics: Vec::new(),
            known: definition.recipes.iter().map(|recipe| Known::new(&recipe.value)).collect(),
            needs: Vec::new(),
        }
    }

    fn recipe(&self, index: usize) -> &'a Recipe {
        &self.definition.recipes[index].value
    }

    fn expand(&self, name: &str) -> Option<Vec<usize>> {
        members(self.definition, &self.recipes, name)
    }

    /// Every member of every group exists, and no group contains itself.
    fn check_groups(&mut self) {
        let definition = self.definition;
        let components = components_of_groups(definition, &self.recipes).of;
        for (index, located) in definition.recipes.iter().enumerate() {
            let Some(members) = &located.value.group else { continue };
            for (i, member) in members.iter().enumerate() {
                let place = || located.place.clone().key("group").index(i);
                match self.recipes.get(&**member) {
                    None => self.diagnostics.extend(self.unknown.error("member of a group", member, place)),
                    // One that names itself is wrong within its recipe, and said to be.
                    Some(&to) if to != index && components[to] == components[index] => self.diagnostics.push(
                        Diagnostic::error(
                            "group-cycle",
                            format!("group `{}` contains itself through `{member}`", located.value.package),
                        )
                        .at(place())
                        .hint("a group is a list of packages: take one of the two names out"),
                    ),
                    Some(_) => {}
                }
            }
        }
    }

    /// Gives every package of every step its node, and pulls in what they depend on.
    fn place_steps(&mut self) {
        self.check_groups();
        let definition = self.definition;
        let document = &definition.document;
        let mut steps: Vec<(usize, Arc<str>, usize)> = Vec::new(); // phase, step, recipe
        for phase in 0..self.graph.phases.len() {
            let key = Arc::clone(&self.graph.phases[phase].key);
            for (i, step) in document.build_phases[&*key].steps.iter().enumerate() {
                let place = || definition.place.clone().key("build_phases").key(&*key).key("steps").index(i);
                let Some(members) = self.expand(step) else {
                    self.diagnostics.extend(self.unknown.error("step", step, place));
                    continue;
                };
                let step: Arc<str> = (**step).into();
                for member in members {
                    if let Some(placed) = self.known[member].placed {
                        let (other, earlier, _) = &steps[placed as usize];
                        if *other != phase || *earlier == step {
                            self.diagnostics.push(
                                Diagnostic::error(
                                    "duplicate-step",
                                    format!(
                                        "package `{}` is already built by step `{earlier}` of phase `{}`",
                                        self.recipe(member).package,
                                        self.graph.phases[*other].key
                                    ),
                                )
                                .at(place())
                                .hint("a package is built once: name it in one step"),
                            );
                        }
                        continue;
                    }
                    self.known[member].placed = Some(number(steps.len()));
                    steps.push((phase, Arc::clone(&step), member));
                }
            }
        }
        for (phase, step, recipe) in steps {
            self.pull(recipe, phase, &step);
        }
    }

    /// Gives `recipe` a node, after those of its dependencies that no step names. Iterative: a chain may be
    /// as long as a distribution is deep.
    fn pull(&mut self, recipe: usize, phase: usize, step: &Arc<str>) {
        let mut stack = vec![(recipe, false)];
        while let Some((at, done)) = stack.pop() {
            if done {
                self.known[at].node = Some(number(self.graph.nodes.len()));
                self.graph.nodes.push(Node {
                    name: (*self.recipe(at).package).into(),
                    version: self.recipe(at).version.as_ref().map_or("0", |v| v.as_str()).into(),
                    recipe: at,
                    phase,
                    step: Arc::clone(step),
                });
                continue;
            }
            if self.known[at].needs.is_some() {
                continue;
            }
            stack.push((at, true));
            let needs = self.look_up(at);
            for need in self.needs[needs].iter().rev() {
                // An optional dependency is waited for if it is in the plan; it does not get there by itself.
                if self.level(need.kind) == RequirementLevel::Required
                    && self.known[need.recipe as usize].placed.is_none()
                {
                    stack.push((need.recipe as usize, false));
                }
            }
        }
    }

    fn package_type(&self, kind: DependencyType) -> PackageType {
        kind.treated(&self.definition.document.dependency_tracking.package_types)
    }

    fn level(&self, kind: DependencyType) -> RequirementLevel {
        if self.package_type(kind).required { RequirementLevel::Required } else { RequirementLevel::Optional }
    }

    /// The packages that the lists of a recipe name, groups expanded, as a range of `needs`. Unknown names are left out.
    fn look_up(&mut self, recipe: usize) -> Range<usize> {
        let begin = self.needs.len();
        for (kind, list) in lists(self.recipe(recipe)) {
            for (index, dependency) in list.iter().enumerate() {
                let need = |recipe| Need { recipe: number(recipe), kind, index: number(index) };
                match self.recipes.get(&*dependency.name) {
                    None => self.known[recipe].unknown_names = true,
                    Some(&package) if !self.known[package].is_group => self.needs.push(need(package)),
                    Some(&group) => {
                        // Thousands may name the same one.
                        if !self.groups.contains_key(&group) {
                            let members = self.expand(&dependency.name).unwrap_or_default();
                            self.groups.insert(group, members.into());
                        }
                        self.needs.extend(self.groups[&group].iter().copied().map(need));
                    }
                }
            }
        }
        let needs = begin..self.needs.len();
        self.known[recipe].needs = Some((number(needs.start), number(needs.end)));
        needs
    }

    /// What becomes of a need of the package `from`.
    fn fate(&self, from: usize, need: &Need) -> Fate {
        let node = &self.graph.nodes[from];
        if need.recipe as usize == node.recipe {
            return Fate::Itself;
        }
        let Some(to) = self.known[need.recipe as usize].node.map(|node| node as usize) else {
            return Fate::LeftOut(None);
        };
        match self.level(need.kind) {
            // What is needed to run may come later, as long as nobody is built with it before.
            _ if need.kind == DependencyType::Runtime || self.graph.nodes[to].phase <= node.phase => {
                Fate::Used(to)
            }
            RequirementLevel::Optional => Fate::LeftOut(Some(to)),
            RequirementLevel::Required => Fate::TooLate(to),
        }
    }

    /// Edges of all nodes, with everything that can be wrong about one.
    fn connect(&mut self) {
        let compatible = self.definition.document.dependency_graph.validation.version_compatibility;
        let mut unsatisfied = BTreeSet::new();
        self.graph.edges.reserve_exact(self.needs.len());
        // By node: who had an edge to it last, and how strong those of that one are, for building and for running.
        let mut connected: Vec<[Option<(usize, PackageType)>; 2]> = vec![[None; 2]; self.graph.nodes.len()];
        let mut left_out: Vec<(Need, Option<usize>)> = Vec::new();
        for from in 0..self.graph.nodes.len() {
            let recipe = self.graph.nodes[from].recipe;
            if self.known[recipe].unknown_names {
                self.check_names(recipe);
            }
            let (begin, end) = self.known[recipe].needs.unwrap_or_default();
            for at in begin..end {
                let need = self.needs[at as usize];
                let fate = self.fate(from, &need);
                let (Fate::Used(to) | Fate::TooLate(to)) = fate else {
                    if let Fate::LeftOut(to) = fate {
                        left_out.push((need, to));
                    }
                    continue;
                };
                if compatible && !self.is_satisfied(recipe, &need) {
                    unsatisfied.insert(need.recipe as usize);
                }
                // A second edge between the same two says nothing new, unless one is for building and the other for running, or
                // it is stronger than what is there.
                let own = self.package_type(need.kind);
                let strongest = &mut connected[to][usize::from(need.kind == DependencyType::Runtime)];
                match strongest {
                    Some((other, strongest)) if *other == from => {
                        let both = PackageType {
                            required: strongest.required || own.required,
                            verification: strongest.verification.min(own.verification),
                        };
                        if both == *strongest {
                            continue;
                        }
                        *strongest = both;
                    }
                    Some(_) | None => *strongest = Some((from, own)),
                }
                if let Fate::TooLate(_) = fate {
                    self.report_later_phase(from, to, &need);
                    continue;
                }
                self.graph.edges.push(Edge {
                    from,
                    to,
                    dependency_type: need.kind,
                    requirement_level: self.level(need.kind),
                    index: need.index,
                });
            }
            // Members of one group are told together.
            let same = |(a, later_a): &(Need, Option<usize>), (b, later_b): &(Need, Option<usize>)| {
                (a.kind, a.index, later_a.is_some()) == (b.kind, b.index, later_b.is_some())
            };
            for left_out in left_out.chunk_by(same) {
                self.report_left_out(from, left_out);
            }
            left_out.clear();
        }
        self.check_versions(&unsatisfied);
    }

    fn check_names(&mut self, recipe: usize) {
        for (kind, list) in lists(self.recipe(recipe)) {
            for (index, dependency) in (0..).zip(list) {
                if self.recipes.contains_key(&*dependency.name) {
                    continue;
                }
                let place = || super::place(self.definition, recipe, kind, index);
                let name = &dependency.name;
                self.diagnostics.extend(match self.level(kind) {
                    RequirementLevel::Required => self.unknown.error("dependency", name, place),
                    RequirementLevel::Optional => {
                        let message = format!("dependency `{name}` has no recipe");
                        let hint = format!("`{}` is built without it", self.recipe(recipe).package);
                        Some(Diagnostic::warning("unknown-package", message).at(place()).hint(hint))
                    }
                });
            }
        }
    }

    /// Whether the package that it is about has a version that will do.
    fn is_satisfied(&self, recipe: usize, need: &Need) -> bool {
        let constraint = &dependency(self.recipe(recipe), need.kind, need.index).constraint;
        constraint.0.is_empty()
            || self
                .recipe(need.recipe as usize)
                .version
                .as_ref()
                .is_none_or(|version| constraint.allows(version))
    }

    /// All constraints on packages of which one is not satisfied: which version would do depends on all of them.
    fn check_versions(&mut self, of: &BTreeSet<usize>) {
        let mut wants = Vec::new();
        for (from, node) in self.graph.nodes.iter().enumerate().filter(|_| !of.is_empty()) {
            let (begin, end) = self.known[node.recipe].needs.unwrap_or_default();
            for need in &self.needs[begin as usize..end as usize] {
                let Need { recipe, kind, index } = *need;
                let recipe = recipe as usize;
                // What is not used binds nobody.
                if !of.contains(&recipe) || !matches!(self.fate(from, need), Fate::Used(_) | Fate::TooLate(_))
                {
                    continue;
                }
                let relaxed = self.package_type(kind).verification == Verification::Relaxed;
                wants.push(Want { by: node.recipe, kind, index, of: recipe, relaxed });
            }
        }
        self.diagnostics.extend(versions::check(self.definition, &wants));
    }

    fn report_later_phase(&mut self, from: usize, to: usize, need: &Need) {
        let place = super::place(self.definition, self.graph.nodes[from].recipe, need.kind, need.index);
        let (from, to) = (&self.graph.nodes[from], &self.graph.nodes[to]);
        self.diagnostics.push(
            Diagnostic::error(
                "later-phase",
                format!(
                    "`{}` of phase `{}` needs `{}`, which is built later, in phase `{}`",
                    from.name, self.graph.phases[from.phase].key, to.name, self.graph.phases[to.phase].key
                ),
            )
            .at(place)
            .hint("name it in a step of the same or an earlier phase"),
        );
    }

    /// An optional dependency that is not there, or as many as one name stands for.
    fn report_left_out(&mut self, from: usize, left_out: &[(Need, Option<usize>)]) {
        let [(first, later), ..] = left_out else { return };
        let node = &self.graph.nodes[from];
        let names: Vec<&str> =
            left_out.iter().map(|(need, _)| &*self.recipe(need.recipe as usize).package).collect();
        let what = if first.kind == DependencyType::Runtime { "may be used" } else { "is built" };
        let (dependent, names) = (&node.name, listed(&names, NAMED_MOST));
        let phase = |node: &Node| &self.graph.phases[node.phase].key;
        let (message, hint, among) = match later.map(|to| &self.graph.nodes[to]) {
            Some(to) => (
                format!(
                    "`{dependent}` of phase `{}` is built without {names}: built later, in phase `{}`",
                    phase(node),
                    phase(to)
                ),
                "name it in a step of the same or an earlier phase, or take it out",
                &mut self.diagnostics,
            ),
            None => (
                format!("`{dependent}` {what} without {names}: in no step"),
                "name it in a step, or take it out",
                &mut self.in_no_step,
            ),
        };
        let place = super::place(self.definition, node.recipe, first.kind, first.index);
        among.push(Diagnostic::warning("left-out", message).at(place).hint(hint));
    }
}
