//! Finds the text that a place is about.
//!
//! Owns: the way from a path to a span. Does not know: lines and columns (see `files`).

use std::ops::Range;

use super::diagnostic::{Place, Segment};
use super::tree::{NodeId, Tree, Value};

/// The bytes of a place. Where the path leads nowhere (the key was left out),
/// those of the last node that it does lead to.
pub fn find(tree: &Tree, place: &Place) -> Option<Range<usize>> {
    follow(tree, place).map(|(span, _)| span)
}

/// Whether every segment of the path is there.
pub fn exists(tree: &Tree, place: &Place) -> bool {
    follow(tree, place).is_some_and(|(_, whole)| whole)
}

/// The bytes of the last node on the path, and whether that is the path's end.
fn follow(tree: &Tree, place: &Place) -> Option<(Range<usize>, bool)> {
    let mut here = *tree.roots.get(place.document as usize)?;
    let mut span = shown(tree, here);
    for segment in &place.path {
        let next = match segment {
            Segment::Key(key) => entry(tree, here, key).map(|(_, value)| value),
            Segment::KeyItself(key) => entry(tree, here, key).map(|(key, _)| key),
            Segment::Index(index) => match tree.value(here) {
                Value::Sequence(items) => items.get(*index).copied(),
                Value::Scalar { .. } | Value::Mapping(_) | Value::Alias(_) => None,
            },
        };
        let Some(next) = next else { return Some((span, false)) };
        here = next;
        span = shown(tree, here);
    }
    Some((span, true))
}

/// What is underlined for a node: a mapping in block style by its first key, anything else in full.
pub(super) fn shown(tree: &Tree, id: NodeId) -> Range<usize> {
    let node = tree.node(id);
    match &node.value {
        Value::Mapping(entries) => match entries.first() {
            // A mapping in braces begins before its first key.
            Some((key, _)) if tree.node(*key).span.start == node.span.start => tree.node(*key).span.clone(),
            Some(_) | None => node.span.clone(),
        },
        Value::Scalar { .. } | Value::Sequence(_) | Value::Alias(_) => node.span.clone(),
    }
}

fn entry(tree: &Tree, mapping: NodeId, key: &str) -> Option<(NodeId, NodeId)> {
    let Value::Mapping(entries) = tree.value(mapping) else { return None };
    entries.iter().copied().find(|(k, _)| tree.text(*k) == Some(key))
}
