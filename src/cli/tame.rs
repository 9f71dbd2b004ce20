//! What builds print, on a terminal.
//!
//! Owns: which of it may act there: lines, tabs and colours. Everything else that could is shown as text.

use crate::config::render::push_visible;

/// A longer sequence is no colour.
const SEQUENCE_MOST: usize = 64;

/// Makes bytes harmless that come piece by piece.
#[derive(Debug, Default)]
pub(super) struct Tame {
    /// The beginning of a character or of a sequence whose end has not come yet.
    held: Vec<u8>,
    coloured: bool,
}

impl Tame {
    /// The next piece, as far as it is clear what it means.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        self.take(false)
    }

    /// What is left; colours end with it.
    pub(super) fn end(&mut self) -> String {
        let mut text = self.take(true);
        if std::mem::take(&mut self.coloured) {
            text.push_str("\x1b[0m");
        }
        text
    }

    fn take(&mut self, last: bool) -> String {
        let bytes = std::mem::take(&mut self.held);
        let mut text = String::with_capacity(bytes.len());
        let mut done = 0;
        for chunk in bytes.utf8_chunks() {
            let (valid, invalid) = (chunk.valid(), chunk.invalid());
            let open = !last && done + valid.len() == bytes.len();
            done += self.characters(valid, open, &mut text);
            if open {
                break;
            }
            let cut = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if !last && cut && done + invalid.len() == bytes.len() {
                break;
            }
            text.extend(invalid.escape_ascii().map(char::from));
            done += invalid.len();
        }
        self.held.extend_from_slice(&bytes[done..]);
        text
    }

    /// Returns how many bytes it took: all, or where more may come, those before a sequence without an end.
    fn characters(&mut self, valid: &str, open: bool, text: &mut String) -> usize {
        let mut rest = valid;
        while let Some(c) = rest.chars().next() {
            let mut taken = c.len_utf8();
            match (c, colour(rest)) {
                ('\n' | '\t', _) => text.push(c),
                (_, Some(length)) => {
                    taken = length;
                    text.push_str(&rest[..taken]);
                    self.coloured = !matches!(&rest[..taken], "\x1b[m" | "\x1b[0m");
                }
                ('\x1b', None) if open && may_become_colour(rest) => break,
                _ => push_visible(text, c),
            }
            rest = &rest[taken..];
        }
        valid.len() - rest.len()
    }
}

/// The length of the colour (SGR: `ESC [ 1 ; 31 m`) at the start of a text.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let length = parameters.bytes().take(SEQUENCE_MOST).position(|b| !is_parameter(b))?;
    (parameters.as_bytes()[length] == b'm').then_some("\x1b[".len() + length + 1)
}

fn may_become_colour(text: &str) -> bool {
    let parameters = text.strip_prefix("\x1b[").or_else(|| text.strip_prefix('\x1b'));
    parameters.is_some_and(|rest| rest.len() < SEQUENCE_MOST && rest.bytes().all(is_parameter))
}

fn is_parameter(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b';'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the same comes out.
    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        for size in 1..=bytes.len().max(1) {
            let mut tame = Tame::default();
            let mut text: String = bytes.chunks(size).map(|piece| tame.feed(piece)).collect();
            text.push_str(&tame.end());
            assert_eq!(text, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn lines_tabs_colours_and_words_pass() {
        check(b"", "");
        check("cc\tmain.c: \u{201a}x\u{2018} größer\n".as_bytes(), "cc\tmain.c: \u{201a}x\u{2018} größer\n");
        check(b"\x1b[1;31merror\x1b[0m: no\n\x1b[m", "\x1b[1;31merror\x1b[0m: no\n\x1b[m");
    }

    #[test]
    fn a_colour_does_not_outlast_the_output() {
        check(b"\x1b[0m\x1b[31mred", "\x1b[0m\x1b[31mred\x1b[0m");
    }

    #[test]
    fn nothing_else_acts_on_the_terminal() {
        check(b"\x1b[2J\x1b[1;1Hgone", "\\u{1b}[2J\\u{1b}[1;1Hgone");
        check(b"\x1b]0;title\x07\x1bc", "\\u{1b}]0;title\\u{7}\\u{1b}c");
        check(b"\x1b[?31m\x1b\x1b[31m\x1b[0m", "\\u{1b}[?31m\\u{1b}\x1b[31m\x1b[0m");
        check(b"50%\r100%\r\n\x08\x00\x7f", "50%\\u{d}100%\\u{d}\n\\u{8}\\u{0}\\u{7f}");
        // C1 controls, as characters and as bytes; the override of the direction of writing.
        check("\u{9b}2J\u{202e}".as_bytes(), "\\u{9b}2J\\u{202e}");
        check(b"\x9b2J \xff", "\\x9b2J \\xff");
    }

    #[test]
    fn what_ends_too_early_is_text() {
        check(b"\x1b", "\\u{1b}");
        check(b"\x1b[31", "\\u{1b}[31");
        check(b"\xe2\x80", "\\xe2\\x80");
        let endless = [b"\x1b[".as_slice(), &[b'1'; 200], b"m"].concat();
        check(&endless, &format!("\\u{{1b}}[{}m", "1".repeat(200)));
    }
}
