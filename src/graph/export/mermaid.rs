//! A drawing as a mermaid flowchart, for pages that show those: Markdown on code hosts, wikis.
//!
//! Owns: mermaid's spelling, and what things look like there. Does not know: what is drawn.
//!
//! Nodes are called by their place in the build order: a name such as `end` would be a keyword there.

use std::fmt::Write as _;

use super::draw::{Drawing, Kind, Package, plain};

/// What mermaid draws unless its configuration says otherwise; a drawing cannot say so itself.
const EDGES_MOST: usize = 500;
const CHARACTERS_MOST: usize = 50_000;

/// The drawing in mermaid.
pub fn mermaid(drawing: &Drawing<'_>) -> String {
    let mut about = vec![format!("{}: {}", drawing.title, drawing.about)];
    about.extend(drawing.notes.iter().cloned());
    // JSON is YAML.
    let title = serde_json::Value::from(plain(&about.join("; "))).to_string();
    let direction = if drawing.downwards { "BT" } else { "RL" };
    let mut out = format!("---\ntitle: {title}\n---\nflowchart {direction}\n");
    for (index, phase) in drawing.phases.iter().enumerate() {
        let _ = writeln!(out, "  subgraph phase{index}[\"{}\"]", escaped(phase.title));
        let _ = writeln!(out, "    direction {direction}");
        for package in &phase.boxes {
            let label = format!("{}{}", package.marks(), package.name);
            let label = package.version.map_or_else(|| label.clone(), |version| format!("{label} {version}"));
            let _ = writeln!(out, "    p{}{}", package.id, shape(package, &label));
        }
        out.push_str("  end\n");
    }
    for arrow in &drawing.arrows {
        let _ = writeln!(out, "  p{} {} p{}", arrow.from, link(arrow.kind), arrow.to);
    }
    legend(drawing, &mut out);
    for look in drawing.looks().into_iter().filter(|look| !look.mark.is_empty()) {
        let members = drawing.boxes().filter(|one| one.build_status == Some(look.status));
        let members: Vec<String> = members.map(|one| format!("p{}", one.id)).collect();
        let dashed = if look.status == "skipped" { ",stroke-dasharray:4" } else { "" };
        let _ = writeln!(
            out,
            "  classDef {} fill:{},stroke:{},color:{}{dashed}\n  class {},s_{} {}",
            look.status,
            look.fill,
            look.border,
            look.text,
            members.join(","),
            look.status,
            look.status
        );
    }
    for package in drawing.boxes().filter(|package| package.focus) {
        let _ = writeln!(out, "  style p{} stroke-width:3px", package.id);
    }
    out
}

/// What is to be said to those who are to draw this.
pub fn warning(drawing: &Drawing<'_>, text: &str) -> Option<String> {
    let (edges, characters) = (drawing.arrows.len(), text.chars().count());
    (edges > EDGES_MOST || characters > CHARACTERS_MOST).then(|| {
        format!(
            "this has {edges} edges and {characters} characters; mermaid draws {EDGES_MOST} and {CHARACTERS_MOST} unless its maxEdges and maxTextSize are raised: --focus shows less, dot draws more"
        )
    })
}

fn legend(drawing: &Drawing<'_>, out: &mut String) {
    let (kinds, looks) = (drawing.kinds(), drawing.looks());
    if kinds.is_empty() && looks.is_empty() {
        return;
    }
    out.push_str("  subgraph legend[\"an arrow leads to what is needed\"]\n    direction LR\n");
    for (index, kind) in kinds.into_iter().enumerate() {
        let (link, purpose) = (link(Some(kind)), kind.purpose());
        let _ = writeln!(out, "    l{index}[\" \"] {link}|{purpose}| m{index}[\" \"]");
    }
    for look in looks {
        let _ = writeln!(out, "    s_{}(\"{} {}\")", look.status, look.mark, look.status);
    }
    if drawing.boxes().any(Package::is_verified) {
        out.push_str("    v_verified[[\"verified\"]]\n");
    }
    if drawing.boxes().any(Package::is_refuted) {
        out.push_str("    v_failed(\"⚠ verification failed\")\n");
    }
    out.push_str("  end\n");
}

fn shape(package: &Package<'_>, label: &str) -> String {
    let label = escaped(label);
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
