//! A drawing for graphviz.
//!
//! Owns: dot's spelling, and what things look like there. Does not know: what is drawn.
//!
//! What the framework calls attributes are attributes of nodes and edges, by those names, for programs that read dot; the
//! looks follow from them. One cluster a phase. A legend stands above, of what occurs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::graph::RequirementLevel;

use super::draw::{Drawing, Kind, Package, plain};

const FONT: &str = "Helvetica,Arial,sans-serif";

/// The drawing in dot.
pub fn dot(drawing: &Drawing<'_>) -> String {
    let mut out = String::from("digraph kiln {\n");
    let rankdir = if drawing.downwards { "BT" } else { "RL" };
    let _ = writeln!(
        out,
        "  graph [rankdir={rankdir}, ranksep=0.45, nodesep=0.15, fontname=\"{FONT}\", fontsize=11, labelloc=t, labeljust=l,\n    label=<{}>];",
        legend(drawing)
    );
    let _ = writeln!(
        out,
        "  node [shape=box, style=\"rounded,filled\", fontname=\"{FONT}\", fontsize=11, margin=\"0.10,0.04\", height=0.3];"
    );
    out.push_str("  edge [color=\"#555555\", arrowsize=0.6];\n");
    // Above, on the left: graphviz turns places of labels with the direction.
    let corner = if drawing.downwards { "labelloc=b; labeljust=l" } else { "labelloc=t; labeljust=r" };
    for (index, phase) in drawing.phases.iter().enumerate() {
        let _ = writeln!(
            out,
            "  subgraph cluster_{index} {{\n    label=<{}>; {corner}; fontsize=14; style=\"rounded,filled\"; color=\"#bbbbbb\"; fillcolor=\"#f4f4f4\";",
            escaped(phase.title)
        );
        for package in &phase.boxes {
            let _ = writeln!(out, "    {} [{}];", quoted(package.name), node(package));
        }
        out.push_str("  }\n");
    }
    let names: BTreeMap<u32, &str> = drawing.boxes().map(|one| (one.id, one.name)).collect();
    for arrow in &drawing.arrows {
        let (from, to) = (quoted(names[&arrow.from]), quoted(names[&arrow.to]));
        let mut attributes = Vec::new();
        if let Some(kind) = arrow.kind {
            attributes.push(format!("dependency_type={}", quoted(kind.name())));
        }
        if let Some(level) = arrow.requirement_level {
            attributes.push(format!("requirement_level={}", level.name()));
        }
        if let Some(order) = arrow.build_order {
            attributes.push(format!("build_order={order}"));
        }
        attributes.extend(arrow.kind.and_then(style).map(str::to_owned));
        if arrow.requirement_level == Some(RequirementLevel::Optional) {
            attributes.push("arrowhead=empty".to_owned());
        }
        let _ = writeln!(out, "  {from} -> {to} [{}];", attributes.join(", "));
    }
    out.push_str("}\n");
    out
}

fn node(package: &Package<'_>) -> String {
    let look = package.look();
    let quiet = if look.text == "#000000" { "#666666" } else { look.text };
    let small = |text: &str| format!("<font point-size=\"9\" color=\"{quiet}\">{}</font>", escaped(text));
    let mut label = String::new();
    if let Some(order) = package.build_order {
        label.push_str(&small(&format!("{order} ")));
    }
    let name = escaped(package.name);
    let name = if package.focus { format!("<b>{name}</b>") } else { name };
    let _ = write!(label, "{}{name}", package.marks());
    if let Some(version) = package.version {
        label.push_str(&small(&format!(" {version}")));
    }
    let mut attributes = vec![format!("label=<{label}>")];
    let mut add = |key: &str, value: Option<&str>| {
        attributes.extend(value.map(|value| format!("{key}={}", quoted(value))));
    };
    add("version", package.version);
    add("build_status", package.build_status);
    add("verification_status", package.verification_status);
    add("fillcolor", Some(look.fill));
    add("color", Some(look.border));
    add("fontcolor", Some(look.text).filter(|text| *text != "#000000"));
    add("style", Some("rounded,filled,dashed").filter(|_| look.status == "skipped"));
    add("peripheries", Some("2").filter(|_| package.is_verified()));
    add("penwidth", Some("2.5").filter(|_| package.focus));
    attributes.join(", ")
}

fn style(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::BuildAndRuntime => Some("penwidth=2"),
        Kind::Build => None,
        Kind::Runtime => Some("style=dashed"),
        Kind::Optional => Some("style=dotted"),
    }
}

fn legend(drawing: &Drawing<'_>) -> String {
    let line = |text: &str| format!("<tr><td align=\"left\">{text}</td></tr>");
    let mut rows = line(&format!(
        "<font point-size=\"16\">{}</font>&#160; {}",
        escaped(drawing.title),
        escaped(&drawing.about)
    ));
    for note in &drawing.notes {
        rows.push_str(&line(&escaped(note)));
    }
    let mut arrows = "An arrow leads to what is needed".to_owned();
    for (index, kind) in drawing.kinds().into_iter().enumerate() {
        let sample = match kind {
            Kind::BuildAndRuntime => "━━",
            Kind::Build => "──",
            Kind::Runtime => "╌╌",
            Kind::Optional => "┈┈",
        };
        arrows.push_str(if index == 0 { ":&#160; " } else { "&#160;&#160; " });
        let _ = write!(arrows, "{sample} {}", kind.purpose());
    }
    if drawing.boxes().any(|package| package.build_order.is_some()) {
        arrows.push_str(";&#160; a number is a place in the build order");
    }
    rows.push_str(&line(&arrows));
    let mut states = String::new();
    for look in drawing.looks() {
        let _ = write!(
            states,
            "<td border=\"1\" style=\"rounded\" bgcolor=\"{}\" color=\"{}\"><font color=\"{}\">&#160;{} {}&#160;</font></td>",
            look.fill, look.border, look.text, look.mark, look.status
        );
    }
    let mut verification = Vec::new();
    if drawing.boxes().any(Package::is_verified) {
        verification.push("double border: verified");
    }
    if drawing.boxes().any(Package::is_refuted) {
        verification.push("⚠ verification failed");
    }
    if !verification.is_empty() {
        let _ = write!(states, "<td>{}</td>", verification.join(", "));
    }
    if !states.is_empty() {
        rows.push_str(&line(&format!(
            "<table border=\"0\" cellborder=\"0\" cellspacing=\"6\" cellpadding=\"2\"><tr>{states}</tr></table>"
        )));
    }
    format!("<table border=\"0\" cellborder=\"0\" cellspacing=\"0\" cellpadding=\"2\">{rows}</table>")
}

/// As an id or a value. A backslash would begin an escape.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// In a label of the form of HTML.
fn escaped(text: &str) -> String {
    plain(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
