//! The texts that a definition was read from.
//!
//! Owns: each file's name and text, its lines, and turning a diagnostic into what can be shown.
//! Does not know: how it is laid out (see `render`).

use std::ops::Range;
use std::sync::OnceLock;

use super::diagnostic::{Diagnostic, FileId, Place, Severity, Spot};
use super::place;
use super::tree::Tree;

/// All files of a definition, by [`FileId`].
#[derive(Debug, Default)]
pub struct Files {
    files: Vec<File>,
}

/// A file's name and text.
#[derive(Debug)]
pub struct File {
    /// As the user would name it.
    pub name: String,
    /// Without a byte order mark; what is not UTF-8 is replaced. Empty when it could not be read.
    pub text: String,
    /// Whether there is a text at all.
    pub readable: bool,
    tree: OnceLock<Tree>,
    lines: OnceLock<Vec<usize>>,
}

/// A place as people count: both from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// A diagnostic with everything that is needed to show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The file's name; `None` for what is in no file.
    pub file: Option<String>,
    /// Where; `None` for a file as a whole.
    pub position: Option<Position>,
    /// Whether it can be run all the same.
    pub severity: Severity,
    /// Stable, for machines.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The line, without its line break.
    pub source_line: Option<String>,
    /// The characters of `source_line` to underline; at least one position, maybe just after the end.
    pub underline: Range<usize>,
}

impl Files {
    /// Adds a file that could be read.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        self.push(name.into(), text.into(), true)
    }

    /// Adds a file that could not.
    pub fn add_unreadable(&mut self, name: impl Into<String>) -> FileId {
        self.push(name.into(), String::new(), false)
    }

    pub(super) fn push(&mut self, name: String, text: String, readable: bool) -> FileId {
        // More than 2^32 files fit in no directory that could be read.
        let id = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.files.push(File::new(name, text, readable));
        FileId(id)
    }

    /// The file. Panics for an id of other `Files`.
    pub fn get(&self, id: FileId) -> &File {
        &self.files[id.0 as usize]
    }

    /// Line and column of a place.
    pub fn position(&self, place: &Place) -> Option<Position> {
        let file = self.get(place.file);
        place::find(file.tree(), place).map(|span| file.position(span.start))
    }

    /// `FILE:LINE:COLUMN` of a spot.
    pub fn locate(&self, spot: &Spot) -> String {
        let (file, span) = self.span(spot);
        match span {
            Some(span) => {
                let Position { line, column } = self.get(file).position(span.start);
                format!("{}:{line}:{column}", self.get(file).name)
            }
            None => self.get(file).name.clone(),
        }
    }

    /// Whether the place is in the file, all of its path.
    pub(super) fn find(&self, place: &Place) -> bool {
        place::exists(self.get(place.file).tree(), place)
    }

    /// Everything that is needed to show a diagnostic.
    pub fn render(&self, diagnostic: &Diagnostic) -> Rendered {
        let mut rendered = Rendered {
            file: None,
            position: None,
            severity: diagnostic.severity,
            code: diagnostic.code,
            message: diagnostic.message.clone(),
            hint: diagnostic.hint.clone(),
            source_line: None,
            underline: 0..0,
        };
        let Some(spot) = &diagnostic.spot else { return rendered };
        let (file, span) = self.span(spot);
        let file = self.get(file);
        rendered.file = Some(file.name.clone());
        if let Some(span) = span {
            let position = file.position(span.start);
            let (line, start) = file.line(position.line);
            let from = position.column - 1;
            let to = characters(line.trim_end(), span.end.saturating_sub(start)).max(from + 1);
            rendered.position = Some(position);
            rendered.underline = from..to;
            rendered.source_line = Some(line.to_owned());
        }
        rendered
    }

    /// All of them, sorted by file, line and column; the same thing at the same place is said once.
    pub fn render_all(&self, diagnostics: &[Diagnostic]) -> Vec<Rendered> {
        let mut all: Vec<_> = diagnostics
            .iter()
            .map(|diagnostic| {
                let file = diagnostic.spot.as_ref().map(|spot| self.span(spot).0);
                (file.is_none(), file, self.render(diagnostic))
            })
            .collect();
        // Stable: problems of one place stay in the order in which they were found.
        all.sort_by_key(|(nowhere, file, rendered)| (*nowhere, *file, rendered.position));
        let mut all: Vec<_> = all.into_iter().map(|(_, _, rendered)| rendered).collect();
        all.dedup();
        all
    }

    /// The characters that a spot is about; `None` for a whole file.
    fn span(&self, spot: &Spot) -> (FileId, Option<Range<usize>>) {
        match spot {
            Spot::Node(place) => {
                // A tree that ends early (the two parsers disagree) leaves the file's first character.
                let span = place::find(self.get(place.file).tree(), place).unwrap_or(0..0);
                (place.file, Some(span))
            }
            Spot::Text(file, span) => (*file, Some(span.clone())),
            Spot::File(file) => (*file, None),
        }
    }
}

impl File {
    pub(super) fn new(name: String, text: String, readable: bool) -> Self {
        Self { name, text, readable, tree: OnceLock::new(), lines: OnceLock::new() }
    }

    /// Its nodes, parsed at the first use.
    pub fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| Tree::parse(&self.text))
    }

    /// Line and column of a byte; past the end, that of the end.
    pub fn position(&self, byte: usize) -> Position {
        let line = self.lines().partition_point(|start| *start <= byte).max(1);
        let (text, start) = self.line(line);
        Position { line, column: characters(text, byte.saturating_sub(start)) + 1 }
    }

    /// The byte of a line and column from 1; past the line's end, its end.
    pub fn byte(&self, line: usize, column: usize) -> usize {
        let (text, start) = self.line(line.max(1));
        start + text.char_indices().nth(column.max(1) - 1).map_or(text.len(), |(byte, _)| byte)
    }

    /// The line with this number, from 1, without its break, and its first byte.
    fn line(&self, number: usize) -> (&str, usize) {
        let lines = self.lines();
        let Some(&start) = lines.get(number - 1) else { return ("", self.text.len()) };
        let end = lines.get(number).copied().unwrap_or(self.text.len());
        (self.text[start..end].trim_end_matches(['\n', '\r']), start)
    }

    /// The first byte of each line. Breaks are LF, CRLF and CR, as in YAML.
    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let bytes = self.text.as_bytes();
            let ends =
                |i: &usize| bytes[*i] == b'\n' || (bytes[*i] == b'\r' && bytes.get(i + 1) != Some(&b'\n'));
            std::iter::once(0).chain((0..bytes.len()).filter(ends).map(|i| i + 1)).collect()
        })
    }
}

/// Characters that begin before this byte.
fn characters(text: &str, byte: usize) -> usize {
    text.char_indices().take_while(|(start, _)| *start < byte).count()
}

#[cfg(test)]
mod tests;
