//! Layout: widths, tabs, colours, what a terminal must not see.

use super::super::diagnostic::{Diagnostic, Spot};
use super::super::files::Files;
use super::*;

fn shown(line: &str, underlined: &str, colour: bool) -> String {
    let mut files = Files::default();
    let id = files.add("f.yaml", line);
    let start = line.find(underlined).unwrap();
    let diagnostic = Diagnostic::error("code", "message").at(Spot::Text(id, start..start + underlined.len()));
    text(&files.render_all(&[diagnostic]), colour)
}

#[test]
fn what_is_underlined_is_below_its_text() {
    let cases = [
        ("key: value", "value", "key: value", "     ^^^^^"),
        ("日本: é", "é", "日本: é", "      ^"),
        ("a: 日本", "日本", "a: 日本", "   ^^^^"),
        ("\ta:\tb", "b", "    a:    b", "          ^"),
        ("e\u{301}: x", "x", "e\u{301}: x", "   ^"),
        ("a\u{1b}b: x", "x", "a\\u{1b}b: x", "          ^"),
        ("😀: x", "x", "😀: x", "    ^"),
    ];
    for (line, underlined, source, under) in cases {
        let shown = shown(line, underlined, false);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], format!(" 1 | {source}"), "{line:?}");
        assert_eq!(lines[2], format!("   | {under}"), "{line:?}");
    }
}

#[test]
fn nothing_from_a_file_controls_the_terminal() {
    let mut files = Files::default();
    let id = files.add("f\x1b[31m.yaml", "a: \"\u{9b}31m\u{202e}\u{7}\"\n");
    let diagnostic =
        Diagnostic::error("code", "found `\x1b]0;x\x07`\nnext").at(Spot::Text(id, 3..4)).hint("\x1b[2J");
    let shown = text(&files.render_all(&[diagnostic]), false);
    let control = |c: char| (c.is_control() && c != '\n') || is_format(c);
    assert!(!shown.contains(control), "{shown:?}");
    assert_eq!(shown.lines().count(), 4, "{shown}");
}

#[test]
fn colours_come_only_when_asked_for_and_change_nothing_else() {
    let plain = shown("key: value", "value", false);
    let mut coloured = shown("key: value", "value", true);
    assert!(!plain.contains('\x1b') && coloured.contains('\x1b'));
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[1;31m"] {
        coloured = coloured.replace(code, "");
    }
    assert_eq!(coloured, plain);
}

#[test]
fn what_is_in_no_file_has_no_place() {
    let files = Files::default();
    let shown = text(&files.render_all(&[Diagnostic::warning("code", "message").hint("do")]), false);
    assert_eq!(shown, "warning[code]: message\n   = hint: do\n");
}
