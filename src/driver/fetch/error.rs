//! What can go wrong while a source is fetched.
//!
//! Owns: the errors, and which of them concern one mirror alone. Does not know: categories, attempts, retries.

use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

/// Why a source could not be had at all.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A mirror gave other content than the recipe names, and no other mirror had the right one.
    #[error("`{file}` from {from} has sha256 {got}, expected {expected}{}", others(failures))]
    DigestMismatch {
        /// The source's name.
        file: String,
        /// The digest in the recipe, for that mirror.
        expected: String,
        /// The digest of what came.
        got: String,
        /// The mirror that it came from.
        from: String,
        /// What the other mirrors said, in the order asked.
        failures: Vec<MirrorFailure>,
    },
    /// Every mirror failed, and none with other content.
    #[error("`{file}` is nowhere to be had{}", others(failures))]
    Unavailable {
        /// The source's name.
        file: String,
        /// Every mirror's failure, in the order asked.
        failures: Vec<MirrorFailure>,
    },
    /// Offline, and the cache has no intact copy.
    #[error("`{file}` is not in the cache, and kiln is offline")]
    Offline {
        /// The source's name.
        file: String,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The cache could not be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The source makes no sense.
    #[error("`{file}`: {reason}")]
    Invalid {
        /// The source's name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl FetchError {
    /// For `map_err`: an I/O error with its path.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// What one mirror answered instead of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorFailure {
    /// The mirror as the recipe has it, without credentials; `cache` for a damaged file there.
    pub mirror: String,
    /// Why it did not do.
    pub reason: Reason,
}

impl Display for MirrorFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.mirror, self.reason)
    }
}

/// Why a mirror did not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It says that it has no such file; the text says what it has instead, where that is known.
    #[error("not found: {0}")]
    NotFound(String),
    /// Another HTTP status than success.
    #[error("http status {0}")]
    Http(u16),
    /// Its host does not resolve, or does not accept connections.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// It accepted, and then said nothing for too long.
    #[error("timed out: {0}")]
    Timeout(String),
    /// It is not who it claims to be, as far as TLS can tell.
    #[error("tls: {0}")]
    Tls(String),
    /// The transfer ended before its end; what came is kept, to be continued.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// What came has this digest instead.
    #[error("wrong content, sha256 {got}")]
    DigestMismatch {
        /// SHA-256 of what came, or of what the distribution's signed index has under this name.
        got: String,
    },
    /// A file of this host could not be read.
    #[error("cannot read: {0}")]
    Unreadable(String),
    /// apt failed; the end of what it printed.
    #[error("apt: {0}")]
    Apt(String),
    /// kiln cannot use such a mirror.
    #[error("not supported: {0}")]
    Unsupported(String),
}

impl Reason {
    /// Whether it is the host that failed: the next source had better ask another first, and later this one may
    /// well have the file. The rest are answers about one file, by a host that is well: that it is not there, not
    /// for us (most of 4xx), or not what was expected.
    pub fn is_the_hosts(&self) -> bool {
        match self {
            // Too slow, too early, too many: what a busy host says to whatever it is asked.
            Self::Http(status) => *status >= 500 || [408, 425, 429].contains(status),
            Self::Connect(_) | Self::Timeout(_) | Self::Tls(_) | Self::Interrupted(_) | Self::Apt(_) => true,
            Self::NotFound(_) | Self::DigestMismatch { .. } | Self::Unreadable(_) | Self::Unsupported(_) => {
                false
            }
        }
    }
}

/// Why one mirror's turn is over: the next one is asked, or the whole fetch ends.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(in crate::driver) enum Stop {
    /// This mirror failed.
    Mirror(#[from] Reason),
    /// No mirror can help.
    Fetch(#[from] FetchError),
}

fn others(failures: &[MirrorFailure]) -> String {
    failures.iter().flat_map(|failure| ["; ".to_owned(), failure.to_string()]).collect()
}
