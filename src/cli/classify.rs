//! `kiln classify`: why a build failed, from any tool's log.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Exit, output};
use crate::failure::classify::{Case, End};
use crate::failure::output::Output;
use crate::failure::{Category, Class, Confidence, Evidence, Failure, line};

/// So many lines above and below the evidence are shown.
const AROUND: u64 = 2;

/// So much of a line is kept: more is not shown.
const KEPT_BYTES: usize = 4 * line::SHOWN_MOST;

/// Arguments.
#[derive(Debug, Args)]
pub(super) struct Classify {
    /// What a build printed [default: standard input]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The exit status that it ended with
    #[arg(long, value_name = "N", conflicts_with = "signal")]
    exit: Option<i32>,
    /// The signal that ended it
    #[arg(long, value_name = "N")]
    signal: Option<i32>,
    /// Answer in JSON, a line for each FILE in their order:
    /// `{"category", "class", "confidence", "evidence": {"source", "line", "text"}, "hint"}`, each of them null where nothing failed
    #[arg(long)]
    json: bool,
}

/// A failure, as `--json` shows it; without one, all is null.
#[derive(Debug, Default, Serialize)]
struct Answer<'a> {
    category: Option<Category>,
    class: Option<Class>,
    confidence: Option<Confidence>,
    evidence: Option<Shown<'a>>,
    hint: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    source: &'a str,
    line: Option<u64>,
    text: &'a str,
}

impl Classify {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let mut exit = Exit::Completed;
        if self.files.is_empty() {
            // Read twice: for its cause, and for what stands around it.
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes)?;
            self.answer(None, || Ok(bytes.as_slice()))?;
        }
        for file in &self.files {
            let answered = match contents(file) {
                Ok(None) => self.answer(Some(file), || File::open(file)),
                Ok(Some(bytes)) => self.answer(Some(file), || Ok(bytes.as_slice())),
                Err(error) => Err(error),
            };
            if let Err(error) = answered {
                output::say(&format!("kiln: cannot read {}: {error}", file.display()));
                exit = Exit::Usage;
            }
        }
        Ok(exit)
    }

    fn answer<R: Read>(&self, name: Option<&Path>, open: impl Fn() -> io::Result<R>) -> io::Result<()> {
        let end = match (self.exit, self.signal) {
            (Some(status), _) => End::Status(status),
            (None, Some(signal)) => End::Signal(signal),
            (None, None) => End::Unknown,
        };
        let case = Case { kind: None, facts: &[], end };
        let failure = case.classify(Output::read_from(open()?)?);
        if self.json {
            let answer = failure.as_ref().map(Answer::of).unwrap_or_default();
            output::answer(&format!("{}\n", serde_json::to_string(&answer)?));
            return Ok(());
        }
        let mut text = name.map(|name| format!("{}: ", name.display())).unwrap_or_default();
        match failure {
            None => text.push_str("nothing failed\n"),
            Some(failure) => {
                let around = match failure.evidence.line {
                    Some(number) => lines_around(BufReader::new(open()?), number)?,
                    None => Vec::new(),
                };
                text.push_str(&explain(&failure, &around));
            }
        }
        output::answer(&text);
        Ok(())
    }
}

impl<'a> Answer<'a> {
    fn of(failure: &'a Failure) -> Self {
        let Evidence { source, line, text } = &failure.evidence;
        Self {
            category: Some(failure.category),
            class: Some(failure.category.class()),
            confidence: Some(failure.confidence),
            evidence: Some(Shown { source, line: *line, text }),
            hint: failure.hint.as_deref(),
        }
    }
}

fn explain(failure: &Failure, around: &[(u64, String)]) -> String {
    let confidence = failure.confidence.name();
    let class = failure.category.class().name();
    let mut text = format!("{} ({class}), confidence {confidence}\n", failure.category.name());
    let evidence = &failure.evidence;
    let quoted = around.iter().any(|(number, line)| evidence.line == Some(*number) && *line == evidence.text);
    if !quoted {
        text.push_str(&format!("  {}\n", evidence.text));
    }
    let width = around.last().map_or(0, |(number, _)| number.to_string().len());
    for (number, line) in around {
        let mark = if evidence.line == Some(*number) { '>' } else { ' ' };
        text.push_str(format!("{mark} {number:width$} | {line}").trim_end());
        text.push('\n');
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}

/// What cannot be read a second time.
fn contents(file: &Path) -> io::Result<Option<Vec<u8>>> {
    if file.metadata()?.is_file() { Ok(None) } else { std::fs::read(file).map(Some) }
}

/// A line and its neighbours, with their numbers. Of a line, only its beginning is kept.
pub(super) fn lines_around(mut from: impl BufRead, number: u64) -> io::Result<Vec<(u64, String)>> {
    let wanted = number.saturating_sub(AROUND)..=number + AROUND;
    let mut lines = Vec::new();
    let mut current = 1;
    let mut kept = Vec::new();
    while current <= *wanted.end() {
        let read = from.fill_buf()?;
        if read.is_empty() {
            break;
        }
        let end = read.iter().position(|byte| *byte == b'\n');
        let piece = &read[..end.unwrap_or(read.len())];
        if wanted.contains(&current) {
            let room = KEPT_BYTES.saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        let taken = piece.len() + usize::from(end.is_some());
        from.consume(taken);
        if end.is_some() {
            if wanted.contains(&current) {
                lines.push((current, line::shown(&kept)));
                kept.clear();
            }
            current += 1;
        }
    }
    if !kept.is_empty() {
        lines.push((current, line::shown(&kept)));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
