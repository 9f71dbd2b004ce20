//! Versions that packages have, against those that others want of them: `version_compatibility`.
//!
//! Owns: which constraint is not satisfied, whether any version could do, and which would. Does not know: what a name
//! means (see `resolve`), how versions are ordered.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::config::diagnostic::{Diagnostic, Place, Severity};
use crate::config::load::Definition;
use crate::config::version::{Constraint, Operator, Version};
use crate::words::count;

use super::{DependencyType, dependency};

/// Of the constraints that contradict one, so many are named.
const AGAINST_MOST: usize = 5;
/// Of the constraints on one package, so many are compared with all others: there may be tens of thousands.
const TOLD_MOST: usize = 20;

/// A constraint of one package on another. Both are indexes of recipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    /// The dependent.
    pub by: usize,
    /// In which of its lists.
    pub kind: DependencyType,
    /// Where in that.
    pub index: u32,
    /// The dependency.
    pub of: usize,
    /// It is `relaxed`: what does not fit is told, and is no error.
    pub relaxed: bool,
}

/// Versions from one to another; without one, from the first or to the last. dpkg's order is dense: between two versions
/// there is always a third.
#[derive(Debug, Clone, Copy, Default)]
struct Range<'a> {
    lower: Option<Bound<'a>>,
    upper: Option<Bound<'a>>,
}

/// An end of a range, which may belong to it.
#[derive(Debug, Clone, Copy)]
struct Bound<'a> {
    version: &'a Version,
    inclusive: bool,
}

impl<'a> Range<'a> {
    fn of(constraint: &'a Constraint) -> Self {
        let bound = |version, inclusive| Some(Bound { version, inclusive });
        let parts = constraint.0.iter().map(|(operator, version)| match operator {
            Operator::Less => Self { lower: None, upper: bound(version, false) },
            Operator::LessOrEqual => Self { lower: None, upper: bound(version, true) },
            Operator::Equal => Self { lower: bound(version, true), upper: bound(version, true) },
            Operator::GreaterOrEqual => Self { lower: bound(version, true), upper: None },
            Operator::Greater => Self { lower: bound(version, false), upper: None },
        });
        parts.fold(Self::default(), Self::and)
    }

    /// What is in both.
    fn and(self, other: Self) -> Self {
        let tighter = |a: Option<Bound<'a>>, b: Option<Bound<'a>>, wins| match (a, b) {
            (Some(a), Some(b)) => match a.version.cmp(b.version) {
                Ordering::Equal => Some(Bound { inclusive: a.inclusive && b.inclusive, ..a }),
                order @ (Ordering::Less | Ordering::Greater) => Some(if order == wins { a } else { b }),
            },
            (one, other) => one.or(other),
        };
        Self {
            lower: tighter(self.lower, other.lower, Ordering::Greater),
            upper: tighter(self.upper, other.upper, Ordering::Less),
        }
    }

    fn is_empty(&self) -> bool {
        let (Some(lower), Some(upper)) = (self.lower, self.upper) else { return false };
        match lower.version.cmp(upper.version) {
            Ordering::Less => false,
            Ordering::Equal => !(lower.inclusive && upper.inclusive),
            Ordering::Greater => true,
        }
    }
}

impl fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lower, self.upper) {
            (Some(lower), Some(upper)) if lower.version == upper.version => write!(f, "= {}", lower.version),
            (lower, upper) => {
                if let Some(Bound { version, inclusive }) = lower {
                    write!(f, ">{} {version}{}", equal(inclusive), if upper.is_some() { ", " } else { "" })?;
                }
                if let Some(Bound { version, inclusive }) = upper {
                    write!(f, "<{} {version}", equal(inclusive))?;
                }
                Ok(())
            }
        }
    }
}

fn equal(inclusive: bool) -> &'static str {
    if inclusive { "=" } else { "" }
}

impl Want {
    fn constraint<'d>(&self, definition: &'d Definition) -> &'d Constraint {
        &dependency(&definition.recipes[self.by].value, self.kind, self.index).constraint
    }

    /// `FILE:LINE:COLUMN` of the constraint.
    fn locate(&self, definition: &Definition) -> String {
        definition.files.locate(&self.place(definition).into())
    }

    fn place(&self, definition: &Definition) -> Place {
        super::place(definition, self.by, self.kind, self.index)
    }

    fn problem(&self, definition: &Definition, message: String, hint: String) -> Diagnostic {
        let severity = if self.relaxed { Severity::Warning } else { Severity::Error };
        let diagnostic = Diagnostic::error("version-conflict", message).at(self.place(definition));
        let dependent = &definition.recipes[self.by].value.package;
        let all_the_same = if self.relaxed {
            format!("; `{dependent}` is built with it all the same")
        } else {
            String::new()
        };
        Diagnostic { severity, ..diagnostic }.hint(hint + &all_the_same)
    }
}

