//! Compares a tree with the schema of the types, and reports everything that differs.
//!
//! Owns: the wording of unknown, missing and repeated keys, wrong types and values. Accepts exactly what the
//! types accept (a property test holds that). Does not know: any particular key, but by its schema.

use schemars::Schema;
use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, FileId, Spot};
use super::files::File;
use super::place::shown;
use super::schema::{HOST_ONLY_MARK, try_format};
use super::settings::HOST_ONLY;
use super::suggest::{hint, similar};
use super::tree::{NodeId, Tree, Value};
use super::yaml::{Meaning, float, meaning};

/// Everything that is wrong with the document at `root`.
pub(super) fn walk(file: &File, id: FileId, root: NodeId, schema: &Schema) -> Vec<Diagnostic> {
    let mut walk = Walk { file, tree: file.tree(), id, schema: schema.as_value(), found: Vec::new() };
    walk.node(root, walk.schema, None);
    walk.found
}

/// Everything that is wrong with a plain scalar that comes from no file; the diagnostics have no place.
pub(super) fn walk_scalar(text: &str, root: &Schema, schema: &Json) -> Vec<Diagnostic> {
    let tree = Tree::scalar(text);
    let file = File::new(String::new(), String::new(), false);
    let mut walk =
        Walk { file: &file, tree: &tree, id: FileId(0), schema: root.as_value(), found: Vec::new() };
    walk.node(tree.roots[0], schema, None);
    walk.found.into_iter().map(|diagnostic| Diagnostic { spot: None, ..diagnostic }).collect()
}

/// Follows `$ref`.
pub(super) fn resolve<'s>(root: &'s Json, mut schema: &'s Json) -> &'s Json {
    while let Some(target) = schema.get("$ref").and_then(Json::as_str) {
        let Some(found) = target.strip_prefix('#').and_then(|path| root.pointer(path)) else { break };
        schema = found;
    }
    schema
}

/// The alternatives of a schema, null left out.
pub(super) fn alternatives<'s>(root: &'s Json, schema: &'s Json) -> Option<Vec<&'s Json>> {
    let all = schema.get("anyOf").or_else(|| schema.get("oneOf"))?.as_array()?;
    Some(all.iter().map(|one| resolve(root, one)).filter(|one| !has_type(one, "null")).collect())
}

fn has_type(schema: &Json, name: &str) -> bool {
    match schema.get("type") {
        Some(Json::Array(types)) => types.iter().any(|t| t == name),
        Some(one) => one == name,
        None => false,
    }
}

/// The texts that an enumeration allows; `None` when the schema is none.
fn options(schema: &Json) -> Option<Vec<&str>> {
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        return Some(values.iter().filter_map(Json::as_str).collect());
    }
    if let Some(value) = schema.get("const") {
        return Some(value.as_str().into_iter().collect());
    }
    let all = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    let options: Option<Vec<_>> = all.iter().map(options).collect();
    Some(options?.concat())
}

struct Walk<'t> {
    file: &'t File,
    tree: &'t Tree,
    id: FileId,
    schema: &'t Json,
    found: Vec<Diagnostic>,
}

