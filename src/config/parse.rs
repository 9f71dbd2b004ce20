//! From a file's text to values of a type, or to diagnostics.
//!
//! Owns: the fast path (types alone), cutting large files into pieces, and the slow path when the types
//! refuse. Does not know: what the types mean.

use std::collections::{BTreeMap, BTreeSet};

use schemars::Schema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::diagnostic::{Diagnostic, FileId, Place, Spot};
use super::files::{File, Files};
use super::load::{Definition, Located};
use super::repair;
use super::schema;
use super::tree::{NodeId, Tree, TreeError, UNPARSED, Value};
use super::walk::walk;
use super::yaml::{Meaning, meaning};

/// A piece is at least this long, so that cutting costs nothing beside parsing.
const PIECE_MIN: usize = 64 * 1024;

/// What the types say to each document of a piece.
pub(super) struct Documents<T> {
    /// `None` for an empty document.
    pub(super) values: Vec<Result<Option<T>, serde_yaml::Error>>,
    /// Line breaks in the piece.
    lines: usize,
}

/// Cuts a file between documents. `---` at the start of a line always begins one, even within what looks
/// like a block or quoted scalar.
pub(super) fn pieces(text: &str) -> Vec<&str> {
    cut(text, PIECE_MIN)
}

fn cut(text: &str, piece_min: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    // A directive belongs to the document after it.
    if text.len() < 2 * piece_min || text.starts_with('%') || text.contains("\n%") {
        return vec![text];
    }
    let (mut start, mut from) = (0, piece_min);
    while let Some(found) = text.as_bytes().get(from..).and_then(marker) {
        // The line break stays with the piece before.
        let end = from + found + 1;
        pieces.push(&text[start..end]);
        start = end;
        from = end + piece_min;
    }
    pieces.push(&text[start..]);
    // Comments alone make no document, which serde_yaml cannot say: they go with what follows.
    let comment = |line: &str| line.trim_start().is_empty() || line.trim_start().starts_with('#');
    if pieces.len() > 1 && pieces[0].lines().all(comment) {
        let joined = pieces[0].len() + pieces[1].len();
        pieces.splice(0..2, [&text[..joined]]);
    }
    pieces
}

/// The first line break that is followed by `---` and a blank.
fn marker(bytes: &[u8]) -> Option<usize> {
    bytes.windows(5).position(|w| w.starts_with(b"\n---") && matches!(w[4], b' ' | b'\n' | b'\r' | b'\t'))
}

/// Reads every document of a piece, as far as the syntax is right.
pub(super) fn documents<T: DeserializeOwned>(piece: &str) -> Documents<T> {
    let lines = piece.bytes().filter(|b| *b == b'\n').count();
    if excessive(piece) {
        // The walk parses again, and says where.
        return Documents { values: vec![Err(serde::de::Error::custom("too much nesting"))], lines };
    }
    let mut values = Vec::new();
    let mut complete = None;
    for document in serde_yaml::Deserializer::from_str(piece) {
        let value = Option::<T>::deserialize(document);
        let refused = value.is_err();
        values.push(value);
        // After an error of syntax serde_yaml goes on for ever, or panics: the tree knows whether it was one.
        if refused && values.len() > *complete.get_or_insert_with(|| Tree::parse(piece).roots.len()) {
            break;
        }
    }
    // Most files hold one recipe, and a vector's first allocation is for four.
    values.shrink_to_fit();
    Documents { values, lines }
}

/// Whether a piece is so deep, or aliases make so much of it, that the types should not read it. Only a text
/// with many open brackets, or with what looks like an anchor and an alias, is parsed for it.
fn excessive(piece: &str) -> bool {
    let (mut depth, mut deepest) = (0_i32, 0);
    let (mut anchor, mut alias) = (false, false);
    let mut before = b' ';
    for b in piece.bytes() {
        match b {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = (depth - 1).max(0),
            // A name follows `&` and `*` at once.
            b if b > b' ' && b != b'&' && b != b'*' => {
                anchor |= before == b'&';
                alias |= before == b'*';
            }
            _ => {}
        }
        deepest = deepest.max(depth);
        before = b;
    }
    let suspect = deepest > 100 || (anchor && alias);
    let bounds = |error: TreeError| matches!(error.code, "alias" | "alias-bomb" | "too-deep" | "too-large");
    suspect && Tree::parse(piece).error.is_some_and(bounds)
}

