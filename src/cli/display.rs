//! The live display of a run on a terminal.
//!
//! Owns: what is drawn and where; messages go above it. On a pipe there is nothing to draw, and messages are
//! plain lines. Only the thread that writes messages calls it: a terminal may take its time. Does not know: what happens
//! (`watch` says when to draw which snapshot).

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use unicode_width::UnicodeWidthChar as _;

use super::output;
use crate::engine::message::PhaseOutcome;
use crate::engine::state::{Counts, PackageState, PhaseState};
use crate::observe::human;
use crate::observe::snapshot::{PhaseView, RunningTask, Snapshot};
use crate::words::count;

/// Running tasks that are shown one by one.
const TASKS_MOST: usize = 16;
/// Width of a bar, in columns.
const BAR: usize = 24;

/// A display; clones draw the same one.
#[derive(Debug, Clone)]
pub(super) struct Display {
    bars: MultiProgress,
    lines: Arc<Mutex<Vec<ProgressBar>>>,
    terminal: bool,
}

impl Display {
    pub(super) fn new() -> Self {
        let terminal = output::is_terminal();
        let target =
            if terminal { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), lines: Arc::default(), terminal }
    }

    /// Whether anything is drawn.
    pub(super) fn is_live(&self) -> bool {
        self.terminal
    }

    /// Prints above the display.
    pub(super) fn print(&self, text: &str) -> io::Result<()> {
        let print = || io::stderr().lock().write_all(text.as_bytes());
        if self.terminal { self.bars.suspend(print) } else { print() }
    }

    /// Draws these lines, and takes away all others.
    pub(super) fn draw(&self, frame: &[String]) {
        let width = console_width();
        let texts = frame.iter().map(|line| cut(line, width));
        let mut bars = self.lines.lock();
        let mut used = 0;
        for text in texts {
            if used == bars.len() {
                let bar = self.bars.add(ProgressBar::new_spinner());
                // The template is a constant; a mistake in it would draw the default.
                bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or(ProgressStyle::default_bar()));
                bars.push(bar);
            }
            bars[used].set_message(text);
            used += 1;
        }
        for bar in bars.drain(used..) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }
}

fn console_width() -> usize {
    rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col)).max(20)
}

/// At most so many columns: a line that wraps would be drawn over the wrong one.
fn cut(line: &str, columns: usize) -> String {
    let mut width = 0;
    let mut out = String::new();
    let mut escape = false;
    for c in line.chars() {
        // Colours take no columns.
        if c == '\x1b' {
            escape = true;
        }
        if escape {
            escape = c != 'm';
            out.push(c);
            continue;
        }
        width += c.width().unwrap_or(0);
        if width < columns {
            out.push(c);
        }
    }
    out
}

/// What is drawn, top to bottom.
pub(super) fn lines(snapshot: &Snapshot, address: Option<&str>) -> Vec<String> {
    let run = &snapshot.run;
    let mut out = vec![String::new()];
    let mut head = format!("\x1b[1m{}\x1b[0m {}", run.definition, run.build_id);
    if let Some(address) = address {
        head.push_str(&format!("  {address}"));
    }
    out.push(head);
    let packages = snapshot.packages;
    let mut total = format!(
        "{} {:>3.0} %  {}/{}",
        bar(run.ratio),
        run.ratio * 100.0,
        packages.completed,
        count(packages.total, "package")
    );
    if let Some(started) = run.started {
        total.push_str(&format!("  {} elapsed", human::duration(human::between(started, snapshot.now))));
    }
    match run.remaining {
        Some(rest) => {
            total.push_str(&format!("  {} to {} left", human::duration(rest.p50), human::duration(rest.p90)));
        }
        None if run.paused.is_some() => {}
        None => total.push_str("  time left not known yet"),
    }
    if packages.failed + packages.skipped > 0 {
        total.push_str(&format!("  \x1b[31m{} failed, {} skipped\x1b[0m", packages.failed, packages.skipped));
    }
    out.push(total);
    out.extend(snapshot.phases.iter().map(phase));
    if let Some(why) = snapshot.blocked().or(run.paused.as_deref()) {
        out.push(format!("  \x1b[31m! paused\x1b[0m: {}", human::plain(why)));
    }
    for gate in &snapshot.gates {
        let about = gate.package.as_ref().unwrap_or(&gate.phase);
        let number = gate.number;
        out.push(format!(
            "  \x1b[31m! {about} needs a person\x1b[0m: kiln resolve {number} retry (or skip, abort)"
        ));
    }
    for task in snapshot.running.iter().take(TASKS_MOST) {
        out.push(running(task, snapshot.now));
    }
    if snapshot.running.len() > TASKS_MOST {
        out.push(format!("    and {} more", snapshot.running.len() - TASKS_MOST));
    }
    out
}

fn bar(ratio: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and BAR")]
    let full = (ratio.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("\x1b[32m{}\x1b[2m{}\x1b[0m", "━".repeat(full), "━".repeat(BAR - full))
}

fn phase(phase: &PhaseView) -> String {
    let counts = phase.counts.map(|Counts { packages, .. }| {
        let completed = packages[PackageState::Completed { reused: false }.index()];
        format!("  {completed}/{}", packages.iter().sum::<u32>())
    });
    let (sign, colour) = match phase.state {
        PhaseState::Pending => ("·", "\x1b[2m"),
        PhaseState::Running => ("▸", "\x1b[36m"),
        PhaseState::Finished(PhaseOutcome::Completed) => ("✓", "\x1b[32m"),
        PhaseState::Finished(PhaseOutcome::Failed) => ("✗", "\x1b[31m"),
        PhaseState::Finished(PhaseOutcome::Skipped) => ("-", "\x1b[2m"),
    };
    format!("  {colour}{sign} {}\x1b[0m{}", phase.title, counts.unwrap_or_default())
}

fn running(task: &RunningTask, now: i64) -> String {
    let elapsed = human::duration(human::between(task.since, now));
    let mut line = format!("    {} {}  {elapsed}", task.package, task.task.name());
    if let Some(expected) = task.expected.filter(|expected| *expected > Duration::ZERO) {
        line.push_str(&format!(" of about {}", human::duration(expected)));
    }
    if task.restore {
        line.push_str("  (restoring)");
    } else if task.attempt > 1 {
        line.push_str(&format!("  (attempt {})", task.attempt));
    }
    line
}
