//! What holds of every plan, on random definitions: order, keys, cycles that are broken.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use crate::config::diagnostic::Severity;
use crate::config::document::{CircularHandling, PackageType, Verification};
use crate::config::load::Definition;
use crate::config::recipe::Task;
use crate::engine::tests::sketch;
use crate::graph::{DependencyType, RequirementLevel, resolve};

use super::build::{Planned, plan};
use super::{DroppedEdge, NodeId, PackageId, Plan, path};

/// Packages `k0`…, in one or two phases; each with words that say whom it needs, among those before it or
/// (with `circular`) all.
fn words(circular: bool) -> impl Strategy<Value = String> {
    let edge = (0..12_usize, prop::sample::select(vec!["", "", "?", "~"]));
    prop::collection::vec(prop::collection::vec(edge, 0..4), 2..12).prop_map(move |packages| {
        let mut text = String::from("phase one\n");
        let count = packages.len();
        for (at, edges) in packages.iter().enumerate() {
            if at == count / 2 && !circular {
                text.push_str("phase two\n");
            }
            text.push_str(&format!("k{at}: build install <"));
            for (to, kind) in edges {
                let to = if circular { to % count } else { to % at.max(1) };
                if to != at {
                    text.push_str(&format!(" {kind}k{to}"));
                }
            }
            text.push('\n');
        }
        text
    })
}

