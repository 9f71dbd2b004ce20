//! From a directory to a definition.
//!
//! Owns: which files are read, in which order and how many at a time, and what is done when one is wrong:
//! the types read it first (fast); only a file that they refuse is walked for every problem and its position.
//! Does not know: what any key means.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::Dir;

use super::check;
use super::diagnostic::{Diagnostic, FileId, Place, Severity, Spot};
use super::document::{CircularHandling, Document};
use super::files::Files;
use super::name::Name;
use super::parse;
use super::read::{self, Found};
use super::recipe::Recipe;
use super::schema;
use super::tree::{Tree, Value};
use crate::parallel::parallel;

/// Where a definition is.
#[derive(Debug, Clone)]
pub enum Root {
    /// A directory, as the user named it.
    Directory(PathBuf),
    /// One that kiln ships.
    Embedded {
        /// Its name, which stands for the directory in messages.
        name: &'static str,
        /// Its files.
        dir: &'static Dir<'static>,
    },
}

/// A definition without errors.
#[derive(Debug)]
pub struct Definition {
    /// `name` of kiln.yaml, else the directory's.
    pub name: Name,
    /// Where it was read from.
    pub root: Root,
    /// kiln.yaml.
    pub document: Document,
    /// Its root.
    pub place: Place,
    /// Packages and groups: files by name, documents in their order.
    pub recipes: Vec<Located<Recipe>>,
    /// The texts, for later diagnostics.
    pub files: Files,
}

/// A value and the root of the document that it was read from.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The document's root.
    pub place: Place,
}

/// Why there is no definition: at least one of the diagnostics is an error.
#[derive(Debug)]
pub struct Problems {
    /// The files that the diagnostics are about.
    pub files: Files,
    /// Errors and warnings, unsorted (see [`Files::render_all`]).
    pub diagnostics: Vec<Diagnostic>,
    /// What could be read all the same, so that what is wrong between files is not hidden by what is wrong
    /// within one.
    pub rest: Option<Box<Rest>>,
}

/// What could be read of a definition with errors.
#[derive(Debug)]
pub struct Rest {
    /// The definition, but for its files.
    pub definition: Definition,
    /// Packages whose recipes are wrong: they exist, and nothing else is known of them.
    pub unread: BTreeSet<String>,
}

impl Rest {
    /// What was found in the definition, at its place in the files, which the definition has been given back.
    pub fn relocate(definition: &Definition, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        parse::relocate(definition, found)
    }
}

/// Reads a definition; with it come the warnings.
pub fn load(root: Root) -> Result<(Definition, Vec<Diagnostic>), Problems> {
    let mut diagnostics = Vec::new();
    let mut files = Files::default();
    let sources = read::sources(&root);
    let mut ids = Vec::new();
    for Found { name, text } in sources.files {
        let (id, problem) = read::add(&mut files, name, text);
        diagnostics.extend(problem);
        ids.push(id);
    }
    for (name, diagnostic) in sources.remarks {
        let id = files.add_unreadable(name);
        diagnostics.push(diagnostic.at(Spot::File(id)));
    }
    let Some((&kiln_yaml, packages)) = ids.split_first() else {
        return Err(Problems { files, diagnostics, rest: None });
    };
    let document = one_document(&files, kiln_yaml, &mut diagnostics);
    let circular = document.as_ref().map(|document| document.value.circular_handling());
    let circular = circular.unwrap_or(CircularHandling::Error);
    let recipes = all_recipes(&files, packages, circular, &mut diagnostics);
    diagnostics.extend(check::recipes(&recipes, &files));
    let wrong = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    match document {
        Some(Located { value: document, place }) if !wrong => {
            let name = document.name.clone().unwrap_or_else(|| default_name(&root));
            Ok((Definition { name, root, document, place, recipes, files }, diagnostics))
        }
        Some(Located { value: document, place }) => {
            let name = document.name.clone().unwrap_or_else(|| default_name(&root));
            let unread = unread(&files, packages, &recipes);
            let definition = Definition { name, root, document, place, recipes, files: Files::default() };
            Err(Problems { files, diagnostics, rest: Some(Box::new(Rest { definition, unread })) })
        }
        None => Err(Problems { files, diagnostics, rest: None }),
    }
}

