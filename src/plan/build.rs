//! From a definition and its graph to a plan.
//!
//! Owns: what is done one after another, what the plan says of each package, dependencies that come in a later phase.
//! Does not know: names (see `graph::resolve`), cycles (`cycles`), the order (`waits`), how deep is too deep (`depth`), what
//! has been built.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::diagnostic::Diagnostic;
use crate::config::load::Definition;
use crate::config::recipe::{Recipe, Task};
use crate::graph::components::number;
use crate::graph::lists::Lists;
use crate::graph::{Graph, resolve};

use super::waits::{Waits, node_id};
use super::{
    DroppedEdge, Package, PackageId, Phase, PhaseId, Plan, TaskKind, cycles, depth, key, strict, verify,
};

/// A plan with the graph that it was made from, and what is worth a warning.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The graph, without the edges that were dropped; nodes in definition order.
    pub graph: Graph,
    /// Package of each node of the graph.
    pub package_of_node: Vec<PackageId>,
    /// Things that do not stand in the way.
    pub warnings: Vec<Diagnostic>,
}

/// Plans a definition.
///
/// # Errors
/// All problems that stand in the way.
pub fn plan(definition: &Definition) -> Result<Planned, Vec<Diagnostic>> {
    let (mut graph, mut warnings) = resolve::resolve(definition)?;
    let mut errors = Vec::new();
    let dropped_edges = cycles::handle(definition, &mut graph, &mut warnings, &mut errors);
    if !errors.is_empty() {
        warnings.append(&mut errors);
        return Err(warnings);
    }
    let waits = Waits::new(&graph);
    let order = waits.order(&graph);
    check_later_phases(definition, &graph, &waits, &order, &mut errors);
    errors.extend(depth::check(definition, &graph));
    let mut package_of_node = vec![PackageId(0); graph.nodes.len()];
    let packages = order.iter().map(|node| *node as usize).filter(|node| *node < graph.nodes.len());
    for (position, node) in packages.enumerate() {
        package_of_node[node] = PackageId(number(position));
    }
    let plan = assemble(definition, &graph, waits, &order, &package_of_node, dropped_edges);
    if errors.is_empty() {
        errors.extend(verify::check(&plan, &graph, &package_of_node));
    }
    if errors.is_empty() {
        Ok(Planned { plan: Arc::new(plan), graph, package_of_node, warnings })
    } else {
        warnings.append(&mut errors);
        Err(warnings)
    }
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
    let types = &document.dependency_tracking.package_types;
    let mut strict = strict::dependencies(types, graph, id_of);
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
            strict: std::mem::take(&mut strict[node]),
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
        dropped_edges,
        document: Arc::new(document.clone()),
    }
}

/// A dependency may itself be early enough but need something to run that is not.
fn check_later_phases(
    definition: &Definition,
    graph: &Graph,
    waits: &Waits,
    order: &[u32],
    errors: &mut Vec<Diagnostic>,
) {
    // Of each node: the package of the latest phase that it is or waits for through closures.
    let mut latest: Vec<usize> = (0..waits.awaited.len()).collect();
    let phase = |node: usize| graph.nodes.get(node).map_or(0, |n| n.phase);
    let is_closure = |node: &usize| *node >= graph.nodes.len();
    for node in order.iter().map(|node| *node as usize).filter(is_closure) {
        let awaited = waits.awaited[node].iter().map(|on| latest[*on as usize]);
        latest[node] = awaited.max_by_key(|on| phase(*on)).unwrap_or(node);
    }
    let mut needed_by: Vec<Option<usize>> = Vec::new();
    for node in order.iter().map(|node| *node as usize).filter(|node| !is_closure(node)) {
        let mut awaited = waits.awaited[node].iter().map(|on| latest[*on as usize]);
        let Some(late) = awaited.find(|late| phase(*late) > phase(node)) else { continue };
        if needed_by.is_empty() {
            needed_by = vec![None; graph.nodes.len()];
            for (index, edge) in graph.edges.iter().enumerate().filter(|(_, edge)| !edge.waits()) {
                needed_by[edge.to].get_or_insert(index);
            }
        }
        let mut diagnostic = Diagnostic::error(
            "later-phase",
            format!(
                "`{}` of phase `{}` needs something that needs `{}` to run, which is built later, in phase `{}`",
                graph.nodes[node].name,
                graph.phases[phase(node)].key,
                graph.nodes[late].name,
                graph.phases[phase(late)].key
            ),
        )
        .hint(format!("name `{}` in a step of the same or an earlier phase", graph.nodes[late].name));
        if let Some(edge) = needed_by[late] {
            diagnostic = diagnostic.at(graph.place(definition, &graph.edges[edge]));
        }
        errors.push(diagnostic);
    }
}
