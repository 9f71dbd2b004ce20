//! The words without which a pattern cannot match.
//!
//! Owns: finding them, so that a search for words decides which lines any pattern is tried on. Does not know:
//! rules, lines.

use std::collections::BTreeSet;

use regex_syntax::hir::{Class, Hir, HirKind};

/// How a line is normalised before patterns see it: every quote is this. The words are searched in what was
/// printed, so none of them goes across one.
pub(super) const QUOTE: u8 = b'`';

/// Of alternatives, so many are told apart; beyond that, only what stands before and after them counts.
const ALTERNATIVES_MOST: usize = 12;
/// Of a class of characters, likewise.
const LETTERS_MOST: usize = 4;

/// Words (upper and lower case are the same) of which at least one is in every line that matches; `None`: no such
/// words are known.
pub(super) fn required(pattern: &Hir) -> Option<Vec<Vec<u8>>> {
    match pattern.kind() {
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Alternation(branches) => {
            let mut words = Vec::new();
            for branch in branches {
                words.extend(required(branch)?);
            }
            Some(words)
        }
        HirKind::Class(class) => Some(letters(class)?.into_iter().map(|letter| vec![letter]).collect()),
        HirKind::Literal(_) | HirKind::Concat(_) => {
            let mut sequence = Sequence { runs: vec![Vec::new()], best: None };
            sequence.push(pattern);
            sequence.end_run();
            sequence.best
        }
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// What stands one after the other: the longest words win, since the fewest lines have them, but for common words.
struct Sequence {
    /// What the part so far that nothing interrupts may be.
    runs: Vec<Vec<u8>>,
    best: Option<Vec<Vec<u8>>>,
}

impl Sequence {
    fn push(&mut self, part: &Hir) {
        if let HirKind::Concat(parts) = part.kind() {
            return parts.iter().for_each(|part| self.push(part));
        }
        if let HirKind::Literal(literal) = part.kind()
            && literal.0.contains(&QUOTE)
        {
            for (index, piece) in literal.0.split(|byte| *byte == QUOTE).enumerate() {
                if index > 0 {
                    self.end_run();
                }
                self.runs = product(&self.runs, &[piece.to_ascii_lowercase()]);
            }
            return;
        }
        match exact(part) {
            Some(texts) if texts.len() * self.runs.len() <= ALTERNATIVES_MOST => {
                self.runs = product(&self.runs, &texts);
            }
            exact => {
                self.end_run();
                self.offer(exact.or_else(|| required(part)));
            }
        }
    }

    fn end_run(&mut self) {
        let runs = std::mem::replace(&mut self.runs, vec![Vec::new()]);
        self.offer(Some(runs));
    }

    fn offer(&mut self, words: Option<Vec<Vec<u8>>>) {
        let worst = |words: &Vec<Vec<u8>>| words.iter().map(|word| worth(word)).min();
        if words.as_ref().and_then(worst).is_some_and(|worst| worst > 0)
            && words.as_ref().and_then(worst) > self.best.as_ref().and_then(worst)
        {
            self.best = words;
        }
    }
}

/// All texts that a part of a pattern matches, if they are few.
fn exact(part: &Hir) -> Option<Vec<Vec<u8>>> {
    let texts = match part.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![Vec::new()],
        HirKind::Literal(literal) if literal.0.contains(&QUOTE) => return None,
        HirKind::Literal(literal) => vec![literal.0.to_ascii_lowercase()],
        HirKind::Class(class) => letters(class)?.into_iter().map(|letter| vec![letter]).collect(),
        HirKind::Capture(capture) => exact(&capture.sub)?,
        HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
            [exact(&repetition.sub)?, vec![Vec::new()]].concat()
        }
        HirKind::Repetition(_) => return None,
        HirKind::Concat(parts) => {
            let mut texts = vec![Vec::new()];
            for part in parts {
                texts = product(&texts, &exact(part)?);
            }
            texts
        }
        HirKind::Alternation(branches) => branches.iter().map(exact).collect::<Option<Vec<_>>>()?.concat(),
    };
    (texts.len() <= ALTERNATIVES_MOST).then_some(texts)
}

