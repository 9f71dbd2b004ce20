//! Rules within kiln.yaml.
//!
//! Owns: phases among each other, lists without repetition. Does not know: recipes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::diagnostic::{Diagnostic, Place};
use super::super::document::Document;
use super::super::files::Files;
use super::super::name::Name;
use super::twice;

/// Everything that is wrong within this document; `place` is its root in `files`.
pub fn document(document: &Document, place: &Place, files: &Files) -> Vec<Diagnostic> {
    let mut found = phases(document, &place.clone().key("build_phases"), files);
    let graph = place.clone().key("dependency_graph");
    let nodes = names(&document.dependency_graph.nodes);
    found.extend(twice(&nodes, &graph.clone().key("nodes")));
    found.extend(twice(&names(&document.dependency_graph.edges), &graph.key("edges")));
    let metrics = names(&document.progress_tracking.metrics);
    found.extend(twice(&metrics, &place.clone().key("progress_tracking").key("metrics")));
    let person = &document.error_recovery.manual_intervention;
    let at = place.clone().key("error_recovery").key("manual_intervention");
    found.extend(twice(&names(&person.required_for), &at.clone().key("required_for")));
    found.extend(twice(&names(&person.notification_channels), &at.key("notification_channels")));
    for (action, script) in &document.recovery_actions {
        let at = place.clone().key("recovery_actions").key(action.as_str());
        found.extend(script_problem(script).map(|diagnostic| diagnostic.at(at)));
    }
    found
}

fn phases(document: &Document, place: &Place, files: &Files) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if document.build_phases.is_empty() {
        found.push(Diagnostic::error("no-phases", "there is no phase to build").at(place.clone()));
    }
    let mut orders = BTreeMap::new();
    for (key, phase) in &document.build_phases {
        let at = place.clone().key(&**key);
        if let Some(other) = orders.insert(phase.order, key) {
            // The later one in the file; the map is sorted by name.
            let order = |key: &Name| place.clone().key(&**key).key("order");
            let mut both = [(other, order(other)), (key, order(key))];
            both.sort_by_cached_key(|(_, place)| files.position(place));
            let [(first, _), (second, at)] = both;
            let message = format!("phase `{second}` has the order of phase `{first}`, {}", phase.order);
            let hint = "phases are built one after another: each has an order of its own";
            found.push(Diagnostic::error("duplicate-order", message).at(at).hint(hint));
        }
        found.extend(twice(&phase.steps, &at.clone().key("steps")));
        let toolchain = document.build_phases.get("toolchain").map(|toolchain| toolchain.order);
        if phase.requirements.toolchain.is_some() && toolchain.is_none_or(|order| order >= phase.order) {
            let message =
                format!("phase `{key}` can never start: no phase named `toolchain` comes before it");
            let at = at.key("requirements").key("toolchain");
            found.push(Diagnostic::warning("unmeetable-requirement", message).at(at));
        }
    }
    found
}

/// What is wrong with any script.
pub(super) fn script_problem(script: &str) -> Option<Diagnostic> {
    if script.contains('\0') {
        return Some(Diagnostic::error("bad-value", "a script may not hold a zero byte"));
    }
    script.trim().is_empty().then(|| Diagnostic::warning("empty-script", "this script does nothing"))
}

/// As they are written in the document.
fn names<T: Serialize>(values: &[T]) -> Vec<String> {
    let name = |value| serde_json::to_value(value).ok()?.as_str().map(str::to_owned);
    values.iter().filter_map(name).collect()
}
