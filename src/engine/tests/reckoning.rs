//! What must be so when a task begins, reckoned from the recipes, and not as `graph` and `plan` do it.
//!
//! Does not know: what is so (`simulation`).

use std::collections::{BTreeMap, BTreeSet};

use crate::config::document::{PackageType, Verification};
use crate::config::recipe::Recipe;
use crate::plan::{PackageId, Plan};

pub(super) type Recipes = BTreeMap<String, Recipe>;

/// What must be there before a package's first own task: its build dependencies, and whatever those need to run. And
/// what must be over by then: what it may use.
pub(super) fn needs(
    plan: &Plan,
    recipes: &Recipes,
    package: &str,
) -> (BTreeSet<PackageId>, BTreeSet<PackageId>) {
    fn with_closure(recipes: &Recipes, package: &str, out: &mut BTreeSet<String>) {
        if out.insert(package.to_owned()) {
            for runtime in &recipes[package].runtime_deps {
                with_closure(recipes, &runtime.name, out);
            }
        }
    }
    let mut there = BTreeSet::new();
    for build in &recipes[package].build_deps {
        with_closure(recipes, &build.name, &mut there);
    }
    let over = recipes[package].optional_deps.iter().map(|dep| dep.name.to_string());
    let ids = |names: BTreeSet<String>| names.iter().map(|name| plan.find(name).unwrap()).collect();
    (ids(there), ids(over.collect()))
}

/// What must be verified before a package's first script, of what is there; and whether a failed check will do.
pub(super) fn strict(plan: &Plan, recipes: &Recipes, package: &str) -> (BTreeSet<PackageId>, bool) {
    let types = &plan.document.dependency_tracking.package_types;
    let is_strict = |of_kind: &PackageType| of_kind.verification == Verification::Strict;
    let recipe = &recipes[package];
    let mut strict = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut stack: Vec<&str> = Vec::new();
    for (list, of_kind) in
        [(&recipe.build_deps, &types.build_deps), (&recipe.optional_deps, &types.optional_deps)]
    {
        for other in list {
            if is_strict(of_kind) {
                strict.insert(plan.find(&other.name).unwrap());
            }
            stack.push(&other.name);
        }
    }
    while let Some(at) = stack.pop().filter(|_| is_strict(&types.runtime_deps)) {
        for other in recipes[at].runtime_deps.iter().filter(|other| seen.insert(other.name.to_string())) {
            strict.insert(plan.find(&other.name).unwrap());
            stack.push(&other.name);
        }
    }
    (strict, recipe.accept_failed_check)
}
