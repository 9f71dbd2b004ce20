//! Sound plans have no problems; plans that were corrupted have the one that was put in.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::build::{Planned, plan};
use super::super::{NodeId, PackageId, Plan, Waiter};
use super::{check, problems};
use crate::config::diagnostic::Severity;
use crate::engine::tests::sketch;
use crate::graph::Graph;
use crate::graph::lists::Lists;

/// `app` needs `lib` to be built, and that needs `data` and `fonts` to run; `doc` needs nothing.
const WORDS: &str = "
phase one
  doc: build
  lib: build ~data ~fonts
  data: build
  fonts: build
  app: build < lib ?doc
phase two
  site: build < app doc
";

/// A plan that can be changed.
struct Case {
    plan: Plan,
    graph: Graph,
    package_of_node: Vec<PackageId>,
}

impl Case {
    fn new() -> Self {
        let Planned { plan, graph, package_of_node, .. } = plan(&sketch::definition(WORDS)).unwrap();
        Self { plan: Plan::clone(&plan), graph, package_of_node }
    }

    fn id(&self, name: &str) -> PackageId {
        self.plan.find(name).unwrap()
    }

    fn at(&self, name: &str) -> usize {
        self.id(name).0 as usize
    }

    fn node(&self, name: &str) -> NodeId {
        NodeId(self.id(name).0)
    }

    fn closure(&self) -> NodeId {
        NodeId(u32::try_from(self.plan.packages.len()).unwrap())
    }

    /// The positions of two packages, in all of the plan but for who waits for whom.
    fn swap(&mut self, one: &str, other: &str) {
        let (one, other) = (self.id(one), self.id(other));
        let swapped = |id: PackageId| match id {
            id if id == one => other,
            id if id == other => one,
            id => id,
        };
        self.plan.packages.swap(one.0 as usize, other.0 as usize);
        for id in self.plan.by_name.values_mut().chain(&mut self.package_of_node) {
            *id = swapped(*id);
        }
    }

    fn waiters(&mut self, change: impl FnOnce(&mut Vec<(usize, Waiter)>)) {
        let nodes = self.plan.waiters.len();
        let mut all: Vec<(usize, Waiter)> = (0..nodes)
            .flat_map(|node| self.plan.waiters[node].iter().map(move |waiter| (node, *waiter)))
            .collect();
        change(&mut all);
        for count in &mut self.plan.wait_count {
            *count = 0;
        }
        for (_, waiter) in &all {
            self.plan.wait_count[waiter.node.0 as usize] += 1;
        }
        self.plan.waiters = Lists::new(nodes, || all.iter().copied());
    }
}

/// A corrupted plan has this problem, and what it says of it is all that it says.
#[track_caller]
fn corrupted(change: impl FnOnce(&mut Case), expected: &[&str]) {
    let mut case = Case::new();
    assert_eq!(problems(&case.plan, &case.graph, &case.package_of_node), [""; 0]);
    change(&mut case);
    assert_eq!(problems(&case.plan, &case.graph, &case.package_of_node), expected);
}

#[test]
fn a_package_that_is_missing_or_there_twice() {
    corrupted(|case| _ = case.plan.packages.pop(), &["5 packages are planned, and the graph has 6"]);
    corrupted(
        |case| {
            let (data, fonts) = (case.at("data"), case.at("fonts"));
            case.plan.packages[fonts] = case.plan.packages[data].clone();
        },
        &["`data` is planned where `fonts` should be"],
    );
    corrupted(
        |case| {
            let data = case.id("data");
            let fonts = case.graph.find("fonts").unwrap();
            case.package_of_node[fonts] = data;
        },
        &["`data` is planned twice", "`data` is planned where `fonts` should be"],
    );
    corrupted(|case| case.package_of_node[0] = PackageId(99), &["`doc` is not planned"]);
}

