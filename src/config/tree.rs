//! A YAML file as a tree of nodes that know where they stand.
//!
//! Owns: parsing with positions, bounds on depth and size, what aliases stand for. Used only once something
//! is wrong (and where a file has aliases, to bound them first). Does not know: what any key means.

use std::collections::BTreeMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

/// Most nodes on the way from the root to a node; `serde_yaml`'s own limit.
const DEPTH_MAX: usize = 128;

/// Most nodes after every alias has been replaced with what it stands for, per node that is written.
const GROWTH_MAX: u64 = 10;

/// Below this, no alias is too much.
const NODES_FREE: u64 = 100_000;

/// Index into a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(u32);

/// A file's documents, as far as the syntax is right.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    /// The root of each document, in order.
    pub roots: Vec<NodeId>,
    /// Where and why reading ended early.
    pub error: Option<TreeError>,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Characters from the file's start (without its byte order mark).
    pub span: Range<usize>,
    /// What it holds.
    pub value: Value,
}

/// What a node holds.
#[derive(Debug)]
pub enum Value {
    /// A scalar.
    Scalar {
        /// Without quotes, escapes, indentation.
        text: Box<str>,
        /// Neither quoted nor a block.
        plain: bool,
    },
    /// A sequence.
    Sequence(Vec<NodeId>),
    /// A mapping, in the order of the file; keys may repeat.
    Mapping(Vec<(NodeId, NodeId)>),
    /// Stands for another node, of the same document.
    Alias(NodeId),
}

/// Why a file could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeError {
    /// Characters from the file's start.
    pub at: Range<usize>,
    /// A diagnostic's code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

impl Tree {
    /// Parses; never fails: `error` says where the tree ends early.
    pub fn parse(text: &str) -> Self {
        Builder::default().build(text)
    }

    /// A tree of one plain scalar, for values that come from no file.
    pub fn scalar(text: &str) -> Self {
        let value = Value::Scalar { text: text.into(), plain: true };
        Self { nodes: vec![Node { span: 0..0, value }], roots: vec![NodeId(0)], error: None }
    }

    /// The node; an alias where one stands.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// What the node holds; an alias is followed (it never leads to another).
    pub fn value(&self, id: NodeId) -> &Value {
        match &self.node(id).value {
            Value::Alias(target) => &self.node(*target).value,
            value @ (Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_)) => value,
        }
    }

    /// The text of a scalar.
    pub fn text(&self, id: NodeId) -> Option<&str> {
        match self.value(id) {
            Value::Scalar { text, .. } => Some(text),
            Value::Sequence(_) | Value::Mapping(_) | Value::Alias(_) => None,
        }
    }
}

/// A collection whose end has not come yet.
struct Open {
    node: NodeId,
    anchor: usize,
    /// Of a mapping, once its value is still to come.
    key: Option<NodeId>,
    /// Nodes in it, aliases counted in full.
    weight: u64,
}

#[derive(Default)]
struct Builder {
    tree: Tree,
    open: Vec<Open>,
    /// Finished nodes with an anchor, of this document, and how many nodes each stands for.
    anchors: BTreeMap<usize, (NodeId, u64)>,
    expanded: u64,
}

impl Builder {
    fn build(mut self, text: &str) -> Tree {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let step = event.map_err(|error| syntax(&error)).and_then(|(event, span)| self.step(event, span));
            if let Err(error) = step {
                self.tree.error = Some(error);
                break;
            }
        }
        self.tree
    }

    fn step(&mut self, event: Event<'_>, span: Span) -> Result<(), TreeError> {
        let range = span.start.index()..span.end.index().max(span.start.index());
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, _tag) => {
                let value = Value::Scalar { text: text.into(), plain: style == ScalarStyle::Plain };
                let id = self.push(range, value)?;
                self.finish(id, anchor, 1)
            }
            Event::SequenceStart(anchor, _tag) => self.open(range, anchor, Value::Sequence(Vec::new())),
            Event::MappingStart(anchor, _tag) => self.open(range, anchor, Value::Mapping(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { node, anchor, weight, .. }) = self.open.pop() else { return Ok(()) };
                let end = &mut self.tree.nodes[node.0 as usize].span;
                end.end = range.end.max(end.start);
                self.finish(node, anchor, weight)
            }
            Event::Alias(anchor) => {
                let Some(&(target, weight)) = self.anchors.get(&anchor) else {
                    let message = "this alias stands inside of what it stands for".to_owned();
                    return Err(TreeError { at: range, code: "alias", message });
                };
                let id = self.push(range, Value::Alias(target))?;
                self.finish(id, 0, weight)
            }
        }
    }

    fn open(&mut self, range: Range<usize>, anchor: usize, value: Value) -> Result<(), TreeError> {
        if self.open.len() >= DEPTH_MAX {
            let message = format!("nested too deeply: more than {DEPTH_MAX} levels");
            return Err(TreeError { at: range, code: "too-deep", message });
        }
        let node = self.push(range, value)?;
        self.open.push(Open { node, anchor, key: None, weight: 1 });
        Ok(())
    }

    fn push(&mut self, span: Range<usize>, value: Value) -> Result<NodeId, TreeError> {
        let Ok(id) = u32::try_from(self.tree.nodes.len()) else {
            let message = "too many values in one file".to_owned();
            return Err(TreeError { at: span, code: "too-large", message });
        };
        self.tree.nodes.push(Node { span, value });
        Ok(NodeId(id))
    }

    /// Hands a complete node, that stands for `weight` nodes, to the collection that it is in.
    fn finish(&mut self, id: NodeId, anchor: usize, weight: u64) -> Result<(), TreeError> {
        let target = match self.tree.node(id).value {
            Value::Alias(_) => {
                self.expanded = self.expanded.saturating_add(weight);
                let written = self.tree.nodes.len() as u64;
                if self.expanded > NODES_FREE.max(written * GROWTH_MAX) {
                    let at = self.tree.node(id).span.clone();
                    let message = format!("aliases make more than {} values of {written}", self.expanded);
                    return Err(TreeError { at, code: "alias-bomb", message });
                }
                None
            }
            Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => Some((id, weight)),
        };
        if let (Some(target), 1..) = (target, anchor) {
            self.anchors.insert(anchor, target);
        }
        let Some(parent) = self.open.last_mut() else {
            self.tree.roots.push(id);
            return Ok(());
        };
        parent.weight = parent.weight.saturating_add(weight);
        match &mut self.tree.nodes[parent.node.0 as usize].value {
            Value::Sequence(items) => items.push(id),
            Value::Mapping(entries) => match parent.key.take() {
                Some(key) => entries.push((key, id)),
                None => parent.key = Some(id),
            },
            Value::Scalar { .. } | Value::Alias(_) => {}
        }
        Ok(())
    }
}

fn syntax(error: &ScanError) -> TreeError {
    let at = error.marker().index();
    TreeError { at: at..at, code: "syntax", message: error.info().to_owned() }
}

#[cfg(test)]
mod tests;
