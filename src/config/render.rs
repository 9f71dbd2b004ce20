//! Diagnostics as text and as JSON.
//!
//! Owns: the layout. Does not know: where anything was found.

use std::fmt::Write as _;

use serde::Serialize;
use unicode_width::UnicodeWidthChar;

use super::diagnostic::Severity;
use super::files::{Position, Rendered};

/// Columns that a tab is shown as.
const TAB: &str = "    ";

/// `kiln check --json`.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// Whether there is no error.
    pub ok: bool,
    /// Sorted by file, line and column.
    pub diagnostics: Vec<Entry<'a>>,
}

/// A diagnostic in [`Report`].
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    severity: &'static str,
    code: &'a str,
    message: &'a str,
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    hint: Option<&'a str>,
}

/// For machines.
pub fn report(diagnostics: &[Rendered]) -> Report<'_> {
    let ok = diagnostics.iter().all(|rendered| rendered.severity != Severity::Error);
    Report { ok, diagnostics: diagnostics.iter().map(entry).collect() }
}

fn entry(rendered: &Rendered) -> Entry<'_> {
    Entry {
        severity: severity(rendered.severity),
        code: rendered.code,
        message: &rendered.message,
        file: rendered.file.as_deref(),
        line: rendered.position.map(|position| position.line),
        column: rendered.position.map(|position| position.column),
        hint: rendered.hint.as_deref(),
    }
}

/// For people: `FILE:LINE:COLUMN: error[CODE]: MESSAGE`, the line with the text underlined, the hint.
pub fn text(diagnostics: &[Rendered], colour: bool) -> String {
    diagnostics.iter().map(|rendered| one(rendered, colour)).collect::<Vec<_>>().join("\n")
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn one(rendered: &Rendered, colour: bool) -> String {
    let (strong, mark, plain) = match (colour, rendered.severity) {
        (false, _) => ("", "", ""),
        (true, Severity::Error) => ("\x1b[1m", "\x1b[1;31m", "\x1b[0m"),
        (true, Severity::Warning) => ("\x1b[1m", "\x1b[1;33m", "\x1b[0m"),
    };
    let mut out = String::new();
    if let Some(file) = &rendered.file {
        let _ = write!(out, "{strong}{}:", escape(file));
        if let Some(Position { line, column }) = rendered.position {
            let _ = write!(out, "{line}:{column}:");
        }
        let _ = write!(out, "{plain} ");
    }
    let kind = severity(rendered.severity);
    let _ =
        writeln!(out, "{mark}{kind}[{}]{plain}: {strong}{}{plain}", rendered.code, escape(&rendered.message));
    let mut margin = 1;
    if let (Some(line), Some(position)) = (&rendered.source_line, rendered.position) {
        let number = position.line.to_string();
        margin = number.len();
        let cells: Vec<String> = line.chars().map(cell).collect();
        let width = |cells: &[String]| cells.iter().map(|cell| columns(cell)).sum::<usize>();
        let from = rendered.underline.start.min(cells.len());
        let to = rendered.underline.end.min(cells.len()).max(from);
        let shown = window(&cells, from);
        let before = " ".repeat(width(&cells[shown.start..from]) + usize::from(shown.start > 0));
        let under = "^".repeat(width(&cells[from..to.min(shown.end).max(from)]).max(1));
        let cut = |cut: bool| if cut { "…" } else { "" };
        let source = format!(
            "{}{}{}",
            cut(shown.start > 0),
            cells[shown.clone()].concat(),
            cut(shown.end < cells.len())
        );
        let _ = writeln!(out, " {number} | {}", source.trim_end());
        let _ = writeln!(out, " {} | {before}{mark}{under}{plain}", " ".repeat(margin));
    }
    if let Some(hint) = &rendered.hint {
        let _ = writeln!(out, " {} = hint: {}", " ".repeat(margin), escape(hint));
    }
    out
}

/// A long line is shown around the underlined text only.
fn window(cells: &[String], from: usize) -> std::ops::Range<usize> {
    const BEFORE: usize = 60;
    const MAX: usize = 160;
    if cells.len() <= MAX {
        return 0..cells.len();
    }
    let start = if from + BEFORE < MAX { 0 } else { from - BEFORE };
    start..(start + MAX).min(cells.len())
}

/// A character as it is shown.
fn cell(c: char) -> String {
    if c == '\t' {
        return TAB.to_owned();
    }
    let mut text = String::new();
    push_visible(&mut text, c);
    text
}

/// Adds a character to what is shown: nothing from a file may control a terminal.
pub fn push_visible(text: &mut String, c: char) {
    if c.is_control() || is_format(c) {
        text.extend(c.escape_unicode());
    } else {
        text.push(c);
    }
}

fn escape(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { "\\n".to_owned() } else { cell(c) }).collect()
}

/// Characters that change how others are shown: directions, joiners, marks.
pub(crate) fn is_format(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

#[cfg(test)]
mod tests;