#[test]
fn a_package_in_another_phase() {
    corrupted(
        |case| {
            let doc = case.at("doc");
            case.plan.packages[doc].phase.0 = 1;
        },
        &["`doc` is planned in another phase than its own"],
    );
    corrupted(
        |case| _ = case.plan.phases[0].packages.pop(),
        &["phase `one` lists other packages than those planned in it"],
    );
    corrupted(
        |case| case.plan.phases[1].packages.push(PackageId(0)),
        &["phase `two` lists other packages than those planned in it"],
    );
}

#[test]
fn a_later_phase_before_an_earlier_one() {
    let mut case = Case::new();
    case.swap("doc", "site");
    let problems = problems(&case.plan, &case.graph, &case.package_of_node);
    assert!(
        problems.contains(&"`lib` is planned after a later phase, that of `site`".to_owned()),
        "{problems:?}"
    );
    assert!(problems.contains(&"`site` is planned before `doc`, which it needs".to_owned()), "{problems:?}");
}

#[test]
fn a_package_before_what_it_needs() {
    corrupted(|case| case.swap("app", "lib"), &["`app` is planned before `lib`, which it needs"]);
    // An optional one is waited for as well.
    let both =
        ["`app` is planned before `lib`, which it needs", "`app` is planned before `doc`, which it needs"];
    corrupted(|case| case.swap("app", "doc"), &both);
}

#[test]
fn a_package_before_what_its_dependency_needs_to_run() {
    corrupted(
        |case| case.swap("app", "fonts"),
        &["`app` is planned before `fonts`, which `lib` needs to run, which it needs"],
    );
}

#[test]
fn an_order_of_nodes_that_is_none() {
    let at =
        |case: &Case, node: NodeId| case.plan.node_order.iter().position(|other| *other == node).unwrap();
    corrupted(
        |case| {
            let (fonts, closure) = (at(case, case.node("fonts")), at(case, case.closure()));
            case.plan.node_order.swap(fonts, closure);
        },
        &["closure 6 is before `fonts` in the order, and waits for it"],
    );
    corrupted(
        |case| {
            let (data, fonts) = (at(case, case.node("data")), at(case, case.node("fonts")));
            case.plan.node_order.swap(data, fonts);
        },
        &["packages are not in the order of their positions"],
    );
    corrupted(|case| _ = case.plan.node_order.pop(), &["7 nodes are waited for, 6 ordered, 7 count"]);
    let mut case = Case::new();
    case.plan.node_order[1] = case.plan.node_order[0];
    let problems = problems(&case.plan, &case.graph, &case.package_of_node);
    assert_eq!(problems[0], "`doc` is twice in the order");
}

#[test]
fn a_count_that_is_not_how_many_it_waits_for() {
    corrupted(
        |case| {
            let app = case.at("app");
            case.plan.wait_count[app] -= 1;
        },
        &["`app` waits for 2 and counts 1"],
    );
}

#[test]
fn waiting_that_no_edge_says_and_edges_that_nobody_waits_for() {
    let waiter = |node, required| Waiter { node, required };
    corrupted(
        |case| {
            let (app, closure) = (case.node("app"), case.closure());
            case.waiters(|all| all.retain(|(on, waiter)| (*on, waiter.node) != (closure.0 as usize, app)));
        },
        &["`app` should wait for closure 6"],
    );
    // It waits for the package itself, and not for what that needs to run.
    corrupted(
        |case| {
            let (app, lib, closure) = (case.node("app"), case.at("lib"), case.closure());
            case.waiters(|all| {
                let entry =
                    all.iter_mut().find(|(on, waiter)| (*on, waiter.node) == (closure.0 as usize, app));
                entry.unwrap().0 = lib;
            });
        },
        &["`app` waits, and no edge says so, for `lib`", "`app` should wait for closure 6"],
    );
    corrupted(
        |case| {
            let (doc, site) = (case.at("data"), case.node("site"));
            case.waiters(|all| all.push((doc, waiter(site, true))));
        },
        &["`site` waits, and no edge says so, for `data`"],
    );
    corrupted(
        |case| {
            let (data, closure) = (case.at("data"), case.closure());
            case.waiters(|all| all.retain(|entry| *entry != (data, waiter(closure, true))));
        },
        &["closure 6 should wait for `data`"],
    );
    corrupted(
        |case| {
            let (lib, closure) = (case.at("lib"), case.closure());
            case.waiters(|all| all.retain(|entry| *entry != (lib, waiter(closure, true))));
        },
        &["`lib` needs something to run, and no closure has it"],
    );
    corrupted(
        |case| {
            let (doc, app) = (case.at("doc"), case.node("app"));
            case.waiters(|all| {
                let entry = all.iter_mut().find(|entry| **entry == (doc, waiter(app, false)));
                entry.unwrap().1.required = true;
            });
        },
        &["`app` should wait for `doc` (if it is there)", "`app` waits, and no edge says so, for `doc`"],
    );
}

