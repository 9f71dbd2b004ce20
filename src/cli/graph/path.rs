//! `kiln graph --path A B`: why A needs B.

use clap::Args;
use serde::Serialize;

use super::name;
use super::written::Written;
use crate::cli::{Exit, output};
use crate::config::load::Definition;
use crate::graph::{DependencyType, Edge, RequirementLevel, part};
use crate::plan::build::Planned;

#[derive(Debug, Args)]
pub(super) struct Path {
    /// Say why A needs B: a shortest chain of dependencies, and where each is written; of groups, from any member to any. Exit
    /// code 2 if A does not need B
    #[arg(long = "path", num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["format", "package", "all_edges"])]
    names: Option<Vec<String>>,
}

/// What `--json` shows. `chain` is empty where A does not need B; then `reverse_chain` says whether B needs A.
#[derive(Serialize)]
struct Answer<'a> {
    from: &'a str,
    to: &'a str,
    chain: Vec<Link<'a>>,
    reverse_chain: Vec<Link<'a>>,
}

/// A dependency, and where it is written.
#[derive(Serialize)]
struct Link<'a> {
    from: &'a str,
    to: &'a str,
    dependency_type: DependencyType,
    requirement_level: RequirementLevel,
    #[serde(flatten)]
    written: Written<'a>,
}

impl Path {
    /// The answer, if that was asked for.
    pub(super) fn answer(
        &self,
        definition: &Definition,
        planned: &Planned,
        json: bool,
    ) -> Option<anyhow::Result<Exit>> {
        let [from, to] = self.names.as_deref()? else { return None };
        Some(answer(definition, planned, from, to, json))
    }
}

fn answer(
    definition: &Definition,
    planned: &Planned,
    from: &str,
    to: &str,
    json: bool,
) -> anyhow::Result<Exit> {
    let nodes = |name: &str| name::nodes(definition, planned, name);
    let (ours, theirs) = match (nodes(from), nodes(to)) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(exit), _) | (_, Err(exit)) => return Ok(exit),
    };
    let links = |edges: Vec<&Edge>| edges.iter().map(|edge| link(definition, planned, edge)).collect();
    let chain: Vec<Link<'_>> = links(part::chain(&planned.graph, &ours, &theirs));
    let reverse_chain =
        if chain.is_empty() { links(part::chain(&planned.graph, &theirs, &ours)) } else { Vec::new() };
    let answer = Answer { from, to, chain, reverse_chain };
    let exit = if answer.chain.is_empty() { Exit::Usage } else { Exit::Completed };
    if json {
        output::answer_json(&answer)?;
    } else {
        output::answer(&text(&answer));
    }
    Ok(exit)
}

fn link<'a>(definition: &'a Definition, planned: &'a Planned, edge: &Edge) -> Link<'a> {
    let name = |node: usize| &*planned.graph.nodes[node].name;
    Link {
        from: name(edge.from),
        to: name(edge.to),
        dependency_type: edge.dependency_type,
        requirement_level: edge.requirement_level,
        written: Written::of(definition, &planned.graph, edge),
    }
}

fn text(answer: &Answer<'_>) -> String {
    let Answer { from, to, chain, reverse_chain } = answer;
    if !chain.is_empty() {
        return format!("{}:\n\n{}", sentence(from, to, chain), table(chain));
    }
    let mut text = format!("`{from}` does not need `{to}`");
    if reverse_chain.is_empty() {
        text.push('\n');
    } else {
        text.push_str(&format!(", but {}:\n\n{}", sentence(to, from, reverse_chain), table(reverse_chain)));
    }
    text
}

fn sentence(from: &str, to: &str, chain: &[Link<'_>]) -> String {
    let required = chain.iter().all(|link| link.requirement_level == RequirementLevel::Required);
    if required { format!("`{from}` needs `{to}`") } else { format!("`{from}` uses `{to}` if it is there") }
}

fn table(chain: &[Link<'_>]) -> String {
    let rows = chain.iter().map(|link| {
        [
            link.from.to_owned(),
            link.to.to_owned(),
            link.dependency_type.name().to_owned(),
            link.requirement_level.name().to_owned(),
            link.written.to_string(),
        ]
    });
    output::table(["package", "needs", "type", "level", "written in"], rows)
}
