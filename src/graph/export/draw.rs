//! What a drawing of the graph shows, however it is spelt.
//!
//! Owns: boxes, arrows, which edges are left out, in which direction it grows, and the words around it. Does not know: how
//! that is spelt (see `dot` and `mermaid`).

use std::collections::BTreeMap;

use crate::config::document::{EdgeAttribute, NodeAttribute};
use crate::config::render::is_format;
use crate::graph::part::Part;
use crate::graph::{DependencyType, RequirementLevel};
use crate::plan::build::Planned;
use crate::words::count;

use super::implied::implied;
use super::{NodeStatus, in_build_order};

/// A drawing.
#[derive(Debug)]
pub struct Drawing<'a> {
    /// The definition's name.
    pub(super) title: &'a str,
    /// What it shows, in words.
    pub(super) about: String,
    /// What it does not show, in words.
    pub(super) notes: Vec<String>,
    pub(super) phases: Vec<Phase<'a>>,
    pub(super) arrows: Vec<Arrow>,
    /// Whether what is built first is at the top, or else on the left.
    pub(super) downwards: bool,
}

/// A phase with the packages of it that are shown.
#[derive(Debug)]
pub(super) struct Phase<'a> {
    pub(super) title: &'a str,
    pub(super) boxes: Vec<Package<'a>>,
}

/// A package; what is `None` is not to be shown.
#[derive(Debug)]
pub(super) struct Package<'a> {
    /// Its position in the build order.
    pub(super) id: u32,
    pub(super) name: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) build_status: Option<&'static str>,
    pub(super) verification_status: Option<&'static str>,
    pub(super) build_order: Option<u32>,
    /// The drawing is about it.
    pub(super) focus: bool,
}

/// All edges from one package to another; what is `None` is not to be shown.
#[derive(Debug)]
pub(super) struct Arrow {
    /// Positions in the build order.
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) kind: Option<Kind>,
    pub(super) requirement_level: Option<RequirementLevel>,
    pub(super) build_order: Option<u32>,
}

/// What a package is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    BuildAndRuntime,
    Build,
    Runtime,
    Optional,
}

/// How a package in this state looks. Each is told from the others by its mark alone, so that print in black and white
/// and eyes that see other colours lose nothing.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) status: &'static str,
    pub(super) mark: &'static str,
    pub(super) fill: &'static str,
    pub(super) border: &'static str,
    pub(super) text: &'static str,
}

const fn look(
    status: &'static str,
    mark: &'static str,
    fill: &'static str,
    border: &'static str,
    text: &'static str,
) -> Look {
    Look { status, mark, fill, border, text }
}

/// In the order in which a package goes through them.
pub(super) const LOOKS: [Look; 5] = [
    look("pending", "", "#ffffff", "#555555", "#000000"),
    look("running", "▸", "#f7e27a", "#000000", "#000000"),
    look("completed", "✓", "#d5ecd9", "#2f6b3c", "#000000"),
    look("failed", "✗", "#b3402a", "#000000", "#ffffff"),
    look("skipped", "–", "#dddddd", "#777777", "#000000"),
];

impl Package<'_> {
    pub(super) fn look(&self) -> &'static Look {
        let status = self.build_status.unwrap_or("pending");
        LOOKS.iter().find(|look| look.status == status).unwrap_or(&LOOKS[0])
    }

    pub(super) fn is_verified(&self) -> bool {
        self.verification_status == Some("verified")
    }

    pub(super) fn is_refuted(&self) -> bool {
        self.verification_status == Some("failed")
    }

    /// What stands before its name.
    pub(super) fn marks(&self) -> String {
        let warning = if self.is_refuted() { "⚠ " } else { "" };
        match self.look().mark {
            "" => warning.to_owned(),
            mark => format!("{mark} {warning}"),
        }
    }
}

impl Kind {
    /// The framework's words for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BuildAndRuntime => "build+runtime",
            Self::Build => DependencyType::Build.name(),
            Self::Runtime => DependencyType::Runtime.name(),
            Self::Optional => DependencyType::Optional.name(),
        }
    }

    /// What the package is needed for.
    pub(super) fn purpose(self) -> &'static str {
        match self {
            Self::BuildAndRuntime => "to build and to run",
            Self::Build => "to build",
            Self::Runtime => "to run",
            Self::Optional => "optional",
        }
    }

    fn of(types: &[DependencyType]) -> Self {
        let has = |one: DependencyType| types.contains(&one);
        match (has(DependencyType::Build), has(DependencyType::Runtime)) {
            (true, true) => Self::BuildAndRuntime,
            (true, false) => Self::Build,
            (false, true) => Self::Runtime,
            (false, false) => Self::Optional,
        }
    }
}

