//! What the kernel, or kiln itself, saw happen: no text can say more.
//!
//! Owns: the facts, and what each means. Does not know: how they are seen.

use super::{Category, Confidence, Evidence, Failure};
use crate::words::count;

/// One fact about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The kernel killed processes of the task for memory.
    OutOfMemory {
        /// How many.
        killed: u64,
        /// The name of the first, where it is known.
        first: Option<String>,
        /// The task's limit, in words; `None`: it has none, the host had no more.
        limit: Option<String>,
    },
    /// The kernel refused processes or threads.
    ProcessLimit {
        /// How many.
        refused: u64,
        /// The limit that was hit.
        limit: Option<u32>,
    },
    /// The least space that was seen free while it ran.
    Space {
        /// Where.
        path: String,
        /// Bytes.
        free_bytes: u64,
        /// Inodes; `None` where the file system does not count them.
        free_inodes: Option<u64>,
    },
    /// Nothing can be written where it ran: disks that fail are often made so.
    ReadOnly {
        /// Where.
        path: String,
    },
    /// It ran longer than its `timeout`, or was silent longer than its `silent_timeout`.
    TimedOut {
        /// Which limit, in words.
        limit: String,
    },
    /// It tried to write where only the sandbox forbids it. The kernel does not say so: it was read in the output, and
    /// whether anything else is in the way was looked up.
    Denied {
        /// Where.
        path: String,
        /// The number of the line that says so.
        line: u64,
        /// That line.
        text: String,
    },
    /// A file is not the one that its digest names.
    Digest {
        /// Which.
        file: String,
    },
}

/// With less free than this a file system is full: what is reserved and what others hold is not counted.
const FULL_BYTES: u64 = 1024 * 1024;
const FULL_INODES: u64 = 16;

impl Fact {
    /// What it means and how much it counts beside other facts; `None`: nothing is wrong there.
    pub(super) fn failure(&self) -> Option<(u8, Failure)> {
        use Category as C;
        let (weight, category, source, text, hint) = match self {
            Self::Digest { file } => (
                7,
                C::SecurityViolation,
                "kiln",
                format!("`{file}` is not the file that its digest names"),
                "compare the digest with upstream's announcement before changing it",
            ),
            Self::Denied { path, line, text } => {
                let evidence = Evidence { source: "output".into(), line: Some(*line), text: text.clone() };
                let failure = Failure { evidence, ..Failure::fact(C::SecurityViolation, "", "") };
                let temporary = ["/tmp/", "/var/tmp/"].iter().any(|place| path.starts_with(place));
                let instead = if temporary { "; $TMPDIR is there for that" } else { "" };
                let hint = format!(
                    "`{path}` is outside of where a task may write: below SRC, DESTDIR and TMPDIR{instead}"
                );
                return Some((6, Failure { confidence: Confidence::Medium, ..failure }.hint(hint)));
            }
            Self::OutOfMemory { killed, first, limit } => (
                5,
                C::ResourceExhaustion,
                "kernel",
                killed_for_memory(*killed, first.as_deref(), limit.as_deref()),
                "fewer jobs need less memory (`jobs` in the recipe); or raise `limits.memory`",
            ),
            Self::TimedOut { limit } => (
                4,
                C::ResourceExhaustion,
                "kiln",
                format!("ended by kiln: {limit}"),
                "allow more time, or see why it hangs",
            ),
            Self::Space { path, free_bytes, free_inodes } => {
                let what = if *free_bytes < FULL_BYTES {
                    count(*free_bytes, "byte")
                } else {
                    count(free_inodes.filter(|free| *free < FULL_INODES)?, "inode")
                };
                (3, C::DiskSpace, "kernel", format!("`{path}` had {what} left"), "make room there")
            }
            Self::ReadOnly { path } => (
                3,
                C::DiskSpace,
                "kernel",
                format!("`{path}` is read-only"),
                "the kernel's log may say why; it must be mounted so that it can be written",
            ),
            Self::ProcessLimit { refused, limit } => {
                let limit = limit.map_or_else(String::new, |limit| format!(" of {limit}"));
                (
                    2,
                    C::ProcessLimits,
                    "kernel",
                    format!(
                        "the kernel refused {refused} more processes or threads: its limit{limit} was reached"
                    ),
                    "fewer jobs need fewer processes (`jobs` in the recipe); or raise `limits.pids`",
                )
            }
        };
        Some((weight, Failure::fact(category, source, text).hint(hint)))
    }
}

fn killed_for_memory(killed: u64, first: Option<&str>, limit: Option<&str>) -> String {
    let whom = match first {
        Some(name) if killed == 1 => format!("`{name}`"),
        Some(name) => format!("{killed} processes, `{name}` the first,"),
        None if killed == 1 => "a process".to_owned(),
        None => format!("{killed} processes"),
    };
    let why = limit
        .map_or_else(|| "the host had none left".to_owned(), |limit| format!("the task's limit is {limit}"));
    format!("the kernel killed {whom} for memory: {why}")
}

#[cfg(test)]
mod tests;