impl<'t> Walk<'t> {
    /// `key` is the key that holds the node.
    fn node(&mut self, id: NodeId, schema: &'t Json, key: Option<NodeId>) {
        let schema = resolve(self.schema, schema);
        if self.is_null(id) && allows_null(self.schema, schema) {
            return;
        }
        if let Some(options) = options(schema).filter(|_| schema.get("format").is_none()) {
            return self.option(id, &options);
        }
        if let Some(alternatives) = alternatives(self.schema, schema) {
            return match (&*alternatives, self.tree.value(id)) {
                ([only], _) => self.node(id, only, key),
                (several, value) => {
                    let kind = match value {
                        Value::Scalar { text, plain } if meaning(text, *plain) == Meaning::Text => "string",
                        Value::Mapping(_) => "object",
                        Value::Scalar { .. } | Value::Sequence(_) | Value::Alias(_) => "",
                    };
                    match several.iter().find(|one| has_type(one, kind)) {
                        Some(chosen) => self.node(id, chosen, key),
                        None => self.wrong_type(id, "text or a mapping"),
                    }
                }
            };
        }
        let format = schema.get("format").and_then(Json::as_str).unwrap_or("");
        if try_format(format, "").is_some() {
            return self.format(id, format, schema);
        }
        if has_type(schema, "string") {
            self.string(id, schema);
        } else if has_type(schema, "boolean") {
            self.boolean(id);
        } else if has_type(schema, "integer") {
            self.integer(id, schema, format);
        } else if has_type(schema, "number") {
            self.number(id, schema);
        } else if has_type(schema, "array") {
            self.sequence(id, schema);
        } else if has_type(schema, "object") {
            self.mapping(id, schema, key);
        }
    }

    fn is_null(&self, id: NodeId) -> bool {
        matches!(self.tree.value(id), Value::Scalar { text, plain } if meaning(text, *plain) == Meaning::Null)
    }

    fn option(&mut self, id: NodeId, options: &[&str]) {
        let Some(text) = self.tree.text(id) else { return self.wrong_type(id, &one_of(options)) };
        if options.contains(&text) {
            return;
        }
        let message = format!("unknown value `{text}`");
        self.report(id, Diagnostic::error("unknown-value", message).hint(hint(text, options, "one of")));
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
        let (bound, fits) = match (schema.get("minimum"), schema.get("exclusiveMinimum")) {
            (Some(least), _) => {
                (format!("a number of at least {least}"), least.as_f64().is_some_and(|least| number >= least))
            }
            (None, Some(least)) => {
                (format!("a number above {least}"), least.as_f64().is_some_and(|least| number > least))
            }
            (None, None) => ("a finite number".to_owned(), true),
        };
        if !fits || !number.is_finite() {
            let text = self.tree.text(id).unwrap_or_default();
            let message = format!("{text} is out of range: expected {bound}");
            self.report(id, Diagnostic::error("out-of-range", message));
        }
    }

    fn sequence(&mut self, id: NodeId, schema: &'t Json) {
        let items = match self.tree.value(id) {
            Value::Sequence(items) => &**items,
            Value::Scalar { text, plain: true } if text.is_empty() => &[],
            Value::Scalar { .. } | Value::Mapping(_) | Value::Alias(_) => {
                return self.wrong_type(id, "a list");
            }
        };
        if items.is_empty() && schema.get("minItems").is_some() {
            self.report(id, Diagnostic::error("out-of-range", "this list may not be empty"));
        }
        if let Some(schema) = schema.get("items") {
            for item in items {
                self.node(*item, schema, None);
            }
        }
    }

    fn mapping(&mut self, id: NodeId, schema: &'t Json, key: Option<NodeId>) {
        let entries = match self.tree.value(id) {
            Value::Mapping(entries) => &**entries,
            Value::Scalar { text, plain: true } if text.is_empty() => &[],
            Value::Scalar { .. } | Value::Sequence(_) | Value::Alias(_) => {
                return self.wrong_type(id, "a mapping");
            }
        };
        let none = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Json::as_object);
        let known: Vec<&str> = properties.unwrap_or(&none).keys().map(String::as_str).collect();
        let mut meant = Vec::new();
        let mut seen: Vec<(&str, NodeId)> = Vec::new();
        for (key, value) in entries {
            let Some(text) = self.tree.text(*key) else {
                self.wrong_type(*key, "a key that is text");
                continue;
            };
            match seen.iter().find(|(before, _)| *before == text) {
                Some((_, first)) => self.repeated(*key, text, *first),
                None => seen.push((text, *key)),
            }
            if let Some(property) = properties.and_then(|p| p.get(text)) {
                self.node(*value, property, Some(*key));
                continue;
            }
            match schema.get("additionalProperties") {
                Some(Json::Bool(false)) => {
                    meant.extend(self.unknown(*key, text, &known, schema));
                }
                Some(property) => {
                    if let Some(names) = schema.get("propertyNames") {
                        self.node(*key, names, None);
                    }
                    self.node(*value, property, Some(*key));
                }
                None => {}
            }
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        for name in required.filter_map(Json::as_str) {
            // A misspelt key was reported already; that it is also missing is the same mistake.
            if !seen.iter().any(|(key, _)| *key == name) && !meant.contains(&name) {
                let message = format!("missing key `{name}`");
                self.report(key.unwrap_or(id), Diagnostic::error("missing-key", message));
            }
        }
    }