fn planned(definition: &Definition) -> Planned {
    plan(definition).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The least `max_depth` with which a definition is accepted.
fn depth_needed(definition: &mut Definition) -> u32 {
    let mut accepted = |max_depth: u32| {
        definition.document.dependency_tracking.dependency_resolution.max_depth = max_depth;
        plan(definition).is_ok()
    };
    (1..100).find(|max_depth| accepted(*max_depth)).unwrap()
}

/// `FROM -> TO` of each edge that was dropped, with the definition's own handling of cycles.
fn dropped(words: &str) -> Vec<String> {
    let plan = sketch::plan(words);
    plan.dropped_edges.iter().map(|edge| format!("{} -> {}", edge.from, edge.to)).collect()
}

/// Packages that a package waits for, at any distance.
fn awaited(plan: &Plan, id: PackageId) -> BTreeSet<PackageId> {
    let mut found = BTreeSet::new();
    let mut stack = vec![NodeId(id.0)];
    while let Some(at) = stack.pop() {
        for node in &plan.node_order {
            if plan.waiters[node.0 as usize].iter().any(|waiter| waiter.node == at) {
                if let Some(package) = plan.as_package(*node)
                    && !found.insert(package)
                {
                    continue;
                }
                stack.push(*node);
            }
        }
    }
    found
}

proptest! {
    #[test]
    fn whatever_is_waited_for_comes_first_and_in_no_later_phase(words in words(false)) {
        let Planned { plan, graph, package_of_node, .. } = planned(&sketch::definition(&words));
        for edge in graph.edges.iter().filter(|edge| edge.waits()) {
            let (from, to) = (package_of_node[edge.from], package_of_node[edge.to]);
            prop_assert!(to < from, "{words}");
            prop_assert!(awaited(&plan, from).contains(&to), "{words}");
        }
        for id in plan.package_ids() {
            for other in awaited(&plan, id) {
                prop_assert!(other < id && plan.package(other).phase <= plan.package(id).phase, "{words}");
            }
        }
    }

    #[test]
    fn a_changed_recipe_changes_its_key_and_those_of_all_who_wait_for_it_and_no_other(
        words in words(false),
        which in any::<prop::sample::Index>(),
    ) {
        let mut definition = sketch::definition(&words);
        let before = planned(&definition).plan;
        let recipe = &mut definition.recipes[which.index(before.packages.len())].value;
        recipe.tasks.build = Some(Task::Script("something else".into()));
        let changed = before.find(&recipe.package).unwrap();
        let after = planned(&definition).plan;
        for id in before.package_ids() {
            let expect = id == changed || awaited(&before, id).contains(&changed);
            prop_assert_eq!(before.package(id).key != after.package(id).key, expect, "{}", words);
        }
        prop_assert_ne!(&before.digest, &after.digest);
    }

    #[test]
    fn what_does_not_go_into_a_package_does_not_change_its_key(words in words(false)) {
        let mut definition = sketch::definition(&words);
        let before = planned(&definition).plan;
        for recipe in &mut definition.recipes {
            recipe.value.weight = Some(7.0);
            recipe.value.timeout = Some(crate::config::scalar::Duration(std::time::Duration::from_secs(9)));
        }
        let after = planned(&definition).plan;
        let keys = |plan: &Plan| plan.packages.iter().map(|p| p.key.clone()).collect::<Vec<_>>();
        prop_assert_eq!(keys(&before), keys(&after));
    }

    #[test]
    fn a_cycle_is_an_error_or_is_broken_as_the_definition_says(words in words(true)) {
        let mut definition = sketch::definition(&words);
        let resolution = |definition: &mut Definition, handling| {
            definition.document.dependency_tracking.dependency_resolution.circular_handling = handling;
        };
        resolution(&mut definition, CircularHandling::Warn);
        let Planned { plan: broken, graph, package_of_node, warnings, .. } = planned(&definition);
        prop_assert_eq!(warnings.len(), broken.dropped_edges.len());
        for edge in graph.edges.iter().filter(|edge| edge.waits()) {
            prop_assert!(package_of_node[edge.to] < package_of_node[edge.from], "{words}");
        }
        resolution(&mut definition, CircularHandling::Ignore);
        let quiet = planned(&definition);
        prop_assert!(quiet.warnings.is_empty());
        prop_assert_eq!(&quiet.plan.dropped_edges.len(), &broken.dropped_edges.len());
        // Nothing optional is worth an error.
        resolution(&mut definition, CircularHandling::Error);
        let optional = |edge: &DroppedEdge| edge.dependency_type == DependencyType::Optional;
        match plan(&definition) {
            Ok(strict) => {
                prop_assert!(broken.dropped_edges.iter().all(optional), "{}", words);
                prop_assert_eq!(strict.plan.dropped_edges.len(), broken.dropped_edges.len());
                prop_assert_eq!(strict.warnings.len(), broken.dropped_edges.len());
            }
            Err(_) => prop_assert!(!broken.dropped_edges.iter().all(optional), "{}", words),
        }
    }

    #[test]
    fn an_edge_that_was_dropped_would_close_a_cycle_of_all_edges(words in words(true)) {
        let mut definition = sketch::definition(&words);
        definition.document.dependency_tracking.dependency_resolution.circular_handling = CircularHandling::Ignore;
        let all = resolve::resolve(&definition).0;
        for dropped in &planned(&definition).plan.dropped_edges {
            let mut reached = BTreeSet::from([all.find(&dropped.to).unwrap()]);
            for _ in &all.nodes {
                reached.extend(all.edges.iter().filter(|e| reached.contains(&e.from)).map(|e| e.to).collect::<Vec<_>>());
            }
            prop_assert!(reached.contains(&all.find(&dropped.from).unwrap()), "{words}");
        }
    }

    #[test]
    fn depth_does_not_depend_on_the_order_of_the_steps(words in words(false), seed in any::<u64>()) {
        let mut definition = sketch::definition(&words);
        let before = depth_needed(&mut definition);
        for phase in definition.document.build_phases.0.values_mut() {
            phase.steps.sort_by_key(|step| blake3::hash(format!("{seed}{step}").as_bytes()).to_string());
        }
        prop_assert_eq!(depth_needed(&mut definition), before, "{}", words);
    }

    #[test]
    fn the_critical_path_of_each_phase_is_its_longest_chain(words in words(false), times in prop::collection::vec(0..5_u64, 12)) {
        let plan = planned(&sketch::definition(&words)).plan;
        let time = |id: PackageId| times[id.0 as usize];
        let phase = |id: PackageId| plan.package(id).phase;
        // Of each package the longest chain that begins with it, of whom waits for whom at any distance.
        let mut longest: Vec<u64> = vec![0; plan.packages.len()];
        for id in plan.package_ids().rev() {
            let behind = plan.package_ids().filter(|other| phase(*other) == phase(id) && awaited(&plan, *other).contains(&id));
            longest[id.0 as usize] = time(id) + behind.map(|other| longest[other.0 as usize]).max().unwrap_or(0);
        }
        prop_assert_eq!(&path::ways(&plan, &times), &longest, "{}", words);
        let path = path::critical_path(&plan, &times);
        prop_assert!(path.windows(2).all(|pair| phase(pair[0]) < phase(pair[1]) || awaited(&plan, pair[1]).contains(&pair[0])));
        for own in plan.phase_ids() {
            let length: u64 = path.iter().filter(|id| phase(**id) == own).map(|id| time(*id)).sum();
            let expected = plan.phase(own).packages.iter().map(|id| longest[id.0 as usize]).max();
            prop_assert_eq!(Some(length), expected, "{}", words);
        }
    }

    #[test]
    fn planning_twice_gives_the_same(words in words(false)) {
        let plan = || planned(&sketch::definition(&words)).plan;
        let (one, two) = (plan(), plan());
        prop_assert_eq!(&one.digest, &two.digest);
        prop_assert_eq!(&one.node_order, &two.node_order);
    }
}

#[test]
fn packages_keep_the_order_of_the_definition_as_far_as_dependencies_allow() {
    let plan =
        sketch::plan("phase one\n  c: build\n  a: build < d\n  b: build\n  d: build\nphase two\n  e: build");
    let names: Vec<&str> = plan.packages.iter().map(|package| &*package.name).collect();
    assert_eq!(names, ["c", "b", "d", "a", "e"]);
}

#[test]
fn packages_that_need_each_other_to_run_are_no_problem_and_are_waited_for_together() {
    let plan = sketch::plan("phase one\n  app: build < x\n  x: build ~y\n  y: build ~x");
    let app = plan.find("app").unwrap();
    let both = [plan.find("x").unwrap(), plan.find("y").unwrap()];
    assert_eq!(awaited(&plan, app), both.into_iter().collect());
    assert!(both.iter().all(|id| awaited(&plan, *id).is_empty()));
}

/// `b`, in both lists of `a`, each treated in its own way: the levels of the edges, and whether it must be verified.
fn in_both_lists(
    build: (bool, Verification),
    optional: (bool, Verification),
) -> (Vec<RequirementLevel>, bool) {
    let mut definition = sketch::definition("phase one\n b: build\n a: build < b ?b");
    let types = &mut definition.document.dependency_tracking.package_types;
    let treated = |(required, verification)| PackageType { required, verification };
    (types.build_deps, types.optional_deps) = (treated(build), treated(optional));
    let Planned { plan, graph, .. } = planned(&definition);
    let a = plan.find("a").unwrap();
    (graph.edges.iter().map(|edge| edge.requirement_level).collect(), !plan.strict(a).is_empty())
}

#[test]
fn of_two_lists_each_has_its_effect() {
    let (required, optional) = (RequirementLevel::Required, RequirementLevel::Optional);
    let (strict, normal, relaxed) = (Verification::Strict, Verification::Normal, Verification::Relaxed);
    assert_eq!(in_both_lists((true, strict), (false, relaxed)), (vec![required], true));
    assert_eq!(in_both_lists((false, relaxed), (true, strict)), (vec![optional, required], true));
    assert_eq!(in_both_lists((true, relaxed), (false, strict)), (vec![required, optional], true));
    assert_eq!(in_both_lists((false, relaxed), (true, normal)), (vec![optional, required], false));
    assert_eq!(in_both_lists((true, normal), (true, relaxed)), (vec![required], false));
}

#[test]
fn a_chain_of_runtime_dependencies_is_as_deep_whatever_the_order_of_the_steps() {
    let packages = ["a: build < ~b", "b: build < ~c", "c: build < ~d", "d: build"];
    let needed = |order: [usize; 4]| {
        let lines = order.map(|at| packages[at]).join("\n");
        depth_needed(&mut sketch::definition(&format!("phase one\n{lines}")))
    };
    assert_eq!([needed([0, 1, 2, 3]), needed([3, 2, 1, 0]), needed([2, 0, 3, 1])], [4; 3]);
}

#[test]
fn depth_counts_required_packages_of_one_phase_each_once() {
    let needed = |words: &str| depth_needed(&mut sketch::definition(words));
    // One that needs two others is no deeper than with one of them.
    assert_eq!(needed("phase one\n a: build < b c\n b: build\n c: build"), 2);
    assert_eq!(needed("phase one\n a: build < ?b\n b: build < ?c\n c: build"), 1);
    assert_eq!(needed("phase one\n c: build\n b: build < c\nphase two\n a: build < b"), 2);
    // Packages that need each other to run are one link, and each of them counts.
    let group = "b: build ~c\n c: build ~d\n d: build ~b ~e\n e: build";
    assert_eq!(needed(&format!("phase one\n {group}")), 4);
    assert_eq!(needed(&format!("phase one\n a: build < c\n {group}")), 5);
}

#[test]
fn a_chain_through_packages_that_need_each_other_is_shown_as_links() {
    let mut definition =
        sketch::definition("phase one\n a: build < c\n b: build ~c\n c: build ~b ~d\n d: build");
    definition.document.dependency_tracking.dependency_resolution.max_depth = 3;
    let problems = plan(&definition).unwrap_err();
    let message = "a chain of 4 packages in phase `one` exceeds max_depth 3: a -> b + c -> d";
    assert_eq!(problems[0].message, message);
}

#[test]
fn a_cycle_that_an_optional_edge_closes_is_no_error() {
    assert_eq!(dropped("phase one\n a: build < ?b\n b: build < ?c\n c: build < ?a"), ["c -> a"]);
    // With a runtime edge, with a build edge, with both.
    assert_eq!(dropped("phase one\n a: build < ~b\n b: build < ?a"), ["b -> a"]);
    assert_eq!(dropped("phase one\n a: build < b\n b: build < ?a"), ["b -> a"]);
    assert_eq!(dropped("phase one\n a: build < b\n b: build < ~c\n c: build < ?a"), ["c -> a"]);
    // Inside of what needs each other to run.
    assert_eq!(dropped("phase one\n a: build < ~b ?c\n b: build < ~c\n c: build < ~a"), ["a -> c"]);
}

#[test]
fn of_optional_edges_few_are_dropped() {
    let lines =
        |range: Range<usize>, line: &dyn Fn(usize) -> String| range.map(line).collect::<Vec<_>>().concat();
    // A package in the middle of a hundred cycles, first and last in the definition.
    let spokes = lines(0..100, &|at| format!(" s{at}: build < ?hub\n"));
    let needs = lines(0..100, &|at| format!(" ?s{at}"));
    assert_eq!(dropped(&format!("phase one\n hub: build < {needs}\n{spokes}")).len(), 100);
    assert_eq!(dropped(&format!("phase one\n{spokes} hub: build < {needs}\n")).len(), 100);
    // A ring with chords, either way: few edges go back.
    let ring = lines(0..50, &|at| format!(" r{at}: build < ?r{} ?r{}\n", at + 1, at + 2));
    let ring = dropped(&format!("phase one\n{ring} r50: build < ?r51\n r51: build < ?r0"));
    assert!(ring.len() <= 2, "{ring:?}");
    let ring = lines(2..52, &|at| format!(" r{at}: build < ?r{} ?r{}\n", at - 1, at - 2));
    let ring = dropped(&format!("phase one\n r0: build < ?r51\n r1: build < ?r0\n{ring}"));
    assert!(ring.len() <= 2, "{ring:?}");
}

#[test]
fn a_cycle_without_an_optional_edge_is_an_error_even_beside_one() {
    let problems = plan(&sketch::definition("phase one\n a: build < b ?c\n b: build < ~a\n c: build < ?a"));
    let problems = problems.unwrap_err();
    let errors: Vec<_> = problems.iter().filter(|p| p.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].message, "circular dependency: a -> b -> a");
}

