//! Compares a tree with the schema of the types, and reports everything that differs.
//!
//! Owns: the wording of unknown, missing and repeated keys, wrong types and values. Accepts exactly what the
//! types accept (a property test holds that). Does not know: any particular key, but by its schema.

use std::collections::{BTreeMap, BTreeSet};

use schemars::Schema;
use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, FileId, Spot};
use super::files::File;
use super::place::shown;
use super::schema::{HOST_ONLY_MARK, allows_null, alternatives, has_type, options, resolve, try_format};
use super::settings::HOST_ONLY;
use super::suggest::{hint, similar};
use super::tree::{NodeId, Tree, Value};
use super::yaml::{Meaning, float, meaning};

/// What a walk found.
pub(super) struct Walked {
    /// Everything that is wrong.
    pub(super) found: Vec<Diagnostic>,
    /// Values and elements without which the rest of the document would be right; `None`: nothing would be.
    pub(super) bad: Option<BTreeSet<NodeId>>,
}

/// Looks at the document at `root`.
pub(super) fn walk(file: &File, id: FileId, root: NodeId, schema: &Schema) -> Walked {
    let mut walk = Walk::new(file, file.tree(), id, schema);
    let usable = walk.node(root, walk.schema, None);
    Walked { found: walk.found, bad: usable.then_some(walk.bad) }
}

/// Everything that is wrong with a plain scalar that comes from no file; the diagnostics have no place.
pub(super) fn walk_scalar(text: &str, root: &Schema, schema: &Json) -> Vec<Diagnostic> {
    let tree = Tree::scalar(text);
    let file = File::new(String::new(), String::new(), false);
    let mut walk = Walk::new(&file, &tree, FileId(0), root);
    for root in &tree.roots {
        walk.node(*root, schema, None);
    }
    walk.found.into_iter().map(|diagnostic| Diagnostic { spot: None, ..diagnostic }).collect()
}

struct Walk<'t> {
    file: &'t File,
    tree: &'t Tree,
    id: FileId,
    schema: &'t Json,
    found: Vec<Diagnostic>,
    bad: BTreeSet<NodeId>,
}

impl<'t> Walk<'t> {
    fn new(file: &'t File, tree: &'t Tree, id: FileId, schema: &'t Schema) -> Self {
        Self { file, tree, id, schema: schema.as_value(), found: Vec::new(), bad: BTreeSet::new() }
    }

    /// Whether the node is of use, maybe without the elements that are in `bad`. `key` is the key that holds
    /// it.
    fn node(&mut self, id: NodeId, schema: &'t Json, key: Option<NodeId>) -> bool {
        let schema = resolve(self.schema, schema);
        if self.is_null(id) && allows_null(self.schema, schema) {
            return true;
        }
        let before = self.found.len();
        let format = schema.get("format").and_then(Json::as_str).unwrap_or("");
        if try_format(format, "").is_some() {
            self.format(id, format, schema);
        } else if let Some(options) = options(schema) {
            self.option(id, &options);
        } else if let Some(alternatives) = alternatives(self.schema, schema) {
            return self.choice(id, &alternatives, key);
        } else if has_type(schema, "array") {
            return self.sequence(id, schema);
        } else if has_type(schema, "object") {
            return self.mapping(id, schema, key);
        } else if has_type(schema, "string") {
            self.string(id, schema);
        } else if has_type(schema, "boolean") {
            self.boolean(id);
        } else if has_type(schema, "integer") {
            self.integer(id, schema, format);
        } else if has_type(schema, "number") {
            self.number(id, schema);
        }
        self.found.len() == before
    }

    fn is_null(&self, id: NodeId) -> bool {
        matches!(self.tree.value(id), Value::Scalar { text, plain } if meaning(text, *plain) == Meaning::Null)
    }

