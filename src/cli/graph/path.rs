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
    /// Say why A needs B: a shortest chain of dependencies, and where each is written; of groups, from any member to any. If
    /// that was dropped to break a cycle, say so. Exit code 2 if A does not need B
    #[arg(long = "path", num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["format", "package", "depth", "all_edges"])]
    names: Option<Vec<String>>,
}

/// What `--json` shows. Where edges that were dropped are left out, `chain` is empty if A does not need B; then
/// `dropped_chain` is one with such edges, if that is why, and `reverse_chain` says whether B needs A.
#[derive(Serialize)]
struct Answer<'a> {
    from: &'a str,
    to: &'a str,
    chain: Vec<Link<'a>>,
    dropped_chain: Vec<Link<'a>>,
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
    /// Why it was dropped, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<&'a str>,
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
    let (mut dropped_chain, mut reverse_chain): (Vec<Link<'_>>, Vec<Link<'_>>) = (Vec::new(), Vec::new());
    if chain.is_empty() {
        if !planned.dropped.is_empty() {
            dropped_chain = links(part::chain(&planned.written(), &ours, &theirs));
        }
        reverse_chain = links(part::chain(&planned.graph, &theirs, &ours));
    }
    let needed = !chain.is_empty() || !dropped_chain.is_empty();
    let answer = Answer { from, to, chain, dropped_chain, reverse_chain };
    let exit = if needed { Exit::Completed } else { Exit::Usage };
    if json {
        output::answer_json(&answer)?;
    } else {
        output::answer(&text(&answer));
    }
    Ok(exit)
}

fn link<'a>(definition: &'a Definition, planned: &'a Planned, edge: &Edge) -> Link<'a> {
    let name = |node: usize| &*planned.graph.nodes[node].name;
    let mut all = planned.dropped.iter().zip(&planned.plan.dropped_edges);
    let key = |edge: &Edge| (edge.from, edge.to, edge.dependency_type, edge.index);
    let dropped = all.find(|(dropped, _)| key(dropped) == key(edge)).map(|(_, dropped)| &*dropped.reason);
    Link {
        from: name(edge.from),
        to: name(edge.to),
        dependency_type: edge.dependency_type,
        requirement_level: edge.requirement_level,
        written: Written::of(definition, &planned.graph, edge),
        dropped,
    }
}

fn text(answer: &Answer<'_>) -> String {
    let Answer { from, to, chain, dropped_chain, reverse_chain } = answer;
    if !chain.is_empty() {
        return format!("{}:\n\n{}", sentence(from, to, chain), table(chain));
    }
    if !dropped_chain.is_empty() {
        let mut text = format!("{}, but does not wait for it:\n", sentence(from, to, dropped_chain));
        for link in dropped_chain {
            if let Link { from, to, dropped: Some(reason), .. } = link {
                text.push_str(&format!("that `{from}` needs `{to}` was dropped, because it {reason}\n"));
            }
        }
        return format!("{text}\n{}", table(dropped_chain));
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