#[test]
fn a_corrupted_plan_is_an_error_unless_nobody_wants_to_know() {
    let mut case = Case::new();
    case.swap("app", "lib");
    let check = |case: &Case| check(&case.plan, &case.graph, &case.package_of_node);
    let errors = check(&case);
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].severity, errors[0].code), (Severity::Error, "build-order"));
    assert_eq!(errors[0].message, "internal: `app` is planned before `lib`, which it needs");
    Arc::make_mut(&mut case.plan.document).dependency_graph.validation.build_order_verification = false;
    assert_eq!(check(&case), []);
}

#[test]
fn of_a_plan_that_is_wrong_everywhere_a_few_problems_are_told() {
    let mut case = Case::new();
    case.waiters(Vec::clear);
    case.plan.wait_count.fill(0);
    case.plan.wait_count.iter_mut().for_each(|count| *count += 1);
    case.plan.node_order.reverse();
    assert_eq!(problems(&case.plan, &case.graph, &case.package_of_node).len(), 8);
    let words: Vec<String> = (0..40).map(|at| format!(" p{at}: build < p{}\n", at + 1)).collect();
    let words = words.concat();
    let Planned { plan, graph, mut package_of_node, .. } =
        plan(&sketch::definition(&format!("phase one\n{words} p40: build"))).unwrap();
    package_of_node.reverse();
    let errors = check(&plan, &graph, &package_of_node);
    assert_eq!(errors.len(), 11);
    assert_eq!(errors[10].message, "internal: 30 more like these");
}

proptest! {
    #[test]
    fn a_plan_with_two_packages_swapped_is_found_out_where_an_edge_says_so(seed in any::<[u8; 32]>()) {
        // Twelve packages, some of which need earlier ones.
        let mut words = String::from("phase one\n");
        for at in 0..12_usize {
            let needs = (0..at).filter(|other| (seed[at] >> (other % 8)) & 1 == 1 && seed[other + 12] % 3 > 0);
            let needs: Vec<String> = needs.map(|other| format!("{}p{other}", ["", "~", "?"][seed[other] as usize % 3])).collect();
            words.push_str(&format!(" p{at}: build < {}\n", needs.join(" ")));
        }
        let Planned { plan, graph, package_of_node, .. } = plan(&sketch::definition(&words)).unwrap();
        prop_assert_eq!(problems(&plan, &graph, &package_of_node), [""; 0]);
        for edge in graph.edges.iter().filter(|edge| edge.waits()) {
            let mut case = Case { plan: Plan::clone(&plan), graph: graph.clone(), package_of_node: package_of_node.clone() };
            let (from, to) = (graph.nodes[edge.from].name.clone(), graph.nodes[edge.to].name.clone());
            case.swap(&from, &to);
            let expected = format!("`{from}` is planned before `{to}`, which it needs");
            prop_assert!(problems(&case.plan, &case.graph, &case.package_of_node).contains(&expected), "{words}");
        }
    }
}
