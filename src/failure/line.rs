//! One line of output, as patterns see it.
//!
//! Owns: what is taken off it: colours, what containers, clocks and log collectors write before it, kinds of quotes.
//! Does not know: what the line means.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

use super::literal::QUOTE;

/// A line without what is not its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// White space before its text, in columns.
    pub(super) indent: usize,
    /// From its first character to its last; every quote is a backtick.
    pub(super) text: Vec<u8>,
}

/// What stands before what a tool printed. Each may stand behind another.
static PREFIX: LazyLock<Regex> = LazyLock::new(|| {
    let prefixes = [
        r"#\d+ (?:\d+\.\d+ )?",    // docker buildkit
        r"\d+\.\d+ ",              // its summary
        r"\[ *\d+(?:\.\d+)?s?\] ", // the kernel, Open Build Service
        r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?\]?:? ?", // clocks
        r"\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]?:? ",
        r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?: \S+ [^\s:]+:)? ", // syslog
        r"[a-zA-Z][\w.-]* +\| ",                                    // docker compose
        r"\| ",                                                     // bitbake
        r"(?:[a-zA-Z][\w.+-]* *)?> ",                               // nix, stack
        r"\[[A-Z]{4,} *\] {2,}",                                    // crosstool-NG
        r"remote: {2,}",                                            // a server's answer to git push
        r"\[(?:javac|exec|java|cc|get|stdout|stderr|builder|INFO)\] +", // ant, log collectors
    ];
    let pattern = format!("^(?:{})", prefixes.join("|"));
    RegexBuilder::new(&pattern).unicode(false).build().expect("a sound pattern")
});

/// Prefixes stand behind prefixes, but not without end.
const PREFIXES_MOST: usize = 4;

impl Line {
    pub(super) fn new(raw: &[u8]) -> Self {
        let mut rest = raw;
        for _ in 0..PREFIXES_MOST {
            let inner = rest.trim_ascii_start();
            match PREFIX.find(inner) {
                Some(prefix) => rest = &inner[prefix.end()..],
                None => break,
            }
        }
        let text = rest.trim_ascii_start();
        let indent = rest.len() - text.len();
        Self { indent, text: quotes(unquoted(text.trim_ascii_end())) }
    }
}

/// Without the backticks around a whole line: so it is where people quote it in a thread, line by line.
fn unquoted(text: &[u8]) -> &[u8] {
    let inner = text.strip_prefix(b"`").and_then(|text| text.strip_suffix(b"`"));
    inner.filter(|inner| !inner.contains(&b'`')).unwrap_or(text)
}

/// Quotes of ASCII and the typographic ones, also where their UTF-8 was taken for Latin-1, become one.
fn quotes(text: &[u8]) -> Vec<u8> {
    const SEQUENCES: [&[u8]; 10] = [
        "‘".as_bytes(),
        "’".as_bytes(),
        "“".as_bytes(),
        "”".as_bytes(),
        "´".as_bytes(),
        "â€˜".as_bytes(),
        "â€™".as_bytes(),
        "â€œ".as_bytes(),
        "â\u{80}\u{98}".as_bytes(),
        "â\u{80}\u{99}".as_bytes(),
    ];
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let sequence = SEQUENCES.iter().find(|sequence| !first.is_ascii() && rest.starts_with(sequence));
        rest = sequence.map_or(others, |sequence| &rest[sequence.len()..]);
        plain.push(if sequence.is_some() || matches!(first, b'\'' | b'"') { QUOTE } else { *first });
    }
    plain
}

/// Takes colours and other escape sequences out of bytes, which may be many lines: what they interrupt would not be
/// found.
pub(super) fn without_escapes(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == 0x1b) {
        plain.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        rest = &rest[escape_length(rest)..];
    }
    plain.extend_from_slice(rest);
    plain
}

/// Of what follows ESC: `[` up to a letter (CSI), `]` up to BEL (OSC), else one byte. A line's end ends all.
fn escape_length(rest: &[u8]) -> usize {
    let until = |last: fn(&u8) -> bool| {
        let body = &rest[1..];
        let end = body.iter().position(|byte| last(byte) || *byte == b'\n').unwrap_or(body.len());
        1 + end + usize::from(body.get(end).is_some_and(|byte| *byte != b'\n'))
    };
    match rest.first() {
        Some(b'[') => until(|byte| (0x40..=0x7e).contains(byte)),
        Some(b']') => until(|byte| *byte == 0x07),
        Some(b'\n') | None => 0,
        Some(_) => 1,
    }
}

/// At most this many characters of a line are kept: records are read by people.
pub const SHOWN_MOST: usize = 400;

/// A line as people are shown it: control characters out, not too long.
pub fn shown(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let clean: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match clean.char_indices().nth(SHOWN_MOST) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, indent: usize, text: &str) {
        let expected = Line { indent, text: text.into() };
        let line = Line::new(raw.as_bytes());
        assert_eq!(line, expected, "{}", String::from_utf8_lossy(&line.text));
    }

    #[test]
    fn what_others_wrote_before_a_line_is_taken_off() {
        check("#7 18.61 make: x", 0, "make: x");
        check("[  168s] make: x", 0, "make: x");
        check("2024-05-01T10:00:00.1234567Z make: x", 0, "make: x");
        check("[2024-05-01 10:00:00,123] make: x", 0, "make: x");
        check("10:00:00 make: x", 0, "make: x");
        check("May  1 10:00:00 host make[7]: x", 0, "x");
        check("client_1  | make: x", 0, "make: x");
        check("| make: x", 0, "make: x");
        check("hello>   make: x", 2, "make: x");
        check("       >  make: x", 1, "make: x");
        check("#7 18.61 2024-05-01 10:00:00 make: x", 0, "make: x");
    }

    #[test]
    fn what_is_the_lines_own_stays() {
        check("[12/34] cc x.c", 0, "[12/34] cc x.c");
        check("   12 |   int x;", 3, "12 |   int x;");
        check(">= 1.2", 0, ">= 1.2");
        check("E: Unable", 0, "E: Unable");
        check("\tx  \r", 1, "x");
        check("", 0, "");
    }

    #[test]
    fn a_quoted_line_is_read_without_its_quotes() {
        check("`npm ERR! code 1`", 0, "npm ERR! code 1");
        check("`a` and `b`", 0, "`a` and `b`");
        check("`", 0, "`");
    }

    #[test]
    fn quotes_of_every_kind_are_one() {
        check("‘a’ “b” 'c' \"d\" `e' â€˜f’", 0, "`a` `b` `c` `d` `e` `f`");
        let cut = Line::new(b"\xe2\x80 \xff '");
        assert_eq!(cut.text, b"\xe2\x80 \xff `");
    }

    #[test]
    fn escapes_are_taken_out_and_line_ends_stay() {
        let plain = |text: &str| String::from_utf8(without_escapes(text.as_bytes())).unwrap();
        assert_eq!(plain("\x1b[01m\x1b[Kx.c:\x1b[m fatal \x1b[31merror: x"), "x.c: fatal error: x");
        assert_eq!(plain("\x1b]0;title\x07x\x1b]8;;y\nz"), "x\nz");
        assert_eq!(plain("a\x1b[3\nb\x1b\nc\x1b"), "a\nb\nc");
        assert_eq!(plain("\x1b(Bx\x1b["), "Bx");
    }

    #[test]
    fn a_line_is_shown_short_and_harmless() {
        assert_eq!(shown(b"  a\tb\x07\xff "), "a b \u{fffd}");
        assert_eq!(shown("ä".repeat(500).as_bytes()).chars().count(), SHOWN_MOST + 1);
    }
}