/// Names that stand after `package:` in files of recipes, and are not among those that were read.
fn unread(files: &Files, ids: &[FileId], recipes: &[Located<Recipe>]) -> BTreeSet<String> {
    let read: BTreeSet<&str> = recipes.iter().map(|recipe| &*recipe.value.package).collect();
    let mut names = BTreeSet::new();
    for id in ids.iter().filter(|id| files.get(**id).readable) {
        let tree = files.get(*id).tree();
        for root in &tree.roots {
            let Value::Mapping(entries) = tree.value(*root) else { continue };
            let package = entries.iter().find(|(key, _)| tree.text(*key) == Some("package"));
            names.extend(package.and_then(|(_, value)| tree.text(*value)).map(str::to_owned));
        }
    }
    names.retain(|name| !read.contains(name.as_str()));
    names
}

fn one_document(files: &Files, id: FileId, diagnostics: &mut Vec<Diagnostic>) -> Option<Located<Document>> {
    if !files.get(id).readable {
        return None;
    }
    let parsed = parse::documents::<Document>(&files.get(id).text);
    let several = parsed.values.len() > 1;
    let check = |document: &Document, place: &Place| check::document(document, place, files);
    let mut found = Vec::new();
    let values = parse::collect(files, id, vec![parsed], schema::kiln_yaml(), check, &mut found);
    if several && let Some(second) = second_document(files.get(id).tree()) {
        let message = "kiln.yaml is one document; recipes stand in packages/";
        let at = Place::document(id, second);
        diagnostics.push(Diagnostic::error("second-document", message).at(at));
        // One that was cut in pieces: what each of them lacks is in the others.
        return values.into_iter().next().filter(|_| found.is_empty());
    }
    diagnostics.append(&mut found);
    values.into_iter().next()
}

/// The number of the second document that says anything.
fn second_document(tree: &Tree) -> Option<u32> {
    let mut some = tree.roots.iter().zip(0..).filter(|(root, _)| !parse::is_empty(tree, **root));
    some.nth(1).map(|(_, document)| document)
}

fn all_recipes(
    files: &Files,
    ids: &[FileId],
    circular: CircularHandling,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Located<Recipe>> {
    let check = |recipe: &Recipe, place: &Place| check::recipe(recipe, place, circular);
    let ids: Vec<_> = ids.iter().copied().filter(|id| files.get(*id).readable).collect();
    let pieces: Vec<(FileId, &str)> = ids
        .iter()
        .flat_map(|id| parse::pieces(&files.get(*id).text).into_iter().map(|piece| (*id, piece)))
        .collect();
    let bytes = pieces.iter().map(|(_, piece)| piece.len()).sum();
    let parsed = parallel(&pieces, bytes, |(_, piece)| parse::documents::<Recipe>(piece));
    let count = parsed.iter().map(|piece| piece.values.len()).sum();
    let mut parsed = pieces.iter().map(|(id, _)| *id).zip(parsed).peekable();
    let mut recipes = Vec::with_capacity(count);
    for id in ids {
        let mut own = Vec::new();
        while let Some((_, pieces)) = parsed.next_if(|(of, _)| *of == id) {
            own.push(pieces);
        }
        recipes.extend(parse::collect(files, id, own, schema::recipe(), check, diagnostics));
    }
    recipes
}

fn default_name(root: &Root) -> Name {
    match root {
        Root::Directory(path) => {
            let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            Name::nearest(&whole.file_name().unwrap_or_default().to_string_lossy())
        }
        Root::Embedded { name, .. } => Name::nearest(name),
    }
}

impl Root {
    /// The path to a file of the definition, as the user would name it.
    pub fn display(&self, file: &str) -> String {
        match self {
            Self::Directory(path) if path == Path::new(".") => file.to_owned(),
            Self::Directory(path) => path.join(file).display().to_string(),
            Self::Embedded { name, .. } => format!("{name}/{file}"),
        }
    }

    /// The directory, as it is called from any other; empty for one that kiln ships.
    pub fn absolute(&self) -> Arc<str> {
        match self {
            Self::Directory(path) => {
                std::path::absolute(path).as_ref().unwrap_or(path).to_string_lossy().into()
            }
            Self::Embedded { .. } => "".into(),
        }
    }
}

#[cfg(test)]
mod tests;
