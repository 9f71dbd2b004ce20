//! Writes what is queued.
//!
//! Owns: what becomes of a message that has its turn. Does not know: who says it.

use std::sync::Arc;

use super::journal::Journal;
use super::lines;
use super::queue::{Item, Queue};
use super::said::Said;
use crate::cli::display::Display;
use crate::cli::output;
use crate::config::settings::LogFormat;
use crate::observe::notices;

/// Takes from the queue, and waits for whoever reads.
pub(super) struct Writer {
    queue: Arc<Queue>,
    output: Output,
    display: Display,
    /// Nobody took the last message that was for the journal.
    alone: bool,
}

enum Output {
    Text,
    Json,
    Journal(Box<Journal>),
}

impl Writer {
    pub(super) fn new(queue: &Arc<Queue>, format: LogFormat, display: &Display) -> Self {
        let output = match format {
            LogFormat::Text => Output::Text,
            LogFormat::Json => Output::Json,
            LogFormat::Journald => Output::Journal(Box::default()),
        };
        Self { queue: Arc::clone(queue), output, display: display.clone(), alone: false }
    }

    /// For ever.
    pub(super) fn run(mut self) {
        loop {
            let item = self.queue.next();
            self.write(&item);
        }
    }

    /// In the place of another that is stuck, until nothing is left.
    pub(super) fn rest(mut self) {
        while let Some(item) = self.queue.take_over() {
            self.write(&item);
        }
    }

    fn write(&mut self, item: &Item) {
        match item {
            Item::Said(said) => self.say(said),
            Item::Dropped(count) => {
                for said in Said::by(|| notices::messages_dropped(*count)) {
                    self.say(&said);
                }
            }
            Item::Frame(frame) => self.display.draw(frame),
        }
    }

    fn say(&mut self, said: &Said) {
        let text = |said: &Said| lines::text(said, output::coloured_stderr());
        let written = match &mut self.output {
            Output::Text => self.display.print(&text(said)),
            Output::Json => lines::json(said).map_err(Into::into).and_then(|line| self.display.print(&line)),
            Output::Journal(journal) => match journal.write(said) {
                Ok(()) => {
                    self.alone = false;
                    Ok(())
                }
                Err(error) => {
                    let mut all = String::new();
                    if !std::mem::replace(&mut self.alone, true) {
                        let why = || {
                            tracing::warn!("nobody takes messages for the journal ({error}): they come here");
                        };
                        all.extend(Said::by(why).iter().map(text));
                    }
                    self.display.print(&(all + &text(said)))
                }
            },
        };
        if written.is_err() {
            self.queue.lost(said);
        }
    }
}