    /// Reports an unknown key; returns the one that was probably meant.
    fn unknown<'k>(&mut self, key: NodeId, text: &str, known: &[&'k str], schema: &Json) -> Option<&'k str> {
        let refused = HOST_ONLY.iter().find(|(name, _)| *name == text);
        if let (Some((_, what)), Some(_)) = (refused, schema.get(HOST_ONLY_MARK)) {
            let message = format!("a definition may not set `{text}`: {what} concerns the host's safety");
            let hint = format!(
                "set it in /etc/kiln/kiln.yaml, in kiln.local.yaml beside kiln.yaml, or as KILN_SET_{}",
                text.to_uppercase()
            );
            self.report(key, Diagnostic::error("host-only-setting", message).hint(hint));
            return None;
        }
        let diagnostic = Diagnostic::error("unknown-key", format!("unknown key `{text}`"));
        if text == "<<" {
            self.report(key, diagnostic.hint("merge keys are not supported: write the keys out"));
            return None;
        }
        self.report(key, diagnostic.hint(hint(text, known, "known keys")));
        similar(text, known)
    }

    fn repeated(&mut self, key: NodeId, text: &str, first: NodeId) {
        let line = self.file.position(self.tree.node(first).span.start).line;
        let message = format!("key `{text}` occurs twice: first in line {line}");
        self.report(key, Diagnostic::error("duplicate-key", message));
    }

    fn wrong_type(&mut self, id: NodeId, expected: &str) {
        let (found, hint) = match self.tree.value(id) {
            Value::Sequence(_) => ("a list".to_owned(), None),
            Value::Mapping(_) => ("a mapping".to_owned(), None),
            Value::Alias(_) => ("an alias".to_owned(), None),
            Value::Scalar { text, plain } => match meaning(text, *plain) {
                Meaning::Null => ("nothing".to_owned(), (!text.is_empty()).then_some("leave the key out")),
                Meaning::Bool(_) => {
                    (format!("`{text}`"), expected.contains("text").then_some("put it in quotes"))
                }
                Meaning::Integer(_) | Meaning::Float(_) => {
                    (format!("the number {text}"), expected.contains("text").then_some("put it in quotes"))
                }
                Meaning::Text => {
                    let quoted = !plain && !matches!(meaning(text, true), Meaning::Text | Meaning::Null);
                    (format!("the text `{}`", short(text)), quoted.then_some("leave out the quotes"))
                }
            },
        };
        let mut diagnostic = Diagnostic::error("wrong-type", format!("expected {expected}, found {found}"));
        diagnostic.hint = hint.map(str::to_owned);
        self.report(id, diagnostic);
    }

    fn report(&mut self, id: NodeId, diagnostic: Diagnostic) {
        self.found.push(diagnostic.at(Spot::Text(self.id, shown(self.tree, id))));
    }
}

fn allows_null(root: &Json, schema: &Json) -> bool {
    let either = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array);
    has_type(schema, "null")
        || either.is_some_and(|all| all.iter().any(|one| has_type(resolve(root, one), "null")))
}

fn one_of(options: &[&str]) -> String {
    options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(" or ")
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
