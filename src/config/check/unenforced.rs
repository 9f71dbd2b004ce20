//! Keys that are read and have no effect yet.
//!
//! Owns: saying so, once for each key however many set it. A key leaves this file with the change that gives it its
//! effect.

use super::super::diagnostic::Diagnostic;
use super::super::document::Document;
use super::super::load::Located;
use super::super::recipe::{Limits, Recipe};

/// One warning for each such key that is set.
pub fn unenforced(document: Option<&Located<Document>>, recipes: &[Located<Recipe>]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let code = "not-enforced";
    if let Some(Located { value, place }) = document
        && value.error_recovery.automatic_recovery.stop_on_same_failure
    {
        let at = place.clone().key("error_recovery").key("automatic_recovery").key("stop_on_same_failure");
        let message = "`stop_on_same_failure` has no effect yet: every attempt is made";
        found.push(Diagnostic::warning(code, message).at(at));
    }
    // A group's are an error.
    let limited =
        |recipe: &&Located<Recipe>| recipe.value.group.is_none() && recipe.value.limits != Limits::default();
    let mut limited = recipes.iter().filter(limited);
    if let Some(first) = limited.next() {
        let whose = match limited.count() {
            0 => format!("of `{}`", first.value.package),
            more => format!("of {} recipes, `{}` the first of them,", more + 1, first.value.package),
        };
        let message = format!("the `limits` {whose} are not enforced yet");
        found.push(Diagnostic::warning(code, message).at(first.place.clone().key("limits")));
    }
    found
}
