//! Names that no recipe has.
//!
//! Owns: what is said of them, how often, and which name was meant. Does not know: who names what (see `resolve`).
//!
//! One recipe that is missing may be named in every other, and all of a definition's names may be wrong: neither may cost
//! more than a definition without a mistake.

use std::collections::{BTreeMap, HashMap};

use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::load::Definition;
use crate::config::suggest::Known;
use crate::words::count;

/// Of the places that name the same, so many are shown; the others have the same cause.
const PLACES_MOST: usize = 5;

/// For so many names it is looked up what else may have been meant.
const LOOKED_UP_MOST: usize = 50;

/// What is unknown so far.
pub(super) struct Unknown<'a> {
    definition: &'a Definition,
    /// All names, once one is looked up.
    known: Option<Known<'a>>,
    /// By name. Only looked up in, never gone through in its own order.
    hints: HashMap<&'a str, String>,
    /// By name: how many places, and the first one that is not shown.
    places: BTreeMap<&'a str, (usize, Option<Place>)>,
}

impl<'a> Unknown<'a> {
    pub(super) fn new(definition: &'a Definition) -> Self {
        Self { definition, known: None, hints: HashMap::new(), places: BTreeMap::new() }
    }

    /// The error that something (`what`) has a name that is none; `None` where there are enough of them.
    pub(super) fn error(
        &mut self,
        what: &str,
        name: &'a str,
        place: impl FnOnce() -> Place,
    ) -> Option<Diagnostic> {
        let (places, first_not_shown) = self.places.entry(name).or_default();
        *places += 1;
        if *places > PLACES_MOST {
            first_not_shown.get_or_insert_with(place);
            return None;
        }
        let message = format!("{what} `{name}` has no recipe");
        Some(Diagnostic::error("unknown-package", message).at(place()).hint(self.hint(name)))
    }

    /// Of each name that stands in more places than are shown, how many those are.
    pub(super) fn others(&mut self) -> Vec<Diagnostic> {
        let of_name = |(name, (places, first_not_shown)): (&str, (usize, Option<Place>))| {
            let place = first_not_shown?;
            let places = count(places - PLACES_MOST, "more place");
            let message = format!("`{name}` has no recipe: {places} like this one");
            Some(Diagnostic::error("unknown-package", message).at(place))
        };
        std::mem::take(&mut self.places).into_iter().filter_map(of_name).collect()
    }

    fn hint(&mut self, name: &'a str) -> String {
        if let Some(hint) = self.hints.get(name) {
            return hint.clone();
        }
        let near = if self.hints.len() < LOOKED_UP_MOST {
            let names = || self.definition.recipes.iter().map(|recipe| &*recipe.value.package);
            self.known.get_or_insert_with(|| Known::new(names())).did_you_mean(name)
        } else {
            None
        };
        let hint = near.unwrap_or_else(|| format!("add packages/{name}.yaml, or take the name out"));
        self.hints.insert(name, hint.clone());
        hint
    }
}
