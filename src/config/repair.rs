//! A document without its faults, so that one mistake hides no other.
//!
//! Owns: writing a tree again without what a walk found bad, and moving what is then found back to the
//! original. Does not know: what is checked.

use std::collections::BTreeSet;

use super::diagnostic::{Diagnostic, Place, Segment, Spot};
use super::suggest::similar;
use super::tree::{NodeId, Tree, Value};
use super::yaml::{Meaning, meaning};

/// The document as YAML in flow style, without the values and elements that are bad.
pub(super) fn text(tree: &Tree, root: NodeId, bad: &BTreeSet<NodeId>) -> String {
    let mut out = String::new();
    write(tree, root, bad, &mut out);
    out
}

fn write(tree: &Tree, id: NodeId, bad: &BTreeSet<NodeId>, out: &mut String) {
    match tree.value(id) {
        Value::Scalar { text, plain } => match meaning(text, *plain) {
            // Where text is wanted it is taken as written, so it stays as written. An empty plain scalar is
            // fine as a value.
            Meaning::Null | Meaning::Bool(_) | Meaning::Integer(_) | Meaning::Float(_) => out.push_str(text),
            Meaning::Text => out.push_str(&serde_json::Value::from(&**text).to_string()),
        },
        Value::Sequence(items) => {
            out.push('[');
            for item in items.iter().filter(|item| !bad.contains(item)) {
                write(tree, *item, bad, out);
                out.push_str(", ");
            }
            out.push(']');
        }
        Value::Mapping(entries) => {
            out.push('{');
            for (key, value) in entries.iter().filter(|(_, value)| !bad.contains(value)) {
                write(tree, *key, bad, out);
                out.push_str(": ");
                write(tree, *value, bad, out);
                out.push_str(", ");
            }
            out.push('}');
        }
        // `value` follows aliases.
        Value::Alias(_) => {}
    }
}

/// A diagnostic of the repaired document, as one of the original. `None` when it is about something that is
/// absent only because it was bad.
pub(super) fn relocate(
    tree: &Tree,
    root: NodeId,
    bad: &BTreeSet<NodeId>,
    diagnostic: Diagnostic,
) -> Option<Diagnostic> {
    let Some(Spot::Node(place)) = &diagnostic.spot else { return Some(diagnostic) };
    let here = Place::document(place.file, place.document);
    let removed = |key: &str| {
        let Value::Mapping(entries) = tree.value(root) else { return false };
        // A misspelt key is bad, too.
        let meant = |k: &NodeId| tree.text(*k).is_some_and(|text| similar(text, &[key]).is_some());
        entries.iter().filter(|(k, _)| meant(k)).any(|(_, value)| {
            let below = match tree.value(*value) {
                Value::Mapping(entries) => entries.iter().any(|(_, value)| bad.contains(value)),
                Value::Scalar { .. } | Value::Sequence(_) | Value::Alias(_) => false,
            };
            below || bad.contains(value)
        })
    };
    match diagnostic.code {
        "missing-key" if removed("version") || removed("group") => return None,
        "no-task" if removed("tasks") || removed("group") => return None,
        "needs-install" | "no-place" | "no-phases" | "unmeetable-requirement" => return None,
        _ => {}
    }
    let mut node = root;
    let mut path = Vec::new();
    for segment in &place.path {
        let (segment, next) = match (segment, tree.value(node)) {
            (Segment::Index(index), Value::Sequence(items)) => {
                let mut kept = items.iter().enumerate().filter(|(_, item)| !bad.contains(item));
                let (original, item) = kept.nth(*index)?;
                (Segment::Index(original), *item)
            }
            (Segment::Key(key), Value::Mapping(entries)) => {
                let entry = entries.iter().find(|(k, _)| tree.text(*k) == Some(key));
                (segment.clone(), entry.map_or(node, |(_, value)| *value))
            }
            _ => (segment.clone(), node),
        };
        path.push(segment);
        node = next;
    }
    let place = Place { path, ..here };
    Some(diagnostic.at(place))
}