impl<'a> Drawing<'a> {
    /// A drawing of a part of the graph; `status` is by package id. Unless it is to have all edges, those are left out that
    /// follow from others.
    pub fn new(planned: &'a Planned, part: &Part, status: &[NodeStatus], all_edges: bool) -> Self {
        let chosen = &planned.plan.document.dependency_graph;
        let node = |attribute| chosen.nodes.contains(&attribute);
        let edge = |attribute| chosen.edges.contains(&attribute);
        let id = |node: usize| planned.package_of_node[node].0;
        let mut phases: Vec<Phase<'_>> =
            planned.plan.phases.iter().map(|p| Phase { title: &p.title, boxes: Vec::new() }).collect();
        let mut shown = 0_usize;
        for at in in_build_order(planned, part) {
            shown += 1;
            let package = planned.plan.package(planned.package_of_node[at]);
            let status = status[id(at) as usize];
            phases[package.phase.0 as usize].boxes.push(Package {
                id: id(at),
                name: &package.name,
                version: node(NodeAttribute::Version).then_some(&*package.version),
                build_status: node(NodeAttribute::BuildStatus).then_some(status.build),
                verification_status: node(NodeAttribute::VerificationStatus).then_some(status.verification),
                build_order: edge(EdgeAttribute::BuildOrder).then_some(id(at)),
                focus: part.is_around(at),
            });
        }
        phases.retain(|phase| !phase.boxes.is_empty());

        let edges: Vec<_> = part.edges(&planned.graph).collect();
        let mut is_left_out = vec![false; edges.len()];
        if !all_edges {
            is_left_out = implied(planned.graph.nodes.len(), &edges);
            for (edge, left_out) in edges.iter().zip(&mut is_left_out) {
                *left_out &= !part.is_around(edge.from) && !part.is_around(edge.to);
            }
        }
        let left_out = is_left_out.iter().filter(|left_out| **left_out).count();
        let drawn = edges.iter().zip(&is_left_out).filter(|(_, left_out)| !**left_out);
        let mut pairs: BTreeMap<_, (Vec<DependencyType>, RequirementLevel)> = BTreeMap::new();
        for (edge, _) in drawn {
            let (types, level) =
                pairs.entry((id(edge.from), id(edge.to))).or_insert((Vec::new(), RequirementLevel::Optional));
            types.push(edge.dependency_type);
            *level = edge.requirement_level.min(*level);
        }
        let arrows = pairs.into_iter().map(|((from, to), (types, level))| Arrow {
            from,
            to,
            kind: edge(EdgeAttribute::DependencyType).then(|| Kind::of(&types)),
            requirement_level: edge(EdgeAttribute::RequirementLevel).then_some(level),
            build_order: edge(EdgeAttribute::BuildOrder).then_some(to),
        });
        let arrows: Vec<Arrow> = arrows.collect();
        Self {
            title: &planned.plan.definition,
            about: about(planned.graph.nodes.len(), shown, edges.len()),
            notes: notes(left_out, planned.plan.dropped_edges.len()),
            downwards: grows_downwards(planned.plan.packages.len(), &phases, &arrows),
            phases,
            arrows,
        }
    }

    /// The kinds of arrow that occur.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.arrows.iter().filter_map(|arrow| arrow.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The looks that occur, where there is anything to be told apart.
    pub(super) fn looks(&self) -> Vec<&'static Look> {
        let mut looks: Vec<&Look> = Vec::new();
        for look in &LOOKS {
            if self.boxes().any(|one| one.build_status.is_some() && one.look().status == look.status) {
                looks.push(look);
            }
        }
        if looks.len() == 1 && looks[0].mark.is_empty() { Vec::new() } else { looks }
    }

    /// All packages, in build order within a phase.
    pub(super) fn boxes(&self) -> impl Iterator<Item = &Package<'a>> {
        self.phases.iter().flat_map(|phase| &phase.boxes)
    }
}

/// A text as it can stand in a drawing: on one line, and without characters that turn what comes after it.
pub(super) fn plain(text: &str) -> String {
    let shown = text.chars().filter(|c| !is_format(*c));
    shown.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn about(packages: usize, shown: usize, edges: usize) -> String {
    let edges = count(edges, "dependency");
    if shown == packages {
        format!("{}, {edges}", count(packages, "package"))
    } else {
        format!("{shown} of {}, {edges} between them", count(packages, "package"))
    }
}

fn notes(left_out: usize, dropped: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if left_out > 0 {
        notes.push(format!(
            "{left_out} not drawn, where a longer way along arrows leads to the same package (--all-edges draws all)"
        ));
    }
    if dropped > 0 {
        notes.push(format!("{dropped} dropped to break cycles (kiln plan lists them)"));
    }
    notes
}

/// Boxes are wider than high: a long chain of them is drawn from the top downwards, a broad one from left to right,
/// so that the longer side of the picture is as short as it can be.
fn grows_downwards(packages: usize, phases: &[Phase<'_>], arrows: &[Arrow]) -> bool {
    // Arrows begin, in build order, where everything that those before them lead to has its layer.
    let mut layer = vec![0_usize; packages];
    for arrow in arrows.iter().filter(|arrow| arrow.to < arrow.from) {
        let below = layer[arrow.to as usize] + 1;
        layer[arrow.from as usize] = layer[arrow.from as usize].max(below);
    }
    let mut members: BTreeMap<usize, usize> = BTreeMap::new();
    for one in phases.iter().flat_map(|phase| &phase.boxes) {
        *members.entry(layer[one.id as usize]).or_default() += 1;
    }
    let (long, broad) = (members.len(), members.values().max().copied().unwrap_or(0));
    (broad * BOX_WIDTH).max(long * LAYER_HEIGHT) <= (long * LAYER_WIDTH).max(broad * BOX_HEIGHT)
}

/// Of a box and a layer with what is between it and the next, in pixels or whatever.
const BOX_WIDTH: usize = 125;
const BOX_HEIGHT: usize = 32;
const LAYER_WIDTH: usize = 160;
const LAYER_HEIGHT: usize = 50;
