//! Words in messages.
//!
//! Owns: a noun that goes with its number, lists of names. Does not know: what is counted.

use std::fmt::Display;

/// `1 package`, `2 packages`, `1 process`, `2 processes`.
pub fn count<N: Copy + Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let plural = match noun {
        _ if number == N::from(1) => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{number} {noun}{plural}")
}

/// "`a`", "`a`, `b`", "`a`, `b` and 3 more": so many are named at most.
pub fn listed(names: &[&str], at_most: usize) -> String {
    let said = names.iter().take(at_most).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(at_most) {
        0 => said,
        more => format!("{said} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one() {
        let shown = [0_u64, 1, 2].map(|n| [count(n, "package"), count(n, "process")]);
        let expected =
            [["0 packages", "0 processes"], ["1 package", "1 process"], ["2 packages", "2 processes"]];
        assert_eq!(shown, expected);
    }

    #[test]
    fn of_many_names_a_few_are_said() {
        assert_eq!(listed(&["a"], 2), "`a`");
        assert_eq!(listed(&["a", "b"], 2), "`a`, `b`");
        assert_eq!(listed(&["a", "b", "c"], 2), "`a`, `b` and 1 more");
    }
}
