//! What waits to be written.
//!
//! Owns: the order, the bound, and how many messages found no room. Does not know: who writes, where to.
//!
//! **Invariant**: whoever puts something in waits for nobody who writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::said::Said;
use parking_lot::{Condvar, Mutex};

/// What is drawn, line by line.
pub(super) type Frame = Vec<String>;

/// One thing to write.
#[derive(Debug)]
pub(super) enum Item {
    /// A message.
    Said(Said),
    /// So many messages found no room since the last time that this was said.
    Dropped(u64),
    /// What the display is to show.
    Frame(Frame),
}

/// Between those who say something and the one who writes.
#[derive(Debug)]
pub(super) struct Queue {
    bytes_most: usize,
    /// Nothing panics while it is locked: a panic is said here, too.
    waiting: Mutex<Waiting>,
    changed: Condvar,
    lost: Arc<Lost>,
}

/// Messages that were lost.
#[derive(Debug, Default)]
pub(in super::super) struct Lost {
    /// All of them.
    pub(in super::super) messages: AtomicU64,
    /// Those that tell of a failure or of a gate.
    pub(in super::super) notifications: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    said: VecDeque<Said>,
    /// What they take.
    bytes: usize,
    /// The newest; older ones need not be seen.
    frame: Option<Frame>,
    /// Dropped, and not told yet.
    untold: u64,
    /// What is being written.
    in_hand: Option<Arc<Item>>,
}

impl Queue {
    /// With room for messages of so many bytes.
    pub(super) fn new(bytes_most: usize) -> Self {
        Self { bytes_most, waiting: Mutex::default(), changed: Condvar::new(), lost: Arc::default() }
    }

    /// Messages that were lost.
    pub(super) fn counts(&self) -> Arc<Lost> {
        Arc::clone(&self.lost)
    }

    /// Queues a message; drops it where there is no room.
    pub(super) fn say(&self, said: Said) {
        let size = said.size();
        let mut waiting = self.waiting.lock();
        if waiting.bytes + size <= self.bytes_most {
            waiting.bytes += size;
            waiting.said.push_back(said);
        } else {
            waiting.untold += 1;
            self.lost(&said);
        }
        self.changed.notify_all();
    }

    /// Counts a message that could not be written anywhere.
    pub(super) fn lost(&self, said: &Said) {
        self.lost.messages.fetch_add(1, Ordering::Relaxed);
        self.lost.notifications.fetch_add(u64::from(said.is_notification()), Ordering::Relaxed);
    }

    /// Has the display show this.
    pub(super) fn draw(&self, frame: Frame) {
        self.waiting.lock().frame = Some(frame);
        self.changed.notify_all();
    }

    /// The next thing to write, as soon as there is one; what was got before has been written.
    pub(super) fn next(&self) -> Arc<Item> {
        let mut waiting = self.waiting.lock();
        waiting.in_hand = None;
        loop {
            if let Some(item) = waiting.take() {
                waiting.in_hand = Some(Arc::clone(&item));
                return item;
            }
            self.changed.notify_all();
            self.changed.wait(&mut waiting);
        }
    }

    /// The next thing to write for one who takes over from another that is stuck: first what that one has in hand.
    pub(super) fn take_over(&self) -> Option<Arc<Item>> {
        let mut waiting = self.waiting.lock();
        waiting.in_hand.take().or_else(|| waiting.take())
    }

    /// Waits until everything is written, but not longer than this: whether it is.
    pub(super) fn is_written(&self, within: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        self.changed.wait_while_for(&mut waiting, |waiting| !waiting.is_over(), within);
        waiting.is_over()
    }
}

impl Waiting {
    /// What was dropped came after all that had room.
    fn take(&mut self) -> Option<Arc<Item>> {
        let item = if let Some(frame) = self.frame.take() {
            Item::Frame(frame)
        } else if let Some(said) = self.said.pop_front() {
            self.bytes -= said.size();
            Item::Said(said)
        } else if self.untold > 0 {
            Item::Dropped(std::mem::take(&mut self.untold))
        } else {
            return None;
        };
        Some(Arc::new(item))
    }

    fn is_over(&self) -> bool {
        self.said.is_empty() && self.frame.is_none() && self.untold == 0 && self.in_hand.is_none()
    }
}
