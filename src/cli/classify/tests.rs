//! What stands around a line.

use super::*;

#[track_caller]
fn check(text: &str, number: u64, expected: &[(u64, &str)]) {
    // However little is read at once.
    for capacity in [1, 3, 4096] {
        let lines = lines_around(BufReader::with_capacity(capacity, text.as_bytes()), number).unwrap();
        let lines: Vec<_> = lines.iter().map(|(number, line)| (*number, line.as_str())).collect();
        assert_eq!(lines, expected);
    }
}

#[test]
fn neighbours_are_found_with_their_numbers() {
    check("a\nb\nc\nd\ne\nf\n", 4, &[(2, "b"), (3, "c"), (4, "d"), (5, "e"), (6, "f")]);
    check("a\nb\nc", 1, &[(1, "a"), (2, "b"), (3, "c")]);
    check("a\r\n\n b\n", 3, &[(1, "a"), (2, ""), (3, "b")]);
    check("a\n", 9, &[]);
}

#[test]
fn a_long_line_is_shown_from_its_beginning() {
    let text = format!("{}\nx\n", "y".repeat(100_000));
    let lines = lines_around(text.as_bytes(), 1).unwrap();
    assert_eq!(lines[1], (2, "x".to_owned()));
    assert!(lines[0].1.starts_with("yyy") && lines[0].1.chars().count() == line::SHOWN_MOST + 1);
}
