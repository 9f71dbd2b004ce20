//! A YAML file as a tree of nodes that know where they stand.
//!
//! Owns: parsing with positions, bounds on depth and size, what aliases stand for. The parser is a safe port
//! of the one in `serde_yaml`, so that both agree on every text. Used only once something is wrong (and where
//! a file has aliases, to bound them first). Does not know: what any key means.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;
use std::panic;

use libyaml_safer::{Error, Event, EventData, Parser, ScalarStyle};

/// Most nodes on the way from the root to a node; `serde_yaml`'s own limit.
const DEPTH_MAX: usize = 128;

/// Most nodes after every alias has been replaced with what it stands for, per node that is written.
const GROWTH_MAX: u64 = 10;

/// Below this, no alias is too much.
const NODES_FREE: u64 = 100_000;

/// The code of what is no error of the text.
pub(super) const UNPARSED: &str = "unparsed";

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
    /// Bytes of the text.
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
    /// Bytes of the text.
    pub at: Range<usize>,
    /// A diagnostic's code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<&'static str>,
}

impl Tree {
    /// Parses; never fails: `error` says where the tree ends early.
    pub fn parse(text: &str) -> Self {
        // The parser panics on a few texts that `serde_yaml` reads or refuses properly, such as `[!a,b]`.
        panic::catch_unwind(|| Builder::default().build(text)).unwrap_or_else(|_| {
            let message = "cannot be parsed for positions".to_owned();
            let error = Some(TreeError { at: 0..0, code: UNPARSED, message, hint: None });
            Self { error, ..Self::default() }
        })
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
    anchor: Option<String>,
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
    anchors: BTreeMap<String, (NodeId, u64)>,
    expanded: u64,
}

impl Builder {
    fn build(mut self, text: &str) -> Tree {
        let mut parser = Parser::new();
        // Without a last line break the parser looks past the end.
        let mut input = text.as_bytes().chain(&b"\n"[usize::from(text.ends_with('\n'))..]);
        parser.set_input(&mut input);
        loop {
            let event = match parser.parse() {
                Ok(event) => event,
                Err(error) => {
                    self.tree.error = Some(syntax(&error, text));
                    break;
                }
            };
            if matches!(event.data, EventData::StreamEnd) {
                break;
            }
            if let Err(error) = self.step(event) {
                self.tree.error = Some(error);
                break;
            }
        }
        self.tree
    }

    fn step(&mut self, event: Event) -> Result<(), TreeError> {
        let start = bytes(event.start_mark.index);
        let range = start..bytes(event.end_mark.index).max(start);
        match event.data {
            EventData::StreamStart { .. } | EventData::StreamEnd | EventData::DocumentEnd { .. } => Ok(()),
            EventData::DocumentStart { .. } => {
                self.anchors.clear();
                Ok(())
            }
            EventData::Scalar { value, style, anchor, .. } => {
                let value = Value::Scalar { text: value.into(), plain: style == ScalarStyle::Plain };
                let id = self.push(range, value)?;
                self.finish(id, anchor, 1)
            }
            EventData::SequenceStart { anchor, .. } => self.open(range, anchor, Value::Sequence(Vec::new())),
            EventData::MappingStart { anchor, .. } => self.open(range, anchor, Value::Mapping(Vec::new())),
            EventData::SequenceEnd | EventData::MappingEnd => {
                let Some(Open { node, anchor, weight, .. }) = self.open.pop() else { return Ok(()) };
                let span = &mut self.tree.nodes[node.0 as usize].span;
                span.end = range.end.max(span.start);
                self.finish(node, anchor, weight)
            }
            EventData::Alias { anchor } => {
                let Some(&(target, weight)) = self.anchors.get(&anchor) else {
                    let within = self.open.iter().any(|open| open.anchor.as_deref() == Some(&anchor));
                    let message = if within {
                        format!("alias `*{anchor}` stands inside of what it stands for")
                    } else {
                        format!("alias `*{anchor}` has no anchor before it")
                    };
                    return Err(TreeError { at: range, code: "alias", message, hint: None });
                };
                let id = self.push(range, Value::Alias(target))?;
                self.finish(id, None, weight)
            }
        }
    }

    fn open(&mut self, range: Range<usize>, anchor: Option<String>, value: Value) -> Result<(), TreeError> {
        if self.open.len() >= DEPTH_MAX {
            let message = format!("nested too deeply: more than {DEPTH_MAX} levels");
            return Err(TreeError { at: range, code: "too-deep", message, hint: None });
        }
        // From here on the name means this one.
        if let Some(anchor) = &anchor {
            self.anchors.remove(anchor);
        }
        let node = self.push(range, value)?;
        self.open.push(Open { node, anchor, key: None, weight: 1 });
        Ok(())
    }

    fn push(&mut self, span: Range<usize>, value: Value) -> Result<NodeId, TreeError> {
        let Ok(id) = u32::try_from(self.tree.nodes.len()) else {
            let message = "too many values in one file".to_owned();
            return Err(TreeError { at: span, code: "too-large", message, hint: None });
        };
        self.tree.nodes.push(Node { span, value });
        Ok(NodeId(id))
    }

    /// Hands a complete node, that stands for `weight` nodes, to the collection that it is in.
    fn finish(&mut self, id: NodeId, anchor: Option<String>, weight: u64) -> Result<(), TreeError> {
        let target = match self.tree.node(id).value {
            Value::Alias(_) => {
                self.expanded = self.expanded.saturating_add(weight);
                let written = self.tree.nodes.len() as u64;
                if self.expanded > NODES_FREE.max(written * GROWTH_MAX) {
                    let at = self.tree.node(id).span.clone();
                    let message = format!("aliases make more than {} values of {written}", self.expanded);
                    return Err(TreeError { at, code: "alias-bomb", message, hint: None });
                }
                None
            }
            Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => Some((id, weight)),
        };
        if let (Some(target), Some(anchor)) = (target, anchor) {
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

/// Marks count bytes.
fn bytes(index: u64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn syntax(error: &Error, text: &str) -> TreeError {
    let mark = match error.problem() {
        // Where it begins says more than where the file ends.
        "found unexpected end of stream" => error.context_mark().or(error.problem_mark()),
        _ => error.problem_mark().or(error.context_mark()),
    };
    let mark = mark.unwrap_or_default();
    let at = bytes(mark.index);
    let mut message = error.problem().to_owned();
    if let (Some(context), Some(begin)) = (error.context(), error.context_mark()) {
        let line =
            if begin.line == mark.line { String::new() } else { format!(" from line {}", begin.line + 1) };
        message = format!("{message}, {context}{line}");
    }
    let here = text.get(at..).and_then(|rest| rest.chars().next());
    let hint = match error.problem() {
        "found character that cannot start any token" if here == Some('\t') => {
            Some("indent with spaces, not tabs")
        }
        "found character that cannot start any token" => Some("put the text in quotes"),
        problem if problem.contains("tab character") => Some("indent with spaces, not tabs"),
        "mapping values are not allowed in this context" => {
            Some("check the indentation; text that holds `: ` must be in quotes")
        }
        _ => None,
    };
    TreeError { at: at..at, code: "syntax", message, hint }
}

#[cfg(test)]
mod tests;
