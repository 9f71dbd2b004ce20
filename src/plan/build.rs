//! From a definition and its graph to a plan.
//!
//! Owns: the build order, cycle handling, what waits for what, and the validation of the result.
//! Does not know: names (see `graph::resolve`), how deep is too deep (`depth`), what has been built.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::config::diagnostic::Diagnostic;
use crate::config::document::CircularHandling;
use crate::config::load::Definition;
use crate::config::recipe::{Recipe, Task};
use crate::graph::cycle::{self, Circle};
use crate::graph::{Graph, RequirementLevel, resolve};

use super::{
    DroppedEdge, NodeId, Package, PackageId, Phase, PhaseId, Plan, TaskKind, Waiter, depth, key, strict,
};

/// A plan with the graph that it was made from, and what is worth a warning.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
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
    let dropped_edges = handle_cycles(definition, &mut graph, &mut warnings, &mut errors);
    if !errors.is_empty() {
        warnings.append(&mut errors);
        return Err(warnings);
    }
    let waits = Waits::new(&graph);
    let order = waits.order(&graph);
    check_later_phases(definition, &graph, &waits, &order, &mut errors);
    errors.extend(depth::check(definition, &graph));
    let mut package_of_node = vec![PackageId(0); graph.nodes.len()];
    for (position, node) in order.iter().filter(|n| **n < graph.nodes.len()).enumerate() {
        package_of_node[*node] = package_id(position);
    }
    let plan = assemble(definition, &graph, &waits, &order, &package_of_node, dropped_edges);
    if definition.document.dependency_graph.validation.build_order_verification {
        errors.extend(verify_order(definition, &graph, &package_of_node));
    }
    if errors.is_empty() {
        Ok(Planned { plan, graph, package_of_node, warnings })
    } else {
        warnings.append(&mut errors);
        Err(warnings)
    }
}

fn package_id(index: usize) -> PackageId {
    PackageId(u32::try_from(index).unwrap_or(u32::MAX))
}

/// The plan's id of a node of `Waits`: packages are renumbered, closures stay behind them.
fn numbered(id_of: &[PackageId], node: usize) -> NodeId {
    NodeId(id_of.get(node).map_or_else(|| u32::try_from(node).unwrap_or(u32::MAX), |p| p.0))
}

/// Reports cycles, or drops edges until none is left; what was dropped is returned and gone from the graph. Optional edges
/// are never worth an error, so those go first, whatever the definition says about cycles.
fn handle_cycles(
    definition: &Definition,
    graph: &mut Graph,
    warnings: &mut Vec<Diagnostic>,
    errors: &mut Vec<Diagnostic>,
) -> Vec<DroppedEdge> {
    let handling = definition.document.dependency_tracking.dependency_resolution.circular_handling;
    let mut drop = |graph: &mut Graph, edges: &[usize], reason| {
        if handling != CircularHandling::Ignore {
            warnings.extend(edges.iter().map(|edge| dropped_warning(definition, graph, *edge)));
        }
        take_out(graph, edges, reason)
    };
    let optional = cycle::optional_to_drop(graph);
    let mut dropped = drop(graph, &optional, "optional, and closes a cycle");
    match handling {
        CircularHandling::Error => {
            if definition.document.dependency_graph.validation.cycle_detection {
                errors.extend(cycle::circles(graph).iter().map(|c| describe(definition, graph, c)));
            } else if let Some(circle) = cycle::circles(graph).first() {
                // Without the check there is still no order to build in: said as what it is.
                errors.push(
                    Diagnostic::error("no-build-order", describe(definition, graph, circle).message)
                        .hint("cycle_detection is off, but a cycle has no build order: break it, or set circular_handling to warn or ignore"),
                );
            }
        }
        CircularHandling::Warn | CircularHandling::Ignore => {
            let required = cycle::edges_to_drop(graph);
            dropped.extend(drop(graph, &required, "circular dependency"));
        }
    }
    dropped
}

fn dropped_warning(definition: &Definition, graph: &Graph, edge: usize) -> Diagnostic {
    let edge = &graph.edges[edge];
    let (from, to) = (&graph.nodes[edge.from].name, &graph.nodes[edge.to].name);
    let message = format!("`{from}` is built without waiting for `{to}`: this edge closes a cycle");
    Diagnostic::warning("dropped-edge", message).at(graph.place(definition, edge))
}

/// Takes edges out of the graph; `edges` ascending.
fn take_out(graph: &mut Graph, edges: &[usize], reason: &'static str) -> Vec<DroppedEdge> {
    let name = |node: usize| Arc::clone(&graph.nodes[node].name);
    let dropped = edges.iter().map(|index| &graph.edges[*index]).map(|edge| DroppedEdge {
        from: name(edge.from),
        to: name(edge.to),
        dependency_type: edge.dependency_type,
        reason,
    });
    let dropped = dropped.collect();
    let mut index = 0;
    graph.edges.retain(|_| {
        index += 1;
        edges.binary_search(&(index - 1)).is_err()
    });
    dropped
}

