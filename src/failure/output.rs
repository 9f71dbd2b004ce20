//! What a task printed, read once from its first byte to its last.
//!
//! Owns: lines and their numbers, which of them mean anything. Does not know: where the bytes come from, what follows
//! from what was found (`classify`). Memory is bounded whatever comes, lines of gigabytes and of no bytes included.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::ops::Range;

use super::line::{self, Line};
use super::rules::{Mark, Means, Pattern, RULES, Rules};

/// So much is searched at once: the caches hold it.
const BLOCK_BYTES: usize = 256 * 1024;
/// So much of what was searched is kept, for what stands above a line and for the end.
const KEPT_BYTES: usize = 16 * 1024;
/// Of a longer line, patterns see so much before and after a word.
const AROUND_BYTES: usize = 2 * 1024;
/// How far above a line its parent is looked for.
const PARENT_LINES_MOST: usize = 25;
/// So many finds of one pattern are kept from the beginning, and as many from the end.
const FINDS_MOST: usize = 32;
/// So many lines that say that something failed are kept.
const ENDINGS_MOST: usize = 10_000;

const ENDING: Means = Means::Mark(Mark::Ending);

/// A line that means something.
#[derive(Debug, Clone)]
pub(super) struct Find {
    /// From 1.
    pub(super) line: u64,
    /// Which says why.
    pub(super) pattern: usize,
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

/// Takes in an output piece by piece.
#[derive(Debug)]
pub struct Output {
    rules: &'static Rules,
    /// So much is searched at once.
    block_bytes: usize,
    /// Bytes that were searched, then bytes that were not.
    buffer: Vec<u8>,
    searched: usize,
    /// The number of the line in which what was not searched begins.
    line: u64,
    finds: BTreeMap<usize, Ends>,
    pub(super) endings: Vec<Find>,
    pub(super) success: Option<u64>,
    /// The last line with anything in it.
    pub(super) last: Option<(u64, String)>,
    /// The last lines and the number of the first of them.
    pub(super) tail: (u64, Vec<Vec<u8>>),
    /// Of each of them, how many lines from it on are of a tool at work. Asking is dear, and many finds ask.
    work: OnceCell<Vec<usize>>,
}

#[derive(Debug, Default)]
struct Ends {
    first: Vec<Find>,
    last: VecDeque<Find>,
}

impl Default for Output {
    fn default() -> Self {
        Self::in_blocks(BLOCK_BYTES)
    }
}

impl Output {
    fn in_blocks(block_bytes: usize) -> Self {
        Self {
            rules: &RULES,
            block_bytes,
            buffer: Vec::new(),
            searched: 0,
            line: 1,
            finds: BTreeMap::new(),
            endings: Vec::new(),
            success: None,
            last: None,
            tail: (1, Vec::new()),
            work: OnceCell::new(),
        }
    }

    /// All that a reader gives.
    pub fn read_from(mut reader: impl Read) -> io::Result<Self> {
        let mut output = Self::default();
        let mut piece = vec![0; output.block_bytes];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(output),
                Ok(length) => output.feed(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.block_bytes) {
            self.buffer.extend_from_slice(piece);
            let new = self.buffer.len() - self.searched;
            if new >= self.block_bytes {
                let end = self.buffer[self.searched..].iter().rposition(|byte| *byte == b'\n');
                // A line without end is searched in pieces.
                self.search(self.searched + end.map_or(new, |at| at + 1));
            }
        }
    }

    /// There is no more.
    pub(super) fn end(&mut self) {
        self.search(self.buffer.len());
        let lines: Vec<&[u8]> = self.buffer.split(|byte| *byte == b'\n').collect();
        self.tail =
            (self.line + 1 - lines.len() as u64, lines.iter().map(|line| Line::new(line).text).collect());
    }

    /// All finds that are kept, by line.
    pub(super) fn finds(&self) -> Vec<&Find> {
        let mut finds: Vec<&Find> =
            self.finds.values().flat_map(|ends| ends.first.iter().chain(&ends.last)).collect();
        finds.sort_by_key(|find| (find.line, find.pattern));
        finds
    }

    pub(super) fn means(&self, find: &Find) -> Means {
        self.rules.rule(find.pattern).means
    }

    /// How many of the last lines, below this one, are of a tool at work.
    pub(super) fn work_below(&self, line: u64) -> usize {
        let (first, lines) = &self.tail;
        let work = self.work.get_or_init(|| {
            let mut count = 0;
            let from_end = lines.iter().rev().map(|line| {
                count += usize::from(self.rules.is(Mark::Work, line));
                count
            });
            let mut counts: Vec<usize> = from_end.collect();
            counts.reverse();
            counts
        });
        let below = usize::try_from((line + 1).saturating_sub(*first)).unwrap_or(usize::MAX);
        work.get(below).copied().unwrap_or(0)
    }

    pub(super) fn is_generic(&self, find: &Find) -> bool {
        self.rules.rule(find.pattern).generic
    }

    pub(super) fn is_heading(&self, find: &Find) -> bool {
        self.rules.rule(find.pattern).heading
    }

    pub(super) fn is_warning(&self, find: &Find) -> bool {
        self.rules.rule(find.pattern).warning
    }

    pub(super) fn weight(&self, find: &Find) -> u8 {
        self.rules.rule(find.pattern).weight()
    }

