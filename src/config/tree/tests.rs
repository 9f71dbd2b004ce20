//! Positions of every style of YAML, and bounds.

use std::fmt::Write as _;

use super::super::diagnostic::{FileId, Place};
use super::super::files::Files;
use super::super::place;
use super::*;

/// A place, the text that it covers and its line and column.
#[track_caller]
fn check(text: &str, place: impl FnOnce(Place) -> Place, covers: &str, line: usize, column: usize) {
    let place = place(Place::document(FileId(0), 0));
    check_at(text, &place, covers, line, column);
}

#[track_caller]
fn check_at(text: &str, place: &Place, covers: &str, line: usize, column: usize) {
    let mut files = Files::default();
    let id = files.add("f", text);
    let file = files.get(id);
    let span = place::find(file.tree(), place).unwrap();
    assert_eq!(&text[span.clone()], covers);
    let position = file.position(span.start);
    assert_eq!((position.line, position.column), (line, column));
}

#[test]
fn block_style() {
    let text = "a: 1\nb:\n  c: two\n  d:\n    - x\n    - y z\n";
    check(text, |p| p.key("a"), "1", 1, 4);
    check(text, |p| p.key_itself("b"), "b", 2, 1);
    check(text, |p| p.key("b").key("c"), "two", 3, 6);
    check(text, |p| p.key("b").key("d").index(1), "y z", 6, 7);
    check(text, |p| p.key("b"), "c", 3, 3);
}

#[test]
fn flow_style() {
    let text = "a: {b: [1, {c: d}], e: f}\n";
    check(text, |p| p.key("a").key("b").index(0), "1", 1, 9);
    check(text, |p| p.key("a").key("b").index(1).key("c"), "d", 1, 16);
    check(text, |p| p.key("a").key_itself("e"), "e", 1, 21);
    check(text, |p| p.key("a"), "{b: [1, {c: d}], e: f}", 1, 4);
}

#[test]
fn quoted_and_block_scalars() {
    let text = "a: \"x\\ty\"\n'b': 'it''s'\nc: |\n  make\n  make\nd: >-\n  folded\n  text\ne: last\n";
    check(text, |p| p.key("a"), "\"x\\ty\"", 1, 4);
    check(text, |p| p.key_itself("b"), "'b'", 2, 1);
    check(text, |p| p.key("b"), "'it''s'", 2, 6);
    check(text, |p| p.key("e"), "last", 9, 4);
    let tree = Tree::parse(text);
    let start = |key| place::find(&tree, &Place::document(FileId(0), 0).key(key)).unwrap().start;
    assert_eq!(text.as_bytes()[start("c")], b'|');
    assert_eq!(text.as_bytes()[start("d")], b'>');
}

#[test]
fn columns_count_characters() {
    let text = "k: [日本, ä, 😀, x]\n\"ключ\": v\n";
    check(text, |p| p.key("k").index(0), "日本", 1, 5);
    check(text, |p| p.key("k").index(1), "ä", 1, 9);
    check(text, |p| p.key("k").index(3), "x", 1, 15);
    check(text, |p| p.key("ключ"), "v", 2, 9);
}

#[test]
fn line_breaks_of_other_systems() {
    check("a: 1\r\nb: 2\r\n", |p| p.key("b"), "2", 2, 4);
    check("a: 1\rb: 2\r", |p| p.key("b"), "2", 2, 4);
    check("a: 1\n\n\n# c\nb:\t2\n", |p| p.key("b"), "2", 5, 4);
}

#[test]
fn anchors_and_aliases() {
    let text = "a: &x [1, 2]\nb: *x\nc: {d: *x}\n";
    check(text, |p| p.key("b"), "*x", 2, 4);
    // What an alias stands for is found where it is written.
    check(text, |p| p.key("b").index(1), "2", 1, 11);
    check(text, |p| p.key("c").key("d").index(0), "1", 1, 8);
}

#[test]
fn documents_of_a_file() {
    let text = "# comment\n---\na: 1\n---\n# nothing\n--- {a: 2}\n...\n---\na: 3\n";
    for (document, covers, line, column) in [(0, "1", 3, 4), (2, "2", 6, 9), (3, "3", 9, 4)] {
        let place = Place::document(FileId(0), document).key("a");
        check_at(text, &place, covers, line, column);
    }
    assert_eq!(Tree::parse(text).roots.len(), 4);
}

#[test]
fn a_path_that_leads_nowhere_ends_at_its_last_node() {
    let text = "a:\n  b: 1\n";
    check(text, |p| p.key("a").key("missing").index(3), "b", 2, 3);
    check(text, |p| p.key("a").key("b").key("x"), "1", 2, 6);
    assert_eq!(place::find(&Tree::parse(text), &Place::document(FileId(0), 1)), None);
}

#[track_caller]
fn refused(text: &str, code: &str) {
    assert_eq!(Tree::parse(text).error.map(|error| error.code), Some(code));
}

#[test]
fn depth_is_bounded() {
    assert_eq!(Tree::parse(&format!("{}1{}", "[".repeat(128), "]".repeat(128))).error, None);
    refused(&format!("{}1{}", "[".repeat(129), "]".repeat(129)), "too-deep");
    refused(&"[".repeat(20_000), "too-deep");
    refused(&"- ".repeat(20_000), "too-deep");
    refused(&"{a: ".repeat(20_000), "too-deep");
}

#[test]
fn aliases_are_bounded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
        let _ = writeln!(bomb, "a{i}: &a{i} [{aliases}]");
    }
    refused(&bomb, "alias-bomb");
    refused("a: &a [*a]", "alias");
    let fair = (0..1000).map(|i| format!("b{i}: *x\n")).collect::<Vec<_>>().concat();
    assert_eq!(Tree::parse(&format!("a: &x [1, 2, 3]\n{fair}")).error, None);
}

#[test]
fn a_text_that_the_parser_cannot_bear_has_no_positions_and_no_error_of_its_own() {
    // With a tag and a comma the parser panics; serde_yaml reads it.
    refused("a: [!x,b]", UNPARSED);
    // At the very end of an escape it would, without the line break that is added.
    refused("a: \"\\", "syntax");
}
