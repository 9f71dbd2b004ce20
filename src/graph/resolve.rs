//! From steps, groups and recipes to a graph.
//!
//! Owns: what a name means (package or group), which packages are part of the build and in which phase, and
//! every complaint about a name or a phase. Does not know: cycles, order, which version would do (`versions`).

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Place, Severity};
use crate::config::document::{PackageType, Verification};
use crate::config::load::Definition;
use crate::config::recipe::Recipe;
use crate::config::suggest;

use super::components::number;
use super::versions::{self, Want};
use super::{DependencyType, Edge, Graph, Node, PhaseNode, RequirementLevel, lists};

/// Resolves every name of the definition. All problems are reported, not just the first.
///
/// # Errors
/// When at least one of the diagnostics is an error; warnings come with the graph.
pub fn resolve(definition: &Definition) -> Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut resolver = Resolver::new(definition);
    resolver.place_steps();
    resolver.connect();
    let Resolver { graph, diagnostics, .. } = resolver;
    if diagnostics.iter().any(|d| d.severity == Severity::Error) {
        Err(diagnostics)
    } else {
        Ok((graph, diagnostics))
    }
}

struct Resolver<'a> {
    definition: &'a Definition,
    /// Only looked up in, never gone through in its own order.
    recipes: HashMap<&'a str, usize>,
    graph: Graph,
    diagnostics: Vec<Diagnostic>,
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
        for (index, located) in self.definition.recipes.iter().enumerate() {
            let Some(members) = &located.value.group else { continue };
            for (i, member) in members.iter().enumerate() {
                let place = || located.place.clone().key("group").index(i);
                match self.recipes.get(&**member) {
                    None => {
                        let diagnostic = self.unknown("member of a group", member).at(place());
                        self.diagnostics.push(diagnostic);
                    }
                    Some(&to) if self.group_reaches(to, index) => self.diagnostics.push(
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

    fn group_reaches(&self, from: usize, target: usize) -> bool {
        let mut seen = vec![from];
        let mut stack = vec![from];
        while let Some(at) = stack.pop() {
            if at == target {
                return true;
            }
            for member in self.recipe(at).group.iter().flatten() {
                if let Some(&next) = self.recipes.get(&**member)
                    && !seen.contains(&next)
                {
                    seen.push(next);
                    stack.push(next);
                }
            }
        }
        false
    }

    fn unknown(&self, what: &str, name: &str) -> Diagnostic {
        let diagnostic = Diagnostic::error("unknown-package", format!("{what} `{name}` has no recipe"));
        let names: Vec<&str> = self.definition.recipes.iter().map(|recipe| &*recipe.value.package).collect();
        match suggest::did_you_mean(name, &names) {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic.hint(format!("add packages/{name}.yaml, or take the name out")),
        }
    }

    /// Gives every package of every step its node, and pulls in what they depend on.
    fn place_steps(&mut self) {
        self.check_groups();
        let document = &self.definition.document;
        let mut steps: Vec<(usize, Arc<str>, usize)> = Vec::new(); // phase, step, recipe
        for phase in 0..self.graph.phases.len() {
            let key = Arc::clone(&self.graph.phases[phase].key);
            for (i, step) in document.build_phases[&*key].steps.iter().enumerate() {
                let place =
                    self.definition.place.clone().key("build_phases").key(&*key).key("steps").index(i);
                let Some(members) = self.expand(step) else {
                    let diagnostic = self.unknown("step", step).at(place);
                    self.diagnostics.push(diagnostic);
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
                                .at(place.clone())
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
                    Some(_) => {
                        let members = self.expand(&dependency.name).unwrap_or_default();
                        self.needs.extend(members.into_iter().map(need));
                    }
                }
            }
        }
        let needs = begin..self.needs.len();
        self.known[recipe].needs = Some((number(needs.start), number(needs.end)));
        needs
    }

    /// Edges of all nodes, with everything that can be wrong about one.
    fn connect(&mut self) {
        let compatible = self.definition.document.dependency_graph.validation.version_compatibility;
        let mut unsatisfied = BTreeSet::new();
        self.graph.edges.reserve_exact(self.needs.len());
        // By node, the last one with an edge to it: for building, for running.
        let mut connected = vec![[None; 2]; self.graph.nodes.len()];
        for from in 0..self.graph.nodes.len() {
            let recipe = self.graph.nodes[from].recipe;
            if self.known[recipe].unknown_names {
                self.check_names(recipe);
            }
            let (begin, end) = self.known[recipe].needs.unwrap_or_default();
            for at in begin..end {
                let need = self.needs[at as usize];
                if need.recipe as usize == recipe {
                    continue;
                }
                if compatible && !self.is_satisfied(recipe, &need) {
                    unsatisfied.insert(need.recipe as usize);
                }
                let Some(to) = self.known[need.recipe as usize].node.map(|node| node as usize) else {
                    continue; // optional, and in no step
                };
                // The strongest list wins: a second edge between the same two says nothing new, unless one
                // is for building and the other for running.
                let connected = &mut connected[to][usize::from(need.kind == DependencyType::Runtime)];
                if *connected == Some(from) {
                    continue;
                }
                if self.graph.nodes[to].phase > self.graph.nodes[from].phase
                    && need.kind != DependencyType::Runtime
                {
                    if self.level(need.kind) == RequirementLevel::Required {
                        self.report_later_phase(from, to, &need);
                    }
                    continue;
                }
                *connected = Some(from);
                self.graph.edges.push(Edge {
                    from,
                    to,
                    dependency_type: need.kind,
                    requirement_level: self.level(need.kind),
                    index: need.index,
                });
            }
        }
        self.check_versions(&unsatisfied);
    }

    fn check_names(&mut self, recipe: usize) {
        for (kind, list) in lists(self.recipe(recipe)) {
            for (index, dependency) in (0..).zip(list) {
                if self.recipes.contains_key(&*dependency.name) {
                    continue;
                }
                let place = self.place(recipe, kind, index);
                let mut diagnostic = self.unknown("dependency", &dependency.name).at(place);
                if self.level(kind) == RequirementLevel::Optional {
                    diagnostic.severity = Severity::Warning;
                    diagnostic.hint = Some(format!("`{}` is built without it", self.recipe(recipe).package));
                }
                self.diagnostics.push(diagnostic);
            }
        }
    }

    /// Whether the package that it is about has a version that will do.
    fn is_satisfied(&self, recipe: usize, need: &Need) -> bool {
        let (_, list) = lists(self.recipe(recipe))[need.kind as usize];
        let constraint = &list[need.index as usize].constraint;
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
        for node in self.graph.nodes.iter().filter(|_| !of.is_empty()) {
            let (begin, end) = self.known[node.recipe].needs.unwrap_or_default();
            for need in &self.needs[begin as usize..end as usize] {
                let Need { recipe, kind, index } = *need;
                let recipe = recipe as usize;
                if recipe == node.recipe || !of.contains(&recipe) {
                    continue;
                }
                let relaxed = self.package_type(kind).verification == Verification::Relaxed;
                wants.push(Want { by: node.recipe, kind, index, of: recipe, relaxed });
            }
        }
        self.diagnostics.extend(versions::check(self.definition, &wants));
    }

    fn place(&self, recipe: usize, kind: DependencyType, index: u32) -> Place {
        super::place(self.definition, recipe, kind, index)
    }

    fn report_later_phase(&mut self, from: usize, to: usize, need: &Need) {
        let place = self.place(self.graph.nodes[from].recipe, need.kind, need.index);
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
}

/// Index of each recipe by its name.
pub(crate) fn recipes(definition: &Definition) -> HashMap<&str, usize> {
    definition.recipes.iter().enumerate().map(|(i, r)| (&*r.value.package, i)).collect()
}

/// The packages that `name` stands for, as indices of recipes: itself, or a group's members, recursively, in order, each
/// once. `None` where there is no such recipe.
pub(crate) fn members(
    definition: &Definition,
    recipes: &HashMap<&str, usize>,
    name: &str,
) -> Option<Vec<usize>> {
    let mut out = Vec::new();
    let mut seen = BTreeSet::new();
    let mut stack = vec![*recipes.get(name)?];
    while let Some(at) = stack.pop() {
        if !seen.insert(at) {
            continue; // named twice, or a group within itself: `check_groups` reports that
        }
        match &definition.recipes[at].value.group {
            None => out.push(at),
            Some(members) => stack.extend(members.iter().rev().filter_map(|m| recipes.get(&**m))),
        }
    }
    Some(out)
}
