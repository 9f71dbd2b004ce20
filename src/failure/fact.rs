//! What the kernel, or kiln itself, saw happen: no text can say more.
//!
//! Owns: the facts, and what each means. Does not know: how they are seen.

use super::{Category, Failure};
use crate::words::count;

/// One fact about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The kernel killed processes of the task for memory.
    OutOfMemory {
        /// How many.
        killed: u64,
        /// The task's limit, where it was that, and not the host's memory.
        limit_bytes: Option<u64>,
    },
    /// The kernel refused a process or a thread.
    ProcessLimit {
        /// The limit that was hit.
        limit: u64,
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
    /// It ran longer than its `timeout`, or was silent longer than its `silent_timeout`.
    TimedOut {
        /// Which limit, in words.
        limit: String,
    },
    /// It tried what the sandbox forbids.
    Denied {
        /// What, in words.
        what: String,
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
            Self::Denied { what } => (
                6,
                C::SecurityViolation,
                "kernel",
                what.clone(),
                "let it write below SRC, DESTDIR and TMPDIR alone",
            ),
            Self::OutOfMemory { killed, limit_bytes } => {
                let whose = limit_bytes
                    .map_or("the host's".to_owned(), |limit| format!("its limit of {limit} bytes of"));
                (
                    5,
                    C::ResourceExhaustion,
                    "kernel",
                    format!("the kernel killed {} for {whose} memory", count(*killed, "process")),
                    "run fewer jobs, or allow more memory",
                )
            }
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
            Self::ProcessLimit { limit } => (
                2,
                C::ProcessLimits,
                "kernel",
                format!("the kernel refused a process: the limit is {limit}"),
                "run fewer jobs, or allow more processes (`limits.pids`)",
            ),
        };
        Some((weight, Failure::fact(category, source, text).hint(hint)))
    }
}

#[cfg(test)]
mod tests;
