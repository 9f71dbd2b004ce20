//! Cycles, against brute force on small graphs, and on graphs as long as they come.

use proptest::prelude::*;

use super::super::components::components;
use super::super::{DependencyType, Edge, Graph, Node, RequirementLevel};
use super::{Circle, circles, keep, order};

const KINDS: [DependencyType; 3] = [DependencyType::Build, DependencyType::Runtime, DependencyType::Optional];

fn graph(nodes: usize, edges: impl IntoIterator<Item = (usize, usize, DependencyType)>) -> Graph {
    let node = |at: usize| Node {
        name: format!("p{at}").into(),
        version: "1".into(),
        recipe: at,
        phase: 0,
        step: "s".into(),
    };
    let edge = |(from, to, dependency_type)| Edge {
        from,
        to,
        dependency_type,
        requirement_level: match dependency_type {
            DependencyType::Build | DependencyType::Runtime => RequirementLevel::Required,
            DependencyType::Optional => RequirementLevel::Optional,
        },
        index: 0,
    };
    let mut edges: Vec<Edge> = edges.into_iter().map(edge).collect();
    edges.sort_by_key(|edge| edge.from);
    Graph { phases: Vec::new(), nodes: (0..nodes).map(node).collect(), edges }
}

/// Graphs of a few packages, in which most edges are on a cycle.
fn graphs() -> impl Strategy<Value = Graph> {
    (2..9_usize).prop_flat_map(|nodes| {
        let edge = (0..nodes, 0..nodes, prop::sample::select(KINDS.to_vec()));
        prop::collection::vec(edge, 0..3 * nodes).prop_map(move |mut edges| {
            edges.retain(|(from, to, _)| from != to);
            edges.sort_unstable();
            edges.dedup();
            graph(nodes, edges)
        })
    })
}

/// Lengths of the shortest ways from one package to each, along these edges.
fn distances(graph: &Graph, edges: &[usize], from: usize) -> Vec<Option<usize>> {
    let mut distance = vec![None; graph.nodes.len()];
    distance[from] = Some(0);
    for _ in &graph.nodes {
        for edge in edges.iter().map(|edge| &graph.edges[*edge]) {
            if let Some(so_far) = distance[edge.from] {
                let way = distance[edge.to].map_or(so_far + 1, |other: usize| other.min(so_far + 1));
                distance[edge.to] = Some(way);
            }
        }
    }
    distance
}

/// Length of a shortest circular cycle of these edges: one of its edges waits, and a way leads back from that.
fn girth(graph: &Graph, edges: &[usize]) -> Option<usize> {
    let waiting = edges.iter().map(|edge| &graph.edges[*edge]).filter(|edge| edge.waits());
    waiting.filter_map(|edge| distances(graph, edges, edge.to)[edge.from].map(|back| back + 1)).min()
}

fn dropped(circles: &[Circle]) -> Vec<usize> {
    let mut dropped: Vec<usize> = circles.iter().flat_map(|circle| circle.dropped.clone()).collect();
    dropped.sort_unstable();
    dropped
}

fn all(_: &Edge) -> bool {
    true
}