fn product(before: &[Vec<u8>], after: &[Vec<u8>]) -> Vec<Vec<u8>> {
    before.iter().flat_map(|first| after.iter().map(move |second| [&first[..], second].concat())).collect()
}

/// Words that are on many lines of builds in which nothing goes wrong.
const COMMON: [&str; 44] = [
    "build",
    "building",
    "check",
    "checking",
    "command",
    "compile",
    "compiler",
    "config",
    "configure",
    "depend",
    "directory",
    "error",
    "file",
    "found",
    "function",
    "header",
    "image",
    "import",
    "include",
    "install",
    "job",
    "kernel",
    "library",
    "link",
    "linking",
    "make",
    "makefile",
    "module",
    "not",
    "option",
    "package",
    "process",
    "program",
    "python",
    "script",
    "source",
    "support",
    "target",
    "test",
    "tests",
    "tool",
    "type",
    "version",
    "warning",
];

/// So much of a word is searched for: it hits hardly more lines than the whole, and the search takes less memory.
const SEARCHED_BYTES: usize = 10;

/// The part of a word that is searched for.
pub(super) fn cut(mut word: Vec<u8>) -> Vec<u8> {
    let short = &word[..word.len().min(SEARCHED_BYTES)];
    if worth(short) > 1 {
        word.truncate(SEARCHED_BYTES);
    }
    word
}

/// How good a word is to search for.
pub(super) fn worth(word: &[u8]) -> usize {
    let common = COMMON.iter().any(|common| common.as_bytes() == word.trim_ascii());
    if common { 1 } else { word.len() }
}

/// The letters of a class, if they are few: `[Aa]` is what `(?i)` makes of an `a`, and `[ab]` what `a|b` becomes.
fn letters(class: &Class) -> Option<Vec<u8>> {
    let mut class = class.clone();
    // Alternatives of one character each become a class of characters.
    if let Class::Unicode(characters) = &class {
        class = Class::Bytes(characters.to_byte_class()?);
    }
    let Class::Bytes(class) = class else { return None };
    let all = class.ranges().iter().flat_map(|range| range.start()..=range.end());
    let letters: BTreeSet<u8> = all.map(|letter| letter.to_ascii_lowercase()).collect();
    (letters.len() <= LETTERS_MOST && !letters.contains(&QUOTE)).then(|| letters.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, expected: Option<&[&str]>) {
        let hir =
            regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).unwrap();
        let words = required(&hir).map(|words| {
            let mut words: Vec<_> = words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect();
            words.sort();
            words
        });
        let expected = expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words, expected, "{pattern}");
    }

    #[test]
    fn the_longest_word_that_cannot_be_missing_is_taken() {
        check("fatal error: .*: No such file", Some(&[": no such file"]));
        check(r"^error\[E\d{4}\]: x", Some(&["error[e"]));
        check("(?i)Out of Memory", Some(&["out of memory"]));
        check("x(ab|cde)?f", Some(&["xabf", "xcdef", "xf"]));
        check("(gcc|clang): error", Some(&["clang: error", "gcc: error"]));
        check(r"(\d+|clang): error", Some(&[": error"]));
        check("x(=|: )137", Some(&["x: 137", "x=137"]));
        check(
            "(?i)(returned|exited|error)(=| )137",
            Some(&["error 137", "error=137", "exited 137", "exited=137", "returned 137", "returned=137"]),
        );
        check("abc(def)+", Some(&["abc"]));
        check("a`bcd`ef", Some(&["bcd"]));
        check("warning .* unset", Some(&[" unset"]));
    }

    #[test]
    fn what_may_be_missing_is_no_such_word() {
        check("(abc)?", None);
        check("abc|.*", None);
        check(r"\d+", None);
        check("x*", None);
    }
}