    /// Of several forms, the one for this kind of node.
    fn choice(&mut self, id: NodeId, alternatives: &[&'t Json], key: Option<NodeId>) -> bool {
        let kind = match self.tree.value(id) {
            Value::Scalar { text, plain } if meaning(text, *plain) == Meaning::Text => "string",
            Value::Mapping(_) => "object",
            Value::Scalar { .. } | Value::Sequence(_) | Value::Alias(_) => "",
        };
        match (alternatives, alternatives.iter().find(|one| has_type(one, kind))) {
            ([chosen], _) | (_, Some(chosen)) => self.node(id, chosen, key),
            (_, None) => {
                self.wrong_type(id, "text or a mapping");
                false
            }
        }
    }

    fn option(&mut self, id: NodeId, options: &[&str]) {
        let Some(text) = self.tree.text(id) else {
            let quoted: Vec<String> = options.iter().map(|option| format!("`{option}`")).collect();
            return self.wrong_type(id, &quoted.join(" or "));
        };
        if !options.contains(&text) {
            let diagnostic = Diagnostic::error("unknown-value", format!("unknown value `{}`", short(text)));
            self.report(id, diagnostic.hint(hint(text, options, "one of")));
        }
    }

    fn format(&mut self, id: NodeId, format: &str, schema: &Json) {
        let Some(text) = self.tree.text(id) else {
            let number = has_type(schema, "number") || has_type(schema, "integer");
            return self.wrong_type(id, if number { "a number or text" } else { "text" });
        };
        if let Some(Err(message)) = try_format(format, text) {
            self.report(id, Diagnostic::error("bad-value", message));
        }
    }

    fn string(&mut self, id: NodeId, schema: &Json) {
        match self.tree.text(id) {
            None => self.wrong_type(id, "text"),
            Some("") if schema.get("minLength").is_some() => {
                self.report(id, Diagnostic::error("out-of-range", "this text may not be empty"));
            }
            Some(_) => {}
        }
    }

    fn boolean(&mut self, id: NodeId) {
        let found = match self.tree.value(id) {
            Value::Scalar { text, plain } => meaning(text, *plain),
            Value::Sequence(_) | Value::Mapping(_) | Value::Alias(_) => Meaning::Null,
        };
        if !matches!(found, Meaning::Bool(_)) {
            self.wrong_type(id, "`true` or `false`");
        }
    }

    fn integer(&mut self, id: NodeId, schema: &Json, format: &str) {
        let least = schema.get("minimum").and_then(Json::as_u64).unwrap_or(0);
        let most = if format == "uint32" { u64::from(u32::MAX) } else { u64::MAX };
        let Value::Scalar { text, plain } = self.tree.value(id) else {
            return self.wrong_type(id, "a whole number");
        };
        let fits = match meaning(text, *plain) {
            // `-0` is no unsigned number to serde_yaml.
            Meaning::Integer(number) if !text.starts_with('-') => {
                u64::try_from(number).is_ok_and(|number| (least..=most).contains(&number))
            }
            Meaning::Integer(_) => false,
            Meaning::Float(number) if number.abs() > 1e19 && number.fract() == 0.0 => false,
            Meaning::Null | Meaning::Bool(_) | Meaning::Float(_) | Meaning::Text => {
                return self.wrong_type(id, "a whole number");
            }
        };
        if !fits {
            let message = format!("{text} is out of range: expected a whole number from {least} to {most}");
            self.report(id, Diagnostic::error("out-of-range", message));
        }
    }

    fn number(&mut self, id: NodeId, schema: &Json) {
        let number = match self.tree.value(id) {
            Value::Scalar { text, plain: true } => float(text),
            Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) | Value::Alias(_) => None,
        };
        let Some(number) = number else { return self.wrong_type(id, "a number") };
        let least = schema.get("minimum").and_then(Json::as_f64);
        let above = schema.get("exclusiveMinimum").and_then(Json::as_f64);
        let fits = number.is_finite()
            && least.is_none_or(|least| number >= least)
            && above.is_none_or(|above| number > above);
        if !fits {
            let bound = match (least, above) {
                (Some(least), _) => format!("a number of at least {least}"),
                (None, Some(above)) => format!("a number above {above}"),
                (None, None) => "a finite number".to_owned(),
            };
            let text = self.tree.text(id).unwrap_or_default();
            let message = format!("{text} is out of range: expected {bound}");
            self.report(id, Diagnostic::error("out-of-range", message));
        }
    }

    fn sequence(&mut self, id: NodeId, schema: &'t Json) -> bool {
        let items = match self.tree.value(id) {
            Value::Sequence(items) => &**items,
            Value::Scalar { text, plain: true } if text.is_empty() => &[],
            Value::Scalar { .. } | Value::Mapping(_) | Value::Alias(_) => {
                self.wrong_type(id, "a list");
                return false;
            }
        };
        let some = schema.get("minItems").is_some();
        if items.is_empty() && some {
            self.report(id, Diagnostic::error("out-of-range", "this list may not be empty"));
        }
        let mut usable = 0;
        for item in items {
            if schema.get("items").is_none_or(|schema| self.node(*item, schema, None)) {
                usable += 1;
            } else {
                self.bad.insert(*item);
            }
        }
        usable > 0 || !some
    }