/// Whether these edges are a circular cycle, each beginning where the last ends, through no package twice.
fn is_cycle(graph: &Graph, cycle: &[usize]) -> bool {
    let edge = |at: usize| &graph.edges[cycle[at % cycle.len()]];
    let mut packages: Vec<usize> = cycle.iter().map(|edge| graph.edges[*edge].from).collect();
    packages.sort_unstable();
    packages.dedup();
    packages.len() == cycle.len()
        && (0..cycle.len()).all(|at| edge(at).to == edge(at + 1).from)
        && (0..cycle.len()).any(|at| edge(at).waits())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_stays_is_not_circular_and_nothing_can_be_put_back(graph in graphs()) {
        let dropped = dropped(&circles(&graph, all));
        let kept: Vec<usize> = (0..graph.edges.len()).filter(|edge| dropped.binary_search(edge).is_err()).collect();
        prop_assert_eq!(girth(&graph, &kept), None);
        for edge in dropped {
            // Not even what is weaker can spare it.
            let kind = graph.edges[edge].dependency_type;
            let mut others = kept.clone();
            others.retain(|other| graph.edges[*other].dependency_type <= kind);
            others.push(edge);
            prop_assert!(girth(&graph, &others).is_some(), "{:?}", graph.edges[edge]);
        }
    }

    #[test]
    fn a_circle_is_where_somebody_waits_for_himself(graph in graphs()) {
        let every: Vec<usize> = (0..graph.edges.len()).collect();
        let distance: Vec<_> = (0..graph.nodes.len()).map(|node| distances(&graph, &every, node)).collect();
        let together = |one: usize, other: usize| distance[one][other].is_some() && distance[other][one].is_some();
        let mut expected: Vec<Vec<usize>> = Vec::new();
        for edge in graph.edges.iter().filter(|edge| edge.waits() && together(edge.from, edge.to)) {
            expected.push((0..graph.nodes.len()).filter(|node| together(*node, edge.from)).collect());
        }
        expected.sort();
        expected.dedup();
        let found: Vec<Vec<usize>> = circles(&graph, all).into_iter().map(|circle| circle.members).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn each_dropped_edge_has_a_shortest_cycle_with_what_stays(graph in graphs()) {
        for circle in circles(&graph, all) {
            let inside = |edge: &usize| circle.members.contains(&graph.edges[*edge].from) && circle.members.contains(&graph.edges[*edge].to);
            let every: Vec<usize> = (0..graph.edges.len()).filter(inside).collect();
            prop_assert_eq!(circle.cycles().len(), circle.dropped.len());
            for (edge, cycle) in circle.dropped.iter().zip(circle.cycles()) {
                let cycle = cycle.unwrap();
                prop_assert_eq!(cycle[0], *edge);
                prop_assert!(is_cycle(&graph, &cycle), "{:?}", cycle);
                prop_assert!(cycle[1..].iter().all(|other| !circle.dropped.contains(other)));
                let mut kept = every.clone();
                kept.retain(|other| other == edge || !circle.dropped.contains(other));
                prop_assert_eq!(Some(cycle.len()), girth(&graph, &kept));
            }
            let shortest = circle.shortest();
            prop_assert!(is_cycle(&graph, &shortest), "{:?}", shortest);
            prop_assert_eq!(Some(shortest.len()), girth(&graph, &every));
        }
    }

    #[test]
    fn without_effort_it_is_still_right_and_spares_what_must_stay(graph in graphs(), effort in 0..40_usize) {
        for mut circle in circles(&graph, all) {
            let start = (0..u32::try_from(circle.members.len()).unwrap()).collect();
            let at = order::order(&circle.links, start);
            keep::drop(&mut circle.links, at, effort);
            let kept: Vec<usize> = circle.links.iter().filter(|link| !link.dropped).map(|link| link.edge).collect();
            prop_assert_eq!(girth(&graph, &kept), None);
            let required: Vec<usize> = circle.links.iter().map(|link| link.edge).filter(|edge| !graph.edges[*edge].is_optional()).collect();
            if girth(&graph, &required).is_none() {
                circle.dropped.extend(required.first());
                circle.spare_required(&graph);
                prop_assert!(circle.dropped.iter().all(|edge| graph.edges[*edge].is_optional()));
                let kept: Vec<usize> = circle.links.iter().map(|link| link.edge).filter(|edge| !circle.dropped.contains(edge)).collect();
                prop_assert_eq!(girth(&graph, &kept), None);
            }
        }
    }

    #[test]
    fn components_are_what_reaches_each_other_and_dependencies_come_first(graph in graphs(), runtime in any::<bool>()) {
        let counts = |edge: &Edge| !runtime || !edge.waits();
        let every: Vec<usize> = (0..graph.edges.len()).filter(|edge| counts(&graph.edges[*edge])).collect();
        let found = components(graph.nodes.len(), &graph.edges, counts);
        for one in 0..graph.nodes.len() {
            for (other, distance) in distances(&graph, &every, one).into_iter().enumerate() {
                let back = distances(&graph, &every, other)[one];
                prop_assert_eq!(found.of[one] == found.of[other], distance.is_some() && back.is_some());
                prop_assert!(distance.is_none() || found.of[other] <= found.of[one]);
            }
        }
        let mut order = found.order.clone();
        order.sort_unstable();
        prop_assert!(order.into_iter().eq(0..u32::try_from(graph.nodes.len()).unwrap()));
        let turn = |node: usize| found.order.iter().position(|other| *other as usize == node);
        for edge in graph.edges.iter().filter(|edge| counts(edge) && found.of[edge.from] != found.of[edge.to]) {
            prop_assert!(turn(edge.to) < turn(edge.from));
        }
    }
}

#[test]
fn of_a_ring_of_any_length_one_edge_goes_and_the_weakest() {
    // Packages in an order that has nothing to do with the ring: 7 and 20,011 have no common divisor.
    let count = 20_011;
    let package = |at: usize| (at * 7) % count;
    for weakest in KINDS {
        let kind = |at: usize| if at == 1234 { weakest } else { DependencyType::Build };
        let graph = graph(count, (0..count).map(|at| (package(at), package(at + 1), kind(at))));
        let circles = circles(&graph, all);
        assert_eq!((circles.len(), circles[0].members.len(), circles[0].dropped.len()), (1, count, 1));
        let edge = &graph.edges[circles[0].dropped[0]];
        assert_eq!(edge.dependency_type, weakest);
        assert_eq!(circles[0].shortest().len(), count);
        assert_eq!(circles[0].cycles()[0].as_ref().unwrap().len(), count);
    }
}

#[test]
fn a_shortest_cycle_is_circular_even_where_a_shorter_one_is_not() {
    // 0 and 1 need each other to run; that is closed by an edge that is dropped for what 1 needs to be built.
    let edges = [(0, 1, KINDS[1]), (1, 0, KINDS[1]), (0, 2, KINDS[0]), (2, 0, KINDS[0])];
    let way = [(1, 3, KINDS[0]), (3, 4, KINDS[0]), (4, 5, KINDS[0]), (5, 0, KINDS[0])];
    let graph = graph(6, edges.into_iter().chain(way));
    let circles = circles(&graph, all);
    let first = &graph.edges[circles[0].dropped[0]];
    assert_eq!((first.from, first.to, first.dependency_type), (0, 1, DependencyType::Runtime));
    let shortest = circles[0].shortest();
    assert!(is_cycle(&graph, &shortest) && shortest.len() == 2, "{shortest:?}");
}

#[test]
fn packages_that_need_each_other_to_run_are_no_circle_however_many_need_them() {
    let count = 1000;
    let run =
        (0..count).flat_map(|at| [1, 7, 31].map(|step| (at, (at + step) % count, DependencyType::Runtime)));
    let build = (count..2 * count).map(|at| (at, at - count, DependencyType::Build));
    assert!(circles(&graph(2 * count, run.chain(build)), all).is_empty());
}

#[test]
fn few_edges_go_where_few_lead_back() {
    // A hundred layers, each package on ten of the layer below; and nine edges that lead all the way back.
    let (layers, width) = (100, 20);
    let package = |layer: usize, at: usize| (layer * 37 % layers) * width + at % width;
    let down = (1..layers).flat_map(|layer| {
        (0..width * 10).map(move |at| {
            (package(layer, at / 10), package(layer - 1, at / 10 + at % 10), DependencyType::Build)
        })
    });
    let back = (0..9).map(|at| (package(0, at), package(layers - 1, 2 * at), DependencyType::Build));
    let graph = graph(layers * width, down.chain(back));
    let circles = circles(&graph, all);
    assert_eq!(circles.len(), 1);
    assert!(circles[0].dropped.len() <= 9, "{}", circles[0].dropped.len());
}
