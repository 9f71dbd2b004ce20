//! From a definition and its graph to a plan.
//!
//! Owns: what is done one after another, what the plan says of each package. Does not know: names (see `graph::resolve`),
//! cycles (`cycles`), the order (`waits`), how deep is too deep (`depth`), what comes too late (`later`), what has been built.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::load::Definition;
use crate::config::recipe::{Recipe, Task};
use crate::graph::components::number;
use crate::graph::lists::Lists;
use crate::graph::{Edge, Graph, resolve};

use super::strict::Verified;
use super::waits::{Waits, node_id};
use super::{
    DroppedEdge, Package, PackageId, Phase, PhaseId, Plan, TaskKind, cycles, depth, key, later, verify,
};

/// A plan with the graph that it was made from, and what is worth a warning.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The graph, without the edges that were dropped; nodes in definition order.
    pub graph: Graph,
    /// The edges that were dropped, one for each of the plan's `dropped_edges`.
    pub dropped: Vec<Edge>,
    /// Package of each node of the graph.
    pub package_of_node: Vec<PackageId>,
    /// Things that do not stand in the way.
    pub warnings: Vec<Diagnostic>,
}

impl Planned {
    /// The graph as it is written, with the edges that were dropped.
    pub fn written(&self) -> Graph {
        let mut graph = self.graph.clone();
        graph.edges.extend(self.dropped.iter().cloned());
        graph.edges.sort_by_key(|edge| (edge.from, edge.dependency_type, edge.index));
        graph
    }
}

/// Plans a definition.
///
/// # Errors
/// Everything that is wrong, warnings included, when something stands in the way.
pub fn plan(definition: &Definition) -> Result<Planned, Vec<Diagnostic>> {
    let Checked { graph, dropped, waits, order, mut diagnostics } = checked(definition);
    let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
    if diagnostics.iter().any(is_error) {
        return Err(diagnostics);
    }
    let mut package_of_node = vec![PackageId(0); graph.nodes.len()];
    let packages = order.iter().map(|node| *node as usize).filter(|node| *node < graph.nodes.len());
    for (position, node) in packages.enumerate() {
        package_of_node[node] = PackageId(number(position));
    }
    let (dropped, dropped_edges) = dropped.into_iter().unzip();
    let plan = assemble(definition, &graph, waits, &order, &package_of_node, dropped_edges);
    diagnostics.extend(verify::check(&plan, &graph, &package_of_node));
    if diagnostics.iter().any(is_error) {
        return Err(diagnostics);
    }
    Ok(Planned { plan: Arc::new(plan), graph, dropped, package_of_node, warnings: diagnostics })
}

/// Everything that is wrong with a definition as a whole, as far as it was read.
pub fn problems(definition: &Definition) -> Vec<Diagnostic> {
    checked(definition).diagnostics
}

/// What a plan is made of, and what was found on the way: all of it, whatever was found first.
struct Checked {
    graph: Graph,
    dropped: Vec<(Edge, DroppedEdge)>,
    waits: Waits,
    order: Vec<u32>,
    diagnostics: Vec<Diagnostic>,
}

fn checked(definition: &Definition) -> Checked {
    let (mut graph, mut diagnostics) = resolve::resolve(definition);
    let dropped = cycles::handle(definition, &mut graph, &mut diagnostics);
    let waits = Waits::new(&graph);
    let order = waits.order(&graph);
    diagnostics.extend(later::check(definition, &graph, &waits, &order));
    diagnostics.extend(depth::check(definition, &graph));
    Checked { graph, dropped, waits, order, diagnostics }
}

