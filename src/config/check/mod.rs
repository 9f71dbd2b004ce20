//! What types cannot say.
//!
//! Owns: rules within one document, names that two recipes share. Does not know: the graph (whether a step or a dependency
//! exists is asked there).

mod document;
mod recipe;

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fmt::Display;

use super::diagnostic::{Diagnostic, Place, Spot};
use super::files::Files;
use super::load::Located;
use super::recipe::Recipe;

pub use document::document;
pub use recipe::recipe;

/// Rules between recipes: a name may occur once.
pub fn recipes(recipes: &[Located<Recipe>], files: &Files) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut first: BTreeMap<&str, &Place> = BTreeMap::new();
    for Located { value, place } in recipes {
        if let Some(before) = first.get(&*value.package) {
            let before = files.locate(&Spot::Node((*before).clone().key("package")));
            found.push(
                Diagnostic::error("duplicate-package", format!("package `{}` exists twice", value.package))
                    .at(place.clone().key("package"))
                    .hint(format!("the other is at {before}")),
            );
        } else {
            first.insert(&value.package, place);
        }
    }
    found
}

/// One error for each element that occurs before it in the list.
fn twice<T: Display>(items: &[T], place: &Place) -> Vec<Diagnostic> {
    let mut seen = HashSet::new();
    let repeated =
        items.iter().map(ToString::to_string).enumerate().filter(|(_, item)| !seen.insert(item.clone()));
    repeated
        .map(|(i, item)| {
            Diagnostic::error("duplicate-entry", format!("`{item}` is in this list twice"))
                .at(place.clone().index(i))
        })
        .collect()
}
