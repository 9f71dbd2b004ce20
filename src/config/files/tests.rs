//! Lines, and what a diagnostic becomes.

use proptest::prelude::*;

use super::*;

fn position(text: &str, index: usize) -> (usize, usize) {
    let file = File::new(String::new(), text.to_owned(), true);
    let Position { line, column } = file.position(index);
    (line, column)
}

#[test]
fn lines_and_columns_are_from_1_in_characters() {
    let text = "ab\n日本x\r\n\rend";
    for (index, expected) in [
        (0, (1, 1)),
        (1, (1, 2)),
        (2, (1, 3)),
        (3, (2, 1)),
        (6, (2, 2)),
        (9, (2, 3)),
        (10, (2, 4)),
        (12, (3, 1)),
        (13, (4, 1)),
        (15, (4, 3)),
        (16, (4, 4)),
        (99, (4, 4)),
    ] {
        assert_eq!(position(text, index), expected, "{index}");
    }
    assert_eq!(position("", 0), (1, 1));
    assert_eq!(position("a\n", 2), (2, 1));
}

#[test]
fn diagnostics_are_sorted_by_file_line_and_column_and_said_once() {
    let mut files = Files::default();
    let (b, a) = (files.add("b", "x: 1\ny: 2\n"), files.add("a", "z: 3\n"));
    let at = |file, span| Diagnostic::error("c", "m").at(Spot::Text(file, span));
    let nowhere = Diagnostic::error("c", "nowhere");
    let all = [
        nowhere,
        at(a, 0..1),
        at(b, 5..6),
        at(b, 3..4),
        at(b, 3..4),
        Diagnostic::warning("c", "f").at(Spot::File(b)),
    ];
    let shown: Vec<_> = files
        .render_all(&all)
        .into_iter()
        .map(|r| (r.file.unwrap_or_default(), r.position.map_or((0, 0), |p| (p.line, p.column))))
        .collect();
    let expected = [("b", (0, 0)), ("b", (1, 4)), ("b", (2, 1)), ("a", (1, 1)), ("", (0, 0))];
    assert_eq!(shown, expected.map(|(file, at)| (file.to_owned(), at)));
}

#[test]
fn what_is_underlined_stays_in_its_line() {
    let mut files = Files::default();
    let id = files.add("f", "a: |\n  one\n  two\nb: \n");
    let underline = |span| files.render(&Diagnostic::error("c", "m").at(Spot::Text(id, span))).underline;
    assert_eq!(underline(3..16), 3..4, "a block scalar: its sign");
    assert_eq!(underline(7..10), 2..5);
    assert_eq!(underline(20..20), 3..4, "nothing: one column");
    assert_eq!(underline(21..21), 0..1, "after the last line");
}

proptest! {
    #[test]
    fn every_byte_has_a_position_in_the_file(text in "[a日\r\n\t ]{0,30}", byte in 0_usize..60) {
        let file = File::new(String::new(), text.clone(), true);
        let Position { line, column } = file.position(byte);
        let (content, start) = file.line(line);
        prop_assert!(column >= 1 && column <= content.chars().count() + 1);
        prop_assert!(line >= 1 && line <= text.chars().count() + 1);
        if byte <= start + content.len() && text.is_char_boundary(byte) {
            prop_assert_eq!(file.byte(line, column), byte);
        }
    }
}