/// Tasks of a package: what its recipe has, fetch and unpack where there are sources, merge where there is
/// something to merge.
fn tasks(recipe: &Recipe) -> Vec<TaskKind> {
    let mut tasks = Vec::with_capacity(7);
    if !recipe.sources.is_empty() {
        tasks.extend([TaskKind::Fetch, TaskKind::Unpack]);
    }
    let own = &recipe.tasks;
    let scripts = [
        (TaskKind::Configure, own.configure.is_some()),
        (TaskKind::Build, own.build.is_some()),
        (TaskKind::Check, own.check.is_some()),
        (TaskKind::Install, own.install.is_some()),
        (TaskKind::Merge, own.install.is_some()),
    ];
    tasks.extend(scripts.into_iter().filter(|(_, has)| *has).map(|(kind, _)| kind));
    tasks
}

fn assemble(
    definition: &Definition,
    graph: &Graph,
    waits: Waits,
    order: &[u32],
    id_of: &[PackageId],
    dropped_edges: Vec<DroppedEdge>,
) -> Plan {
    let document = &definition.document;
    let mut phases: Vec<Phase> = graph
        .phases
        .iter()
        .map(|p| {
            let phase = &document.build_phases[&*p.key];
            Phase {
                key: Arc::clone(&p.key),
                title: phase.name.as_deref().unwrap_or(&p.key).into(),
                critical: phase.critical,
                disk_space: phase.requirements.disk_space.map(|s| s.0),
                memory: phase.requirements.memory.map(|s| s.0),
                toolchain: phase.requirements.toolchain.is_some(),
                packages: Vec::new(),
            }
        })
        .collect();

    let count = graph.nodes.len();
    let depends_on = Lists::new(count, || graph.edges.iter().map(|edge| (edge.from, id_of[edge.to])));
    let mut packages: Vec<Package> = Vec::with_capacity(count);
    let mut first_task = Vec::with_capacity(count + 1);
    let mut keys = vec![[0_u8; 32]; waits.awaited.len()];
    let mut keyed = key::Keyed::default();
    let mut dependencies: Vec<[u8; 32]> = Vec::new();
    let mut next_task = 0_u32;
    for node in order.iter().map(|node| *node as usize) {
        dependencies.clear();
        dependencies.extend(waits.awaited[node].iter().map(|node| keys[*node as usize]));
        dependencies.sort_unstable();
        let Some(from) = graph.nodes.get(node) else {
            keys[node] = key::closure_key(&dependencies);
            continue;
        };
        let recipe = &definition.recipes[from.recipe].value;
        keys[node] = keyed.package_key(recipe, &dependencies);
        let id = PackageId(number(packages.len()));
        let mut direct = depends_on[node].to_vec();
        direct.sort_unstable();
        direct.dedup();
        let tasks = tasks(recipe);
        first_task.push(next_task);
        next_task += number(tasks.len());
        phases[from.phase].packages.push(id);
        packages.push(Package {
            name: Arc::clone(&from.name),
            version: Arc::clone(&from.version),
            phase: PhaseId(number(from.phase)),
            step: Arc::clone(&from.step),
            recipe: from.recipe,
            tasks,
            direct: recipe.direct,
            check_required: recipe.tasks.check.as_ref().is_none_or(Task::required),
            memory: recipe.memory.map(|size| size.0),
            weight: recipe.weight,
            jobs: recipe.jobs,
            timeout: recipe.timeout.map(|d| d.0),
            silent_timeout: recipe.silent_timeout.map(|d| d.0),
            depends_on: direct,
            accept_failed_check: recipe.accept_failed_check,
            key: key::hex(&keys[node]),
        });
    }
    first_task.push(next_task);
    let digest = keyed.plan_digest(document, &phases, &packages);
    let (waiters, wait_count) = waits.numbered(id_of);
    let by_name: BTreeMap<_, _> =
        graph.nodes.iter().zip(id_of).map(|(node, id)| (Arc::clone(&node.name), *id)).collect();
    Plan {
        definition: (*definition.name).into(),
        digest,
        phases,
        packages,
        by_name,
        first_task,
        node_order: order.iter().map(|node| node_id(id_of, *node)).collect(),
        waiters,
        wait_count,
        verified: Verified::new(&document.dependency_tracking.package_types, graph, id_of),
        dropped_edges,
        document: Arc::new(document.clone()),
    }
}