/// What is wrong with the versions of packages. `wants`: all constraints, at least those on every package of which one is
/// not satisfied; in the order of the definition.
pub(super) fn check(definition: &Definition, wants: &[Want]) -> Vec<Diagnostic> {
    let mut of: BTreeMap<usize, Vec<&Want>> = BTreeMap::new();
    let mut found = Vec::new();
    let mut said = BTreeSet::new();
    for want in wants {
        let constraint = want.constraint(definition);
        if !Range::of(constraint).is_empty() {
            of.entry(want.of).or_default().push(want);
            continue;
        }
        if !said.insert((want.by, want.kind, want.index)) {
            continue; // of another member of the same group
        }
        let name = &dependency(&definition.recipes[want.by].value, want.kind, want.index).name;
        let message = format!(
            "`{}` needs `{name}` {constraint}, which no version is",
            definition.recipes[want.by].value.package
        );
        found.push(want.problem(
            definition,
            message,
            "the parts of this constraint contradict each other".to_owned(),
        ));
    }
    found.extend(of.values().flat_map(|wants| of_one(definition, wants)));
    found
}

/// The same of constraints on one package, each of which some version satisfies.
fn of_one(definition: &Definition, wants: &[&Want]) -> Vec<Diagnostic> {
    let Some(first) = wants.first() else { return Vec::new() };
    let other = &definition.recipes[first.of];
    let Some(version) = &other.value.version else { return Vec::new() };
    let name = &other.value.package;
    let its_version = definition.files.locate(&other.place.clone().key("version").into());
    let ranges: Vec<Range<'_>> = wants.iter().map(|want| Range::of(want.constraint(definition))).collect();
    // What is relaxed binds nobody.
    let binding = |at: &usize| !wants[*at].relaxed;
    let all = (0..wants.len()).filter(binding).map(|at| ranges[at]).fold(Range::default(), Range::and);
    let dependent = |at: usize| &definition.recipes[wants[at].by].value.package;
    let mut binding_of: BTreeMap<usize, usize> = BTreeMap::new();
    for at in (0..wants.len()).filter(binding) {
        *binding_of.entry(wants[at].by).or_default() += 1;
    }
    let all_binding: usize = binding_of.values().sum();
    let mut found = Vec::new();
    let mut told = Vec::new();
    for (at, want) in wants.iter().enumerate() {
        let constraint = want.constraint(definition);
        if constraint.allows(version) {
            continue;
        }
        let needs = format!("`{}` needs `{name}` {constraint}", dependent(at));
        let stands = format!("`{name}` is {version} at {its_version}");
        // Ranges have a version in common if each two of them have.
        let disjoint = |other: &usize| ranges[at].and(ranges[*other]).is_empty();
        let against: Vec<usize> = if all.is_empty() && binding(&at) && told.len() < TOLD_MOST {
            (0..wants.len()).filter(|other| binding(other) && disjoint(other)).collect()
        } else {
            Vec::new()
        };
        if against.is_empty() {
            let others = all_binding - binding_of.get(&want.by).copied().unwrap_or(0);
            let (range, who) = match others {
                1.. if binding(&at) && !all.is_empty() => {
                    (all, format!(", for {} as well", count(others, "other package")))
                }
                _ => (ranges[at], String::new()),
            };
            let hint = format!("{stands}; a version {range} would do{who}");
            found.push(want.problem(definition, format!("{needs}, but its version is {version}"), hint));
            continue;
        }
        if against.iter().all(|other| told.contains(other)) {
            continue; // it was named there
        }
        told.push(at);
        let mut parts = Vec::new();
        let mut places = Vec::new();
        for &other in against.iter().take(AGAINST_MOST) {
            parts.push(format!("`{}` needs {}", dependent(other), wants[other].constraint(definition)));
            places.push(format!("`{}` says so at {}", dependent(other), wants[other].locate(definition)));
        }
        if against.len() > AGAINST_MOST {
            parts.push(format!("{} more need others", against.len() - AGAINST_MOST));
        }
        let message = format!("{needs}, but {}: no version is all of that", parts.join(", "));
        let hint = format!("{}; {stands}; change one of the constraints", places.join(", "));
        found.push(want.problem(definition, message, hint));
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn constraint() -> impl Strategy<Value = Constraint> {
        let part = (
            prop::sample::select(vec!["<", "<=", "=", ">=", ">"]),
            0..4_u32,
            prop::sample::select(vec!["", "~"]),
        );
        prop::collection::vec(
            part.prop_map(|(operator, number, more)| format!("{operator} {number}{more}")),
            0..4,
        )
        .prop_map(|parts| parts.join(", ").parse().unwrap())
    }

    proptest! {
        /// Ends, and something between each two: if a range of these has any version, it has one of those.
        #[test]
        fn a_range_has_the_versions_that_its_constraints_allow(a in constraint(), b in constraint()) {
            let both = Range::of(&a).and(Range::of(&b));
            let some = ["0~~", "0~", "0~a", "0", "0a", "1~", "1~a", "1", "1a", "2~", "2~a", "2", "2a", "3~", "3~a", "3", "3a"];
            let allowed = |text: &&str| {
                let version = text.parse().unwrap();
                a.allows(&version) && b.allows(&version)
            };
            prop_assert_eq!(both.is_empty(), !some.iter().any(allowed), "{} and {}: {}", a, b, both);
            if !both.is_empty() {
                let again: Constraint = both.to_string().parse().unwrap();
                for text in &some {
                    prop_assert_eq!(again.allows(&text.parse().unwrap()), allowed(text), "{}", both);
                }
            }
        }
    }
}
