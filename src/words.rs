//! Words in messages.
//!
//! Owns: a noun that goes with its number. Does not know: what is counted.

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
}
