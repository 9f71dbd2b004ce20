//! What a name stands for: a package, or the members of a group.
//!
//! Owns: groups within groups. Does not know: who names them, which packages are part of the build.

use std::collections::{BTreeSet, HashMap};

use crate::config::load::Definition;

use super::components::{Components, components};
use super::{DependencyType, Edge, RequirementLevel};

/// Index of each recipe by its name. Only looked up in, never gone through in its own order.
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
            continue; // named twice, or a group within itself: `resolve` reports that
        }
        match &definition.recipes[at].value.group {
            None => out.push(at),
            Some(members) => stack.extend(members.iter().rev().filter_map(|m| recipes.get(&**m))),
        }
    }
    Some(out)
}

/// Which groups contain each other, as components of recipes: a group that has a member of its own component contains
/// itself.
pub(super) fn components_of_groups(definition: &Definition, recipes: &HashMap<&str, usize>) -> Components {
    let mut edges = Vec::new();
    for (from, located) in definition.recipes.iter().enumerate() {
        for (member, index) in located.value.group.iter().flatten().zip(0..) {
            edges.extend(recipes.get(&**member).map(|to| Edge {
                from,
                to: *to,
                dependency_type: DependencyType::Build,
                requirement_level: RequirementLevel::Required,
                index,
            }));
        }
    }
    components(definition.recipes.len(), &edges, |_| true)
}
