//! A drawing as a mermaid flowchart, for pages that show those: Markdown on code hosts, wikis.
//!
//! Owns: mermaid's spelling, and what things look like there. Does not know: what is drawn.
//!
//! Nodes are called by their place in the build order: a name such as `end` would be a keyword there.

use std::fmt::Write as _;

use super::draw::{Drawing, Kind, LOOKS, Package};

/// The drawing in mermaid.
pub fn mermaid(drawing: &Drawing<'_>) -> String {
    let mut about = vec![format!("{}: {}", drawing.title, drawing.about)];
    about.extend(drawing.left_out.clone());
    // JSON is YAML.
    let title = serde_json::Value::from(plain(&about.join("; "))).to_string();
    let direction = if drawing.downwards { "BT" } else { "RL" };
    let mut out = format!("---\ntitle: {title}\n---\nflowchart {direction}\n");
    for (index, phase) in drawing.phases.iter().enumerate() {
        let _ = writeln!(out, "  subgraph phase{index}[\"{}\"]", escaped(phase.title));
        for package in &phase.boxes {
            let _ = writeln!(out, "    p{}{}", package.id, shape(package));
        }
        out.push_str("  end\n");
    }
    for arrow in &drawing.arrows {
        let _ = writeln!(out, "  p{} {} p{}", arrow.from, link(arrow.kind), arrow.to);
    }
    let kinds = drawing.kinds();
    if !kinds.is_empty() {
        out.push_str("  subgraph legend[\"an arrow leads to what is needed\"]\n");
        for (index, kind) in kinds.iter().enumerate() {
            let _ = writeln!(
                out,
                "    l{index}[\" \"] {}|{}| m{index}[\" \"]",
                link(Some(*kind)),
                kind.purpose()
            );
        }
        out.push_str("  end\n");
    }
    for look in &LOOKS {
        let members: Vec<String> = drawing
            .boxes()
            .filter(|one| one.build_status == Some(look.status) && !look.mark.is_empty())
            .map(|one| format!("p{}", one.id))
            .collect();
        if !members.is_empty() {
            let dashed = if look.status == "skipped" { ",stroke-dasharray:4" } else { "" };
            let _ = writeln!(
                out,
                "  classDef {} fill:{},stroke:{},color:{}{dashed}\n  class {} {}",
                look.status,
                look.fill,
                look.border,
                look.text,
                members.join(","),
                look.status
            );
        }
    }
    for package in drawing.boxes().filter(|package| package.focus) {
        let _ = writeln!(out, "  style p{} stroke-width:3px", package.id);
    }
    out
}

fn shape(package: &Package<'_>) -> String {
    let version = package.version.map_or_else(String::new, |version| format!(" {version}"));
    let label = escaped(&format!("{}{}{version}", package.marks(), package.name));
    // A double border, as far as there is one.
    if package.is_verified() { format!("[[\"{label}\"]]") } else { format!("(\"{label}\")") }
}

fn link(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::BuildAndRuntime) => "==>",
        Some(Kind::Build) | None => "-->",
        Some(Kind::Runtime) => "-.->",
        Some(Kind::Optional) => "-.-o",
    }
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Between quotation marks. A number sign begins an entity there; a backquote, Markdown.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in plain(text).chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | '\\' => _ = write!(out, "#{};", u32::from(c)),
            _ => out.push(c),
        }
    }
    out
}
