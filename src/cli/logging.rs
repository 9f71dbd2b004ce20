//! Where messages go: lines for people, JSON, or the journal.
//!
//! Owns: the choice, and when it is over. Does not know: what is said.
//!
//! One thread writes. A terminal, a pipe or a journald that takes nothing stops that thread and nobody else: messages
//! wait in a queue, and those that find no room there are counted. Where there is no journald, people read the same
//! sentences on standard error.

mod journal;
mod lines;
mod queue;
mod said;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::display::{self, Display};
use crate::config::settings::LogFormat;
use crate::observe::Snapshot;
use crate::observe::notices;
pub(super) use queue::Lost;
use queue::Queue;
use said::{Listen, Said};
use writer::Writer;

/// Target of what only people are to see: the end of an output. Machines get the evidence and the path.
pub(super) const TAIL: &str = "kiln::tail";

/// Bytes of messages that wait at most: a root cause with all of a distribution's packages behind it skips tens of thousands
/// at once, faster than journald takes them.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// How long the end waits for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(5);
/// The thread that writes.
const WRITER: &str = "messages";

/// Messages that go where they belong. When it is dropped, what waits is written.
#[derive(Debug)]
pub(super) struct Messages {
    queue: Arc<Queue>,
    format: LogFormat,
    display: Display,
}

/// What can be drawn on while messages are written.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    queue: Arc<Queue>,
}

/// Sends messages where they belong. `KILN_LOG` filters them (`debug` shows every task).
pub(super) fn set_up(format: Option<LogFormat>) -> anyhow::Result<Messages> {
    let format =
        format.unwrap_or_else(|| if journald_listens() { LogFormat::Journald } else { LogFormat::Text });
    let filter = EnvFilter::try_from_env("KILN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let messages = Messages { queue: Arc::new(Queue::new(QUEUE_BYTES)), format, display: Display::new() };
    let writer = Writer::new(&messages.queue, format, &messages.display);
    std::thread::Builder::new()
        .name(WRITER.into())
        .spawn(move || writer.run())
        .context("cannot start a thread")?;
    let queue = Arc::clone(&messages.queue);
    let listen = Listen(move |said: Said| {
        if format == LogFormat::Text || said.target() != TAIL {
            queue.say(said);
        }
    });
    tracing_subscriber::registry()
        .with(listen.with_filter(filter))
        .try_init()
        .context("cannot set up messages")?;
    tell_panics(Arc::clone(&messages.queue));
    Ok(messages)
}

impl Messages {
    /// How many were lost so far.
    pub(super) fn lost(&self) -> Arc<Lost> {
        self.queue.counts()
    }

    /// Waits until everything that was said is written, if somebody takes it.
    pub(super) fn settle(&self) {
        self.queue.is_written(PATIENCE);
    }

    /// Where a run can be drawn, if anywhere.
    pub(super) fn screen(&self) -> Option<Screen> {
        self.display.is_live().then(|| Screen { queue: Arc::clone(&self.queue) })
    }
}

impl Drop for Messages {
    /// Not for ever: whoever reads may be stuck. If that is journald, what it did not take goes to standard error.
    fn drop(&mut self) {
        if self.queue.is_written(PATIENCE) || self.format != LogFormat::Journald {
            return;
        }
        let writer = Writer::new(&self.queue, LogFormat::Text, &self.display);
        let (done, ended) = mpsc::channel::<()>();
        let rest = move || {
            writer.rest();
            drop(done);
        };
        // Without a thread they are lost, as they would be without this.
        if std::thread::Builder::new().spawn(rest).is_ok() {
            // Standard error may be stuck, too.
            let _ = ended.recv_timeout(PATIENCE);
        }
    }
}

impl Screen {
    /// Draws a run, soon.
    pub(super) fn draw(&self, snapshot: &Snapshot, address: Option<&str>) {
        self.queue.draw(display::lines(snapshot, address));
    }

    /// Takes everything off the screen.
    pub(super) fn clear(&self) {
        self.queue.draw(Vec::new());
    }
}

/// Panics are told like everything else, except those of the thread that would have to write them.
fn tell_panics(queue: Arc<Queue>) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        if thread.name() == Some(WRITER) {
            return before(panic);
        }
        let backtrace = Backtrace::capture();
        let captured = backtrace.status() == BacktraceStatus::Captured;
        let backtrace = if captured { format!("\n{backtrace}") } else { String::new() };
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = panic.payload_as_str().unwrap_or("for no reason that is a text");
        notices::panicked(thread.name().unwrap_or("without a name"), &place, why, &backtrace);
        // Whatever comes next may end the process.
        queue.is_written(PATIENCE);
    }));
}

/// Whether standard error is the journal's (systemd.exec(5), `JOURNAL_STREAM`).
fn journald_listens() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|meta| stream == format!("{}:{}", meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests;
