//! Of very many warnings of one kind, a few.
//!
//! Owns: how many are shown. Errors are always shown, each of them; JSON has everything.

use crate::config::diagnostic::{Diagnostic, Severity};

/// More warnings with one code than these are counted, not shown.
const WARNINGS_MAX: usize = 10;

/// The first warnings of each kind, how many more there are, and all errors.
pub(super) fn brief(diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
    let mut shown: Vec<Diagnostic> = Vec::new();
    // By code, in the order in which they come up.
    let mut seen: Vec<(&'static str, usize)> = Vec::new();
    for diagnostic in diagnostics {
        if diagnostic.severity == Severity::Warning {
            let at = seen.iter().position(|(code, _)| *code == diagnostic.code).unwrap_or_else(|| {
                seen.push((diagnostic.code, 0));
                seen.len() - 1
            });
            seen[at].1 += 1;
            if seen[at].1 > WARNINGS_MAX {
                continue;
            }
        }
        shown.push(diagnostic.clone());
    }
    for (code, number) in seen {
        if number > WARNINGS_MAX {
            let where_all_are = match code {
                "dropped-edge" => "`kiln graph --cycles` lists all of them, with the cycles that they close",
                _ => "`kiln check --json` lists all of them",
            };
            let message = format!("{} more of these, {number} in all", number - WARNINGS_MAX);
            shown.push(Diagnostic::warning(code, message).hint(where_all_are));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_kind_ten_are_shown_and_errors_are_all() {
        let warnings =
            |code, number| (0..number).map(move |at| Diagnostic::warning(code, format!("{code} {at}")));
        let errors = (0..12).map(|at| Diagnostic::error("wrong", format!("wrong {at}")));
        let all: Vec<_> = warnings("dropped-edge", 12)
            .chain(errors)
            .chain(warnings("few", 10))
            .chain(warnings("many", 11))
            .collect();
        let shown = brief(&all);
        let of = |code| {
            shown.iter().filter(|shown| shown.code == code).map(|shown| &*shown.message).collect::<Vec<_>>()
        };
        assert_eq!(of("wrong").len(), 12);
        assert_eq!((of("few").len(), of("few")[9]), (10, "few 9"));
        assert_eq!((of("many").len(), of("many")[10]), (11, "1 more of these, 11 in all"));
        assert_eq!(
            (of("dropped-edge")[9], of("dropped-edge")[10]),
            ("dropped-edge 9", "2 more of these, 12 in all")
        );
        assert_eq!(brief(&all[..10]), all[..10]);
    }
}