/// Puts a file's pieces together and checks each document; where the types refused one, reports everything
/// that is wrong in the file, and what is left of a wrong document is among the values.
pub(super) fn collect<T: DeserializeOwned>(
    files: &Files,
    id: FileId,
    pieces: Vec<Documents<T>>,
    schema: &Schema,
    check: impl Fn(&T, &Place) -> Vec<Diagnostic>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Located<T>> {
    let file = files.get(id);
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    let (mut document, mut line) = (0, 0);
    for piece in pieces {
        for value in piece.values {
            match value {
                Ok(Some(value)) => values.push(Located { value, place: Place::document(id, document) }),
                Ok(None) => {}
                Err(error) => errors.push((error, line)),
            }
            document += 1;
        }
        line += piece.lines;
    }
    if values.is_empty() && errors.is_empty() {
        diagnostics
            .push(Diagnostic::error("empty-file", "there is nothing in this file").at(Spot::Text(id, 0..0)));
    }
    for Located { value, place } in &values {
        diagnostics.extend(check(value, place));
    }
    if !errors.is_empty() {
        let (repaired, found) = examine(file, id, schema, check);
        values.extend(repaired);
        if found.is_empty() {
            diagnostics.extend(errors.into_iter().map(|(error, line)| fallback(file, id, &error, line)));
        }
        diagnostics.extend(found);
    }
    values
}

/// Whether a document says nothing.
pub(super) fn is_empty(tree: &Tree, root: NodeId) -> bool {
    matches!(tree.value(root), Value::Scalar { text, plain: true } if meaning(text, true) == Meaning::Null)
}

/// Everything that is wrong with a file, by the tree; and what is left of its wrong documents, which other
/// checks may look at, but nobody may build.
fn examine<T: DeserializeOwned>(
    file: &File,
    id: FileId,
    schema: &Schema,
    check: impl Fn(&T, &Place) -> Vec<Diagnostic>,
) -> (Vec<Located<T>>, Vec<Diagnostic>) {
    let tree = file.tree();
    let (mut repaired, mut found) = (Vec::new(), Vec::new());
    for (root, document) in tree.roots.iter().copied().zip(0..) {
        if is_empty(tree, root) {
            continue;
        }
        let walked = walk(file, id, root, schema);
        // Without errors of its own it was checked with the types.
        if let Some(bad) = walked.bad.filter(|_| !walked.found.is_empty())
            && let Ok(value) = serde_yaml::from_str::<T>(&repair::text(tree, root, &bad))
        {
            let place = Place::document(id, document);
            let checked = check(&value, &place).into_iter();
            found.extend(checked.filter_map(|one| repair::relocate(tree, root, &bad, one)));
            repaired.push(Located { value, place });
        }
        found.extend(walked.found);
    }
    if let Some(error) = tree.error.as_ref().filter(|error| error.code != UNPARSED) {
        let spot = Spot::Text(id, error.at.clone());
        let mut diagnostic = Diagnostic::error(error.code, error.message.clone()).at(spot);
        diagnostic.hint = error.hint.map(str::to_owned);
        found.push(diagnostic);
    }
    (repaired, found)
}

/// Moves what was found in `Problems::rest` to where it stands in the files.
pub(super) fn relocate(definition: &Definition, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut walks: BTreeMap<(FileId, u32), Option<BTreeSet<NodeId>>> = BTreeMap::new();
    let moved = found.into_iter().filter_map(|diagnostic| {
        let Some(Spot::Node(Place { file: id, document, .. })) = &diagnostic.spot else {
            return Some(diagnostic);
        };
        let (id, file) = (*id, definition.files.get(*id));
        let Some(&root) = file.tree().roots.get(*document as usize) else { return Some(diagnostic) };
        let schema = if id == definition.place.file { schema::kiln_yaml() } else { schema::recipe() };
        let bad = walks.entry((id, *document)).or_insert_with(|| walk(file, id, root, schema).bad);
        match bad {
            Some(bad) if !bad.is_empty() => repair::relocate(file.tree(), root, bad, diagnostic),
            Some(_) | None => Some(diagnostic),
        }
    });
    moved.collect()
}

/// What `serde_yaml` says, for what only it refuses.
fn fallback(file: &File, id: FileId, error: &serde_yaml::Error, lines_before: usize) -> Diagnostic {
    let message = error.to_string();
    let end = error.location().and_then(|_| message.rfind(" at line ")).unwrap_or(message.len());
    let at = error.location().map_or(0, |at| file.byte(at.line() + lines_before, at.column()));
    Diagnostic::error("yaml", &message[..end]).at(Spot::Text(id, at..at))
}

#[cfg(test)]
mod tests;