    fn search(&mut self, end: usize) {
        let end = self.plain(end);
        let bytes = &self.buffer[..end];
        let mut lines: Vec<(Range<usize>, Vec<usize>)> = Vec::new();
        for (at, word) in self.rules.words(&bytes[self.searched..]) {
            let at = self.searched + at;
            let patterns = self.rules.of_word(word);
            match lines.last_mut() {
                Some((span, of_line)) if at <= span.end => of_line.extend(patterns),
                _ => lines.push((span_of(bytes, at), patterns.to_vec())),
            }
        }
        let mut counted = self.searched;
        for (span, patterns) in lines {
            // A long line may begin in what was searched before.
            let start = span.start.max(counted);
            self.line += newlines(&self.buffer[counted..start]);
            counted = start;
            self.look(self.line, span, patterns);
        }
        self.line += newlines(&self.buffer[counted..end]);
        self.remember_last(end);
        self.searched = end;
        let forgotten = end.saturating_sub(KEPT_BYTES);
        self.buffer.drain(..forgotten);
        self.searched -= forgotten;
    }

    /// Takes escapes out of what is to be searched, and returns where that ends then.
    fn plain(&mut self, end: usize) -> usize {
        if !self.buffer[self.searched..end].contains(&0x1b) {
            return end;
        }
        let plain = line::without_escapes(&self.buffer[self.searched..end]);
        let after = self.searched + plain.len();
        self.buffer.splice(self.searched..end, plain);
        after
    }

    /// Tries the patterns on a line that has a word of each.
    fn look(&mut self, number: u64, span: Range<usize>, mut patterns: Vec<usize>) {
        patterns.sort_unstable();
        patterns.dedup();
        let line = Line::new(&self.buffer[span.clone()]);
        let mut parent = None;
        patterns.retain(|pattern| {
            if !self.rules.patterns[*pattern].regex().is_match(&line.text) {
                return false;
            }
            let rule = self.rules.rule(*pattern);
            if rule.asks_parent() {
                let above = parent.get_or_insert_with(|| parent_of(&self.buffer[..span.start], line.indent));
                return rule.fits_under(above.as_deref());
            }
            true
        });
        self.give_way(&mut patterns);
        let is_success = |pattern: &usize| self.rules.rule(*pattern).means == Means::Mark(Mark::Success);
        if patterns.iter().any(is_success) {
            self.success = Some(number);
            return;
        }
        // Asked last: few lines come so far.
        if patterns.is_empty() || self.rules.is(Mark::Noise, &line.text) {
            return;
        }
        for pattern in patterns {
            let rule = self.rules.rule(pattern);
            let hint = rule.hint.as_ref().map(|hint| expand(&self.rules.patterns[pattern], hint, &line.text));
            let find = Find { line: number, pattern, text: line::shown(&self.buffer[span.clone()]), hint };
            if rule.means == ENDING {
                if self.endings.len() >= ENDINGS_MOST {
                    self.endings.pop();
                }
                self.endings.push(find);
            } else {
                self.finds.entry(pattern).or_default().push(find);
            }
        }
    }

    /// Generic rules give way to what says more on the same line. That something failed before says no more than what
    /// failed there, but as much as a failure that fits no category.
    fn give_way(&self, patterns: &mut Vec<usize>) {
        let rule = |pattern: &usize| self.rules.rule(*pattern);
        let says_more = |pattern: &usize| !rule(pattern).generic && rule(pattern).means != ENDING;
        let ends = patterns.iter().any(|pattern| rule(pattern).means == ENDING);
        let any_says_more = patterns.iter().any(says_more);
        patterns.retain(|pattern| {
            let rule = rule(pattern);
            !rule.generic || !(any_says_more || ends && rule.means == Means::Mark(Mark::Other))
        });
    }

    fn remember_last(&mut self, end: usize) {
        let new = &self.buffer[self.searched..end];
        let Some(at) = new.iter().rposition(|byte| !byte.is_ascii_whitespace()) else { return };
        let start = new[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let text = line::shown(&new[start.max(at.saturating_sub(AROUND_BYTES))..=at]);
        self.last = Some((self.line - newlines(&new[at..]), text));
    }
}

impl Ends {
    fn push(&mut self, find: Find) {
        if self.first.len() < FINDS_MOST {
            self.first.push(find);
            return;
        }
        if self.last.len() == FINDS_MOST {
            self.last.pop_front();
        }
        self.last.push_back(find);
    }
}

/// The line in which a word ends, or as much of it as patterns see. A carriage return begins a new one: it is what
/// progress bars are made of.
fn span_of(bytes: &[u8], word_end: usize) -> Range<usize> {
    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let from = word_end.saturating_sub(AROUND_BYTES);
    let to = bytes.len().min(word_end + AROUND_BYTES);
    let start = bytes[from..word_end].iter().rposition(ends).map_or(from, |at| from + at + 1);
    let end = bytes[word_end..to].iter().position(ends).map_or(to, |at| word_end + at);
    start..end
}

/// The nearest line above that is indented less, and has anything in it.
fn parent_of(above: &[u8], indent: usize) -> Option<Vec<u8>> {
    let above = above.strip_suffix(b"\n").unwrap_or(above);
    let lines = above.rsplit(|byte| *byte == b'\n').take(PARENT_LINES_MOST).map(Line::new);
    let mut lines = lines;
    lines.find(|line| line.indent < indent && !line.text.is_empty()).map(|line| line.text)
}

fn expand(pattern: &Pattern, hint: &str, text: &[u8]) -> String {
    let Some(captures) = pattern.regex().captures(text) else { return hint.to_owned() };
    let named = captures.iter().skip(1).flatten().next();
    let name = named.map(|name| String::from_utf8_lossy(name.as_bytes()).trim().to_owned());
    match name {
        Some(name) if !name.is_empty() => hint.replace("$1", &name),
        // `the library `$1`` without a name is just the library.
        _ => hint.replace(" `$1`", ""),
    }
}

#[expect(clippy::naive_bytecount, reason = "the compiler makes it fast, and a crate more is not needed")]
fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests;
