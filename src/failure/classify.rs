//! From evidence to a category.
//!
//! Owns: how evidence is weighed. Does not know: where it comes from; what tools print (`rules`).
//!
//! Facts of the kernel outrank what was printed. Of what was printed, the heaviest kind that is near an ending counts
//! (a full disk is why the compiler failed, not the other way round), and of several of a kind the first: the later ones
//! follow from it. What was overcome (much went on after it, or it ended well) counts less.

use super::fact::Fact;
use super::output::{Find, Output};
use super::rules::{Mark, Means};
use super::{Category, Confidence, Evidence, Failure};
use crate::plan::TaskKind;

/// How a task or a tool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this exit status.
    Status(i32),
    /// By this signal, which kiln did not send.
    Signal(i32),
    /// It failed, but how is lost.
    Lost,
    /// It is not known, nor whether it failed.
    Unknown,
}

/// Everything that is known of one attempt.
#[derive(Debug)]
pub struct Case<'a> {
    /// What kind of task it was, if it was one.
    pub kind: Option<TaskKind>,
    /// What kiln and the kernel saw.
    pub facts: &'a [Fact],
    /// How it ended.
    pub end: End,
}

/// A find this much lighter than the heaviest is of the same kind.
const KIND_SPAN: i32 = 10;
/// Two finds this near to each other are about the same thing.
const NEAR_LINES: u64 = 8;
/// So far below a heading there may be what it is about.
const BELOW_HEADING_LINES: u64 = 30;
/// An ending this far from a find is not its ending.
const FAR_LINES: u64 = 200;
/// So many lines of work after a find, and it was overcome.
const WORK_LINES: usize = 4;
/// How much less counts what was overcome.
const OVERCOME: i32 = 65;
/// What counts less is by itself no sign that anything failed, unless it says so or stands last.
const ALONE_LEAST: i32 = 30;

const OUTPUT: &str = "output";
const EXIT: &str = "exit";

impl Case<'_> {
    /// Explains a failure; `None`: nothing failed.
    pub fn classify(&self, mut output: Output) -> Option<Failure> {
        output.end();
        if let Some((_, failure)) =
            self.facts.iter().filter_map(Fact::failure).max_by_key(|(weight, _)| *weight)
        {
            return Some(failure);
        }
        if self.end == End::Status(0) {
            return None;
        }
        match (self.best(&output), of_end(self.end)) {
            (Some((score, find)), Some((weight, _))) if score >= weight => Some(self.printed(&output, find)),
            (_, Some((_, failure))) => Some(failure),
            (Some((_, find)), None) => Some(self.printed(&output, find)),
            (None, None) => self.fallback(&output),
        }
    }

    fn printed(&self, output: &Output, find: &Find) -> Failure {
        let (category, confidence, text) = match output.means(find) {
            Means::Category(category) => (category, Confidence::Medium, find.text.clone()),
            Means::Mark(_) => {
                (usual(self.kind), Confidence::Low, format!("it fits no category: {}", find.text))
            }
        };
        let evidence = Evidence { source: OUTPUT.into(), line: Some(find.line), text };
        failure(category, confidence, evidence, find.hint.clone())
    }

    /// The find that counts most, and how much.
    fn best<'o>(&self, output: &'o Output) -> Option<(i32, &'o Find)> {
        let finds = output.finds();
        let failed = !matches!(self.end, End::Unknown);
        let ending = output.endings.last();
        if !failed {
            let last = finds.iter().copied().chain(ending).map(|find| find.line).max()?;
            if output.success.is_some_and(|success| success >= last) {
                return None;
            }
        }
        // Without a sign of failure below them, finds that were overcome mean nothing.
        let certain = failed || ended(output);
        let weigh = |find| {
            let weight = i32::from(output.weight(find));
            if overcome(output, find, failed) {
                return certain.then_some((weight - OVERCOME, find));
            }
            Some((weight, find))
        };
        let scored: Vec<(i32, &Find)> = finds.into_iter().filter_map(weigh).collect();
        let heaviest = scored.iter().map(|(score, _)| *score).max()?;
        let end = output.last.as_ref().map_or(0, |(line, _)| *line);
        let alone = |(score, find): &(i32, &Find)| {
            let last = find.line >= end && !output.is_generic(find);
            let says_failed = *score >= ALONE_LEAST || output.means(find) == Means::Mark(Mark::Other) || last;
            says_failed && !output.is_warning(find)
        };
        if !certain && !scored.iter().any(alone) {
            return None;
        }
        let kind = |score: i32| score / KIND_SPAN == heaviest / KIND_SPAN;
        let alike = |(score, _): &&(i32, &Find)| kind(*score);
        // Weak signs are mostly of what was overcome: the last one is the likeliest.
        let anchor =
            if heaviest < ALONE_LEAST { scored.iter().rfind(alike) } else { scored.iter().find(alike) };
        let anchor = anchor?.1;
        let reach = if output.is_heading(anchor) { BELOW_HEADING_LINES } else { NEAR_LINES };
        let near = scored.iter().filter(alike).filter(|(_, find)| find.line.abs_diff(anchor.line) <= reach);
        near.copied().rev().max_by_key(|(score, _)| *score)
    }

    /// Nothing that was printed says why.
    fn fallback(&self, output: &Output) -> Option<Failure> {
        if self.end == End::Unknown && !ended(output) {
            return None;
        }
        let (source, how) = match self.end {
            End::Status(status) => (EXIT, format!("exit status {status}")),
            End::Signal(signal) => (EXIT, killed(signal)),
            End::Lost => (EXIT, "its exit status was lost".to_owned()),
            End::Unknown => (OUTPUT, "it failed".to_owned()),
        };
        let (line, text) = match &output.last {
            Some((line, last)) => {
                let text = format!(
                    "{how}; nothing that it printed says why; the last line of its output is: {last}"
                );
                (Some(*line), text)
            }
            None => (None, format!("{how}; it printed nothing")),
        };
        let evidence = Evidence { source: source.into(), line, text };
        Some(failure(usual(self.kind), Confidence::Low, evidence, None))
    }
}

