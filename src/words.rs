//! Words in messages.
//!
//! Owns: a noun that goes with its number, lists of names, sizes. Does not know: what is counted.

use std::fmt::Display;

/// `1 package`, `2 packages`, `1 process`, `2 processes`, `1 directory`, `2 directories`.
pub fn count<N: Copy + Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if number == N::from(1) => format!("{number} {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None if noun.ends_with('s') => format!("{number} {noun}es"),
        None => format!("{number} {noun}s"),
    }
}

/// `512B`, `1.5G`: 1024-based, as definitions write sizes.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 10.0 && unit != "B" { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
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
        let shown = [1_u64, 2].map(|n| ["package", "process", "directory"].map(|noun| count(n, noun)));
        let expected =
            [["1 package", "1 process", "1 directory"], ["2 packages", "2 processes", "2 directories"]];
        assert_eq!(shown, expected);
    }

    #[test]
    fn of_many_names_a_few_are_said() {
        assert_eq!(listed(&["a"], 2), "`a`");
        assert_eq!(listed(&["a", "b"], 2), "`a`, `b`");
        assert_eq!(listed(&["a", "b", "c"], 2), "`a`, `b` and 1 more");
    }
}
