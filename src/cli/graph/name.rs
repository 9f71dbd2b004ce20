//! The names that operands of `kiln graph` may be.

use crate::cli::target::no_package;
use crate::cli::{Exit, output};
use crate::config::load::Definition;
use crate::graph::groups::{members, recipes};
use crate::plan::build::Planned;

/// The nodes that a name stands for: a package, or the members of a group that are part of the build. At least one, or what
/// is printed instead.
pub(super) fn nodes(definition: &Definition, planned: &Planned, name: &str) -> Result<Vec<usize>, Exit> {
    let recipes = recipes(definition);
    let Some(found) = members(definition, &recipes, name) else {
        let names: Vec<&str> = definition.recipes.iter().map(|recipe| &*recipe.value.package).collect();
        return Err(no_package(name, &names, &planned.plan.definition));
    };
    let mut node_of = vec![None; definition.recipes.len()];
    for (node, of) in planned.graph.nodes.iter().enumerate() {
        node_of[of.recipe] = Some(node);
    }
    let nodes: Vec<usize> = found.into_iter().filter_map(|recipe| node_of[recipe]).collect();
    if nodes.is_empty() {
        output::say(&format!(
            "kiln: `{name}` is no part of the build: no step names it, and nothing requires it"
        ));
        return Err(Exit::Usage);
    }
    Ok(nodes)
}