#[test]
fn without_cycle_detection_a_cycle_is_broken_and_nobody_is_told() {
    for handling in [CircularHandling::Error, CircularHandling::Warn, CircularHandling::Ignore] {
        let mut definition = sketch::definition("phase one\n a: build < b\n b: build < a\n c: build < ?a\n");
        definition.document.dependency_tracking.dependency_resolution.circular_handling = handling;
        definition.document.dependency_graph.validation.cycle_detection = false;
        let Planned { plan, warnings, .. } = planned(&definition);
        assert_eq!(warnings, []);
        let DroppedEdge { from, to, reason, .. } = &plan.dropped_edges[0];
        assert_eq!(
            (&**from, &**to, &**reason, plan.dropped_edges.len()),
            ("b", "a", "closes the cycle b -> a -> b", 1)
        );
    }
}

#[test]
fn the_same_package_of_two_lists_or_of_a_group_and_by_name_is_one_edge_for_building_and_one_for_running() {
    let mut definition =
        sketch::definition("phase one\n x: build\n y: build\n a: build < x all x ~all ~y ?all ?y");
    let mut group = definition.recipes[0].clone();
    group.value = serde_yaml::from_str("{package: all, group: [y, x, y]}").unwrap();
    definition.recipes.push(group);
    let graph = resolve::resolve(&definition).0;
    let edges = graph.edges.iter().map(|e| (&*graph.nodes[e.to].name, e.dependency_type, e.index));
    let expected = [
        ("x", DependencyType::Build, 0),
        ("y", DependencyType::Build, 1),
        ("y", DependencyType::Runtime, 0),
        ("x", DependencyType::Runtime, 0),
    ];
    assert_eq!(edges.collect::<Vec<_>>(), expected);
}