fn failure(category: Category, confidence: Confidence, evidence: Evidence, hint: Option<String>) -> Failure {
    // What came is not what was expected, or something was tried that is forbidden: never blindly again.
    Failure { category, confidence, evidence, hint, retryable: category != Category::SecurityViolation }
}

fn killed(signal: i32) -> String {
    format!("killed by signal {signal}, not by kiln")
}

/// What failures of a kind of task mostly are.
fn usual(kind: Option<TaskKind>) -> Category {
    match kind {
        Some(TaskKind::Fetch) => Category::NetworkIssues,
        Some(TaskKind::Configure) => Category::ConfigurationError,
        Some(TaskKind::Unpack | TaskKind::Build | TaskKind::Check | TaskKind::Install | TaskKind::Merge)
        | None => Category::CompilationFailure,
    }
}

/// Whether a sign of failure stands where nothing went on after it.
fn ended(output: &Output) -> bool {
    output.endings.last().is_some_and(|ending| {
        output.success.is_none_or(|success| success < ending.line) && !went_on(output, ending, false)
    })
}

/// Whether what went wrong there did not end the work: it ended well after that, or went on for long.
fn overcome(output: &Output, find: &Find, failed: bool) -> bool {
    // An ending may stand just above what it is about. They are in the order of their lines.
    let at = output.endings.partition_point(|ending| ending.line + NEAR_LINES < find.line);
    match output.endings.get(at) {
        Some(ending) => {
            let ended_well = output.success.is_some_and(|well| find.line < well && well < ending.line);
            ended_well || ending.line.saturating_sub(find.line) > FAR_LINES
        }
        None => went_on(output, find, failed),
    }
}

/// Whether work went on below a find that no ending follows.
fn went_on(output: &Output, find: &Find, failed: bool) -> bool {
    let (first, lines) = &output.tail;
    if find.line + FAR_LINES < first + lines.len() as u64 {
        return true;
    }
    !failed && output.work_below(find.line) >= WORK_LINES
}

/// What an exit status or a signal says by itself, and how much that counts.
fn of_end(end: End) -> Option<(i32, Failure)> {
    use Category as C;
    /// A shell says with a status above this by which signal a command ended.
    const SIGNALS: i32 = 128;
    let (signal, text) = match end {
        End::Signal(signal) => (signal, killed(signal)),
        End::Status(status) if (SIGNALS + 1..SIGNALS + 32).contains(&status) => {
            (status - SIGNALS, format!("exit status {status}: killed by signal {}", status - SIGNALS))
        }
        End::Status(124) => {
            let evidence = Evidence { source: EXIT.into(), line: None, text: "exit status 124".into() };
            let hint = "timeout(1) ends with it: it took too long";
            return Some((
                66,
                failure(C::ResourceExhaustion, Confidence::Medium, evidence, Some(hint.into())),
            ));
        }
        End::Status(_) | End::Lost | End::Unknown => return None,
    };
    let (weight, category, hint) = match signal {
        libc::SIGKILL => (
            90,
            C::ResourceExhaustion,
            "mostly the kernel sends it, for want of memory: run fewer jobs, or allow more memory",
        ),
        libc::SIGXCPU => (95, C::ResourceExhaustion, "it took more CPU time than it was allowed"),
        libc::SIGXFSZ => (95, C::ProcessLimits, "a file became larger than the limit allows (`ulimit -f`)"),
        libc::SIGSYS => (85, C::SecurityViolation, "it made a system call that is forbidden"),
        libc::SIGTERM => (66, C::ResourceExhaustion, "something outside ended it; look for a time limit"),
        libc::SIGILL => (29, C::BrokenDependency, "a program in use is built for another processor"),
        libc::SIGSEGV | libc::SIGABRT | libc::SIGBUS | libc::SIGFPE => {
            (28, C::CompilationFailure, "a tool crashed; see whether it does so every time")
        }
        _ => return None,
    };
    let evidence = Evidence { source: EXIT.into(), line: None, text };
    Some((weight, failure(category, Confidence::Medium, evidence, Some(hint.into()))))
}

#[cfg(test)]
mod tests;