    fn mapping(&mut self, id: NodeId, schema: &'t Json, holder: Option<NodeId>) -> bool {
        let entries = match self.tree.value(id) {
            Value::Mapping(entries) => &**entries,
            Value::Scalar { text, plain: true } if text.is_empty() => &[],
            Value::Scalar { .. } | Value::Sequence(_) | Value::Alias(_) => {
                self.wrong_type(id, "a mapping");
                return false;
            }
        };
        let mut misspelt = Vec::new();
        let mut seen: BTreeMap<&str, (NodeId, NodeId)> = BTreeMap::new();
        for (key, value) in entries {
            let Some(text) = self.tree.text(*key) else {
                self.wrong_type(*key, "a key that is text");
                self.bad.insert(*value);
                continue;
            };
            let mut usable = true;
            if let Some((first, _)) = seen.get(text) {
                self.repeated(*key, text, *first);
                usable = false;
            } else {
                seen.insert(text, (*key, *value));
            }
            if let Some(property) = schema.get("properties").and_then(|properties| properties.get(text)) {
                usable &= self.node(*value, property, Some(*key));
            } else if schema.get("additionalProperties") == Some(&Json::Bool(false)) {
                misspelt.extend(self.unknown(*key, text, schema));
                usable = false;
            } else {
                usable &= schema.get("propertyNames").is_none_or(|names| self.node(*key, names, None));
                if let Some(property) = schema.get("additionalProperties") {
                    usable &= self.node(*value, property, Some(*key));
                }
            }
            if !usable {
                self.bad.insert(*value);
            }
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        let mut complete = true;
        for name in required.filter_map(Json::as_str) {
            let value = seen.get(name);
            complete &= value.is_some_and(|(_, value)| !self.bad.contains(value));
            // A misspelt key was reported already; that it is also missing is the same mistake.
            if value.is_none() && !misspelt.contains(&name) {
                let message = format!("missing key `{name}`");
                self.report(holder.unwrap_or(id), Diagnostic::error("missing-key", message));
            }
        }
        complete
    }

    /// Reports an unknown key; returns the one that was probably meant.
    fn unknown(&mut self, key: NodeId, text: &str, schema: &'t Json) -> Option<&'t str> {
        let refused = HOST_ONLY.iter().find(|(name, _)| *name == text);
        if let (Some((_, what)), Some(_)) = (refused, schema.get(HOST_ONLY_MARK)) {
            let message = format!("a definition may not set `{text}`: {what} concerns the host's safety");
            let variable = text.to_uppercase();
            let hint = "set it in /etc/kiln/kiln.yaml, in kiln.local.yaml beside kiln.yaml, or as KILN_SET_";
            let diagnostic =
                Diagnostic::error("host-only-setting", message).hint(hint.to_owned() + &variable);
            self.report(key, diagnostic);
            return None;
        }
        let diagnostic = Diagnostic::error("unknown-key", format!("unknown key `{}`", short(text)));
        if text == "<<" {
            self.report(key, diagnostic.hint("merge keys are not supported: write the keys out"));
            return None;
        }
        let properties = schema.get("properties").and_then(Json::as_object);
        let known: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        self.report(key, diagnostic.hint(hint(text, &known, "known keys")));
        similar(text, &known)
    }

    fn repeated(&mut self, key: NodeId, text: &str, first: NodeId) {
        let line = self.file.position(self.tree.node(first).span.start).line;
        let message = format!("key `{}` occurs twice: first in line {line}", short(text));
        self.report(key, Diagnostic::error("duplicate-key", message));
    }

    fn wrong_type(&mut self, id: NodeId, expected: &str) {
        let (found, hint) = match self.tree.value(id) {
            Value::Sequence(_) => ("a list".to_owned(), None),
            Value::Mapping(_) => ("a mapping".to_owned(), None),
            Value::Alias(_) => ("an alias".to_owned(), None),
            Value::Scalar { text, plain } => found(text, *plain, expected),
        };
        let mut diagnostic = Diagnostic::error("wrong-type", format!("expected {expected}, found {found}"));
        diagnostic.hint = hint.map(str::to_owned);
        self.report(id, diagnostic);
    }

    fn report(&mut self, id: NodeId, diagnostic: Diagnostic) {
        self.found.push(diagnostic.at(Spot::Text(self.id, shown(self.tree, id))));
    }
}

/// A scalar in words, and what may have been meant.
fn found(text: &str, plain: bool, expected: &str) -> (String, Option<&'static str>) {
    let quote = expected.contains("text").then_some("put it in quotes");
    match meaning(text, plain) {
        Meaning::Null => ("nothing".to_owned(), (!text.is_empty()).then_some("leave the key out")),
        Meaning::Bool(_) => (format!("`{text}`"), quote),
        Meaning::Integer(_) | Meaning::Float(_) => (format!("the number {text}"), quote),
        Meaning::Text => {
            let quoted = !plain && !matches!(meaning(text, true), Meaning::Text | Meaning::Null);
            let hint = match text {
                "yes" | "on" | "Yes" | "On" if expected.contains("true") => Some("write `true`"),
                "no" | "off" | "No" | "Off" if expected.contains("true") => Some("write `false`"),
                _ => quoted.then_some("leave out the quotes"),
            };
            (format!("the text `{}`", short(text)), hint)
        }
    }
}

/// The first line, of at most 40 characters.
fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 40 || line.len() < text.trim_end().len() {
        format!("{}…", line.chars().take(40).collect::<String>())
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests;
