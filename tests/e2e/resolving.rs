//! `dependency_resolution.method`: how many packages at once, and in which order.

use super::space::{RUN, Space, one_phase};

/// Three packages, of which each says that it is there and waits to be told to go on; the ledger's starts once `first` are
/// there.
fn started(method: &str, more: &str, first: usize) -> Vec<String> {
    let space = Space::new();
    let (mut here, go) = (space.bell("here"), space.gate("go"));
    let recipe = |name: &str| {
        format!(
            "package: {name}\nversion: 1\n{more}tasks: {{build: 'echo {name} > {}; read x < {}'}}\n",
            here.path(),
            go.path()
        )
    };
    let recipes = ["c", "a", "b"].map(recipe).join("---\n");
    space.recipes(&recipes);
    space.document(&one_phase(&recipes, "").replace("method: parallel", &format!("method: {method}")));
    let kiln = space.start(&RUN);
    assert!(here.wait_for_or(first, kiln.end()), "{}", kiln.said());
    let names = space.ledger().all("task_started", "package");
    kiln.kill();
    names
}

#[test]
fn topological_builds_one_package_at_a_time_in_the_order_of_the_definition() {
    assert_eq!(started("topological", "", 1), ["c"]);
}

#[test]
fn parallel_fills_the_slots() {
    assert_eq!(started("parallel", "", 2), ["c", "a"]);
}

#[test]
fn dynamic_fills_the_slots_as_far_as_there_is_memory() {
    assert_eq!(started("dynamic", "", 2), ["c", "a"], "of these nothing is known");
    assert_eq!(started("dynamic", "memory: 1M\n", 2), ["c", "a"]);
    // No machine has as much, and one goes on all the same.
    assert_eq!(started("dynamic", "memory: 1000T\n", 1), ["c"]);
}