fn describe(definition: &Definition, graph: &Graph, circle: &Circle) -> Diagnostic {
    let mut path: Vec<String> =
        circle.shortest.iter().map(|e| graph.nodes[graph.edges[*e].from].name.to_string()).collect();
    path.extend(path.first().cloned());
    let mut message = format!("circular dependency: {}", path.join(" -> "));
    if circle.members.len() > circle.shortest.len() {
        message = format!("{message} (a shortest one among {} packages)", circle.members.len());
    }
    let edges: Vec<String> = circle
        .shortest
        .iter()
        .map(|e| &graph.edges[*e])
        .map(|e| {
            format!(
                "`{}` needs `{}` ({}, {})",
                graph.nodes[e.from].name,
                graph.nodes[e.to].name,
                e.dependency_type.list(),
                definition.files.locate(&graph.place(definition, e).into())
            )
        })
        .collect();
    let diagnostic = Diagnostic::error("circular-dependency", message)
        .hint(format!("{}; take one out, or set circular_handling: warn", edges.join(", ")));
    match circle.shortest.first() {
        Some(edge) => diagnostic.at(graph.place(definition, &graph.edges[*edge])),
        None => diagnostic,
    }
}

/// Component of each node in the graph of runtime edges alone.
fn runtime_components(graph: &Graph) -> Vec<usize> {
    let mut di: DiGraph<(), ()> = DiGraph::with_capacity(graph.nodes.len(), graph.edges.len());
    for _ in &graph.nodes {
        di.add_node(());
    }
    for edge in graph.edges.iter().filter(|e| !e.waits()) {
        di.add_edge(NodeIndex::new(edge.from), NodeIndex::new(edge.to), ());
    }
    let mut component = vec![0; graph.nodes.len()];
    for (index, members) in kosaraju_scc(&di).into_iter().enumerate() {
        for member in members {
            component[member.index()] = index;
        }
    }
    component
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
    waits: &Waits,
    order: &[usize],
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
    let mut depends_on: Vec<Vec<PackageId>> = vec![Vec::new(); count];
    for edge in &graph.edges {
        depends_on[id_of[edge.from].0 as usize].push(id_of[edge.to]);
    }
    let types = &document.dependency_tracking.package_types;
    let mut strict = strict::dependencies(types, graph, id_of);
    let mut packages: Vec<Package> = Vec::with_capacity(count);
    let mut first_task = Vec::with_capacity(count + 1);
    let mut by_name = BTreeMap::new();
    let mut keys = vec![[0_u8; 32]; waits.awaited.len()];
    let mut next_task = 0_u32;
    for &node in order {
        let mut dependencies: Vec<[u8; 32]> = waits.awaited[node].iter().map(|n| keys[*n]).collect();
        dependencies.sort_unstable();
        let Some(from) = graph.nodes.get(node) else {
            keys[node] = key::closure_key(&dependencies);
            continue;
        };
        let recipe = &definition.recipes[from.recipe].value;
        keys[node] = key::package_key(recipe, &dependencies);
        let id = package_id(packages.len());
        let mut direct = std::mem::take(&mut depends_on[packages.len()]);
        direct.sort_unstable();
        direct.dedup();
        let tasks = tasks(recipe);
        first_task.push(next_task);
        next_task += u32::try_from(tasks.len()).unwrap_or(0);
        phases[from.phase].packages.push(id);
        by_name.insert(Arc::clone(&from.name), id);
        packages.push(Package {
            name: Arc::clone(&from.name),
            version: Arc::clone(&from.version),
            phase: PhaseId(u32::try_from(from.phase).unwrap_or(u32::MAX)),
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
    let digest = key::plan_digest(document, &phases, &packages);
    let (waiters, wait_count) = waits.renumbered(id_of);
    Plan {
        definition: (*definition.name).into(),
        digest,
        phases,
        packages,
        by_name,
        first_task,
        node_order: order.iter().map(|node| numbered(id_of, *node)).collect(),
        waiters,
        wait_count,
        dropped_edges,
        document: Arc::new(document.clone()),
    }
}

/// Who waits for what. Nodes are the packages (as in the graph), then closures: one for each set of
/// packages that need each other to run and something besides. A package waits for the closure of what it
/// depends on, so that everything which that needs to run is there: one edge instead of one for each.
struct Waits {
    /// For each node, the nodes that it waits for.
    awaited: Vec<Vec<usize>>,
    /// For each node, who waits for it, and whether it can do without.
    waiters: Vec<Vec<(usize, bool)>>,
}

impl Waits {
    fn new(graph: &Graph) -> Self {
        let packages = graph.nodes.len();
        let component = runtime_components(graph);
        let mut closure_of: BTreeMap<usize, usize> = BTreeMap::new();
        for edge in graph.edges.iter().filter(|e| !e.waits()) {
            let next = packages + closure_of.len();
            closure_of.entry(component[edge.from]).or_insert(next);
        }
        let usable = |node: usize| closure_of.get(&component[node]).copied().unwrap_or(node);
        let nodes = packages + closure_of.len();
        let mut this = Self { awaited: vec![Vec::new(); nodes], waiters: vec![Vec::new(); nodes] };
        for node in 0..packages {
            if usable(node) != node {
                this.wait(usable(node), node, true);
            }
        }
        for edge in &graph.edges {
            let required = edge.requirement_level == RequirementLevel::Required;
            if edge.waits() {
                this.wait(edge.from, usable(edge.to), required);
            } else if component[edge.from] != component[edge.to] {
                this.wait(usable(edge.from), usable(edge.to), required);
            }
        }
        this
    }

    fn wait(&mut self, node: usize, on: usize, required: bool) {
        self.waiters[on].push((node, required));
        self.awaited[node].push(on);
    }

    /// All nodes, each after those that it waits for; packages by phase, then in definition order as far
    /// as dependencies allow (Kahn's algorithm).
    fn order(&self, graph: &Graph) -> Vec<usize> {
        let mut missing: Vec<usize> = self.awaited.iter().map(Vec::len).collect();
        // Closures come as soon as they can: they cost nothing, and packages wait for them.
        let rank = |node: usize| Reverse((graph.nodes.get(node).map(|n| n.phase), node));
        let mut ready: BinaryHeap<_> = (0..missing.len()).filter(|n| missing[*n] == 0).map(rank).collect();
        let mut order = Vec::with_capacity(missing.len());
        while let Some(Reverse((_, node))) = ready.pop() {
            order.push(node);
            for &(waiter, _) in &self.waiters[node] {
                missing[waiter] -= 1;
                if missing[waiter] == 0 {
                    ready.push(rank(waiter));
                }
            }
        }
        debug_assert_eq!(order.len(), missing.len(), "a graph without circles has an order");
        order
    }

    /// The same in terms of the plan's ids.
    fn renumbered(&self, id_of: &[PackageId]) -> (Vec<Vec<Waiter>>, Vec<u32>) {
        let id = |node: usize| numbered(id_of, node);
        let mut waiters = vec![Vec::new(); self.waiters.len()];
        let mut wait_count = vec![0; self.awaited.len()];
        for node in 0..self.waiters.len() {
            let at = id(node).0 as usize;
            wait_count[at] = u32::try_from(self.awaited[node].len()).unwrap_or(u32::MAX);
            waiters[at] =
                self.waiters[node].iter().map(|&(n, required)| Waiter { node: id(n), required }).collect();
        }
        (waiters, wait_count)
    }
}

/// A dependency may itself be early enough but need something to run that is not.
fn check_later_phases(
    definition: &Definition,
    graph: &Graph,
    waits: &Waits,
    order: &[usize],
    errors: &mut Vec<Diagnostic>,
) {
    // Of each node: the package of the latest phase that it is or waits for through closures.
    let mut latest: Vec<usize> = (0..waits.awaited.len()).collect();
    let phase = |node: usize| graph.nodes.get(node).map_or(0, |n| n.phase);
    for &node in order {
        if node >= graph.nodes.len() {
            let awaited = waits.awaited[node].iter().map(|n| latest[*n]);
            latest[node] = awaited.max_by_key(|n| phase(*n)).unwrap_or(node);
        }
    }
    let mut reported = vec![false; graph.nodes.len()];
    for &node in order.iter().filter(|n| **n < graph.nodes.len()) {
        for &on in &waits.awaited[node] {
            let late = latest[on];
            if phase(late) <= phase(node) || reported[node] {
                continue;
            }
            reported[node] = true;
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
            let edge = graph.edges.iter().find(|e| e.to == late && !e.waits());
            if let Some(edge) = edge {
                diagnostic = diagnostic.at(graph.place(definition, edge));
            }
            errors.push(diagnostic);
        }
    }
}

/// The framework's `build_order_verification`: from the edges alone, independent of how the order was found.
fn verify_order(definition: &Definition, graph: &Graph, package_of_node: &[PackageId]) -> Vec<Diagnostic> {
    let late = graph.edges.iter().filter(|e| e.waits() && package_of_node[e.to] >= package_of_node[e.from]);
    late.map(|edge| {
        Diagnostic::error(
            "build-order",
            format!(
                "internal: `{}` is planned before `{}`, which it needs",
                graph.nodes[edge.from].name, graph.nodes[edge.to].name
            ),
        )
        .at(graph.place(definition, edge))
        .hint("please report this with the definition")
    })
    .collect()
}
