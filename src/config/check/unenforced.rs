//! Keys that are read and have no effect yet.
//!
//! Owns: saying so, once for each key however many set it. A key leaves this file with the change that gives it its
//! effect.

use super::super::diagnostic::Diagnostic;
use super::super::document::Document;
use super::super::load::Located;

/// One warning for each such key that is set.
pub fn unenforced(document: Option<&Located<Document>>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Some(Located { value, place }) = document
        && value.error_recovery.automatic_recovery.stop_on_same_failure
    {
        let at = place.clone().key("error_recovery").key("automatic_recovery").key("stop_on_same_failure");
        let message = "`stop_on_same_failure` has no effect yet: every attempt is made";
        found.push(Diagnostic::warning("not-enforced", message).at(at));
    }
    found
}
