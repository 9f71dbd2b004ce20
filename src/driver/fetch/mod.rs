//! Sources, by digest: from the cache, or from the first mirror that has them.
//!
//! Owns: the order in which places are asked, verification, and the verdict when all have failed. Does not know:
//! recipes, attempts and retries, categories of errors.
//!
//! Layout of the cache: `cache.rs`. One place, one file: `https.rs`, `local.rs`, `apt.rs`.
//!
//! **Invariant**: a path that leaves this module names a file whose digest was verified by this process.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub(crate) mod apt;
mod cache;
mod child;
mod error;
mod health;
mod https;
mod local;
mod probe;
mod proxy;
#[cfg(test)]
mod tests;
mod turns;

pub use child::{Answers, Helpers};
pub use error::{FetchError, MirrorFailure, Reason};
pub use probe::Availability;

use cache::{Cache, Found, Partial};
use error::Stop;
use health::Health;
use https::{Https, Whole};
use turns::Turns;

/// What `Fetched::from` says of a file that was there already.
pub const FROM_CACHE: &str = "cache";

/// One source file of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name in messages.
    pub file: String,
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// Where it can be had, in the order to be asked.
    pub mirrors: Vec<Mirror>,
}

/// One place where a source can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The place.
    pub place: Place,
    /// The file's name there; only `apt` needs it.
    pub file: String,
    /// SHA-256 of the bytes there, 64 hexadecimal digits.
    pub sha256: String,
}

/// A kind of place. Written as in a recipe, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `https://…`, `http://…` or `file:…`.
    Url(String),
    /// The distribution's source package of this name.
    Apt(String),
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apt(name) => write!(f, "apt:{name}"),
            Self::Url(url) => {
                // `https://user:word@host/…`: these words end up in logs.
                let credentials = url.split_once("://").and_then(|(scheme, rest)| {
                    let authority = rest.split(['/', '?', '#']).next()?;
                    let (_, host) = authority.rsplit_once('@')?;
                    Some(format!("{scheme}://{host}{}", &rest[authority.len()..]))
                });
                f.write_str(credentials.as_deref().unwrap_or(url))
            }
        }
    }
}

/// How to fetch.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the cache is or will be.
    pub cache: PathBuf,
    /// The definition's directory: `file:a` is relative to it.
    pub base: PathBuf,
    /// Use the cache alone.
    pub offline: bool,
    /// Longest time until a connection stands, name resolution and TLS each.
    pub connect_timeout: Duration,
    /// Longest time in which nothing comes.
    pub stall_timeout: Duration,
    /// `User-Agent`.
    pub user_agent: String,
}

impl Options {
    /// The usual ones.
    pub fn new(cache: PathBuf, base: PathBuf) -> Self {
        Self {
            cache,
            base,
            offline: false,
            connect_timeout: Duration::from_secs(5),
            stall_timeout: https::STALL_TIMEOUT,
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A source that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file, read-only, verified. Its name is its digest.
    pub path: PathBuf,
    /// Its digest: the source's, or that of the mirror that had it.
    pub sha256: String,
    /// Its name where it came from, which tells how it is packed; for a file from the cache, that of the source or
    /// mirror with its digest.
    pub file: String,
    /// [`FROM_CACHE`], or the mirror.
    pub from: String,
    /// Bytes that came over the network in this call, from all mirrors asked.
    pub bytes_fetched: u64,
    /// What did not do, in the order asked: mirrors, and `cache` for a damaged file.
    pub refused: Vec<MirrorFailure>,
}

/// Fetches sources. Shared by threads; what it learns of mirrors holds for its life.
#[derive(Debug)]
pub struct Fetcher {
    options: Options,
    cache: Cache,
    turns: Turns,
    health: Health,
    https: Https,
    apt: apt::Apt,
}

impl Fetcher {
    /// Makes the cache's directories; asks nobody.
    pub fn new(options: Options, helpers: Helpers) -> Result<Self, FetchError> {
        // apt and other threads must not depend on our working directory.
        let root = std::path::absolute(&options.cache).map_err(FetchError::io(&options.cache))?;
        Ok(Self {
            cache: Cache::open(&root)?,
            turns: Turns::default(),
            health: Health::default(),
            https: Https::new(&options),
            apt: apt::Apt::new(&root.join("apt"), options.connect_timeout, helpers),
            options,
        })
    }

    /// Gets `source`: from the cache under its own digest or one of its mirrors', else from the first mirror that
    /// has it. `progress` is told bytes as they come over the network, whatever becomes of them. `cancel` is heeded within a tenth of a second.
    pub fn fetch(
        &self,
        source: &Source,
        cancel: &AtomicBool,
        progress: &dyn Fn(u64),
    ) -> Result<Fetched, FetchError> {
        let source = &checked(source)?;
        let mut refused = Vec::new();
        if let Some(found) = self.look(source, &mut refused, cancel)? {
            return Ok(Fetched { refused, ..found });
        }
        if self.options.offline {
            return Err(FetchError::Offline { file: source.file.clone() });
        }
        let came = std::cell::Cell::new(0);
        let count = |bytes| {
            came.set(came.get() + bytes);
            progress(bytes);
        };
        let mut mismatch = None;
        let mut rest = source.mirrors.iter().collect();
        while let Some(mirror) = self.health.next(&mut rest) {
            let reason = match self.ask(mirror, cancel, &count) {
                Ok((path, from)) => {
                    return Ok(Fetched {
                        path,
                        sha256: mirror.sha256.clone(),
                        file: mirror.file.clone(),
                        from,
                        bytes_fetched: came.get(),
                        refused,
                    });
                }
                Err(Stop::Fetch(error)) => return Err(error),
                Err(Stop::Mirror(reason)) => reason,
            };
            if reason.is_the_hosts() {
                self.health.host_failed(&mirror.place);
            }
            if let (Reason::DigestMismatch { got }, None) = (&reason, &mismatch) {
                mismatch = Some((refused.len(), mirror, got.clone()));
            }
            refused.push(MirrorFailure { mirror: mirror.place.to_string(), reason });
        }
        let file = source.file.clone();
        Err(match mismatch {
            Some((at, mirror, got)) => {
                let from = refused.remove(at).mirror;
                FetchError::DigestMismatch {
                    file,
                    expected: mirror.sha256.clone(),
                    got,
                    from,
                    failures: refused,
                }
            }
            None => FetchError::Unavailable { file, failures: refused },
        })
    }

    /// The source, if the cache has it intact. Asks nobody; removes what is damaged.
    fn look(
        &self,
        source: &Source,
        refused: &mut Vec<MirrorFailure>,
        cancel: &AtomicBool,
    ) -> Result<Option<Fetched>, FetchError> {
        let mut names = vec![(&source.sha256, &source.file)];
        for mirror in &source.mirrors {
            if names.iter().all(|(digest, _)| *digest != &mirror.sha256) {
                names.push((&mirror.sha256, &mirror.file));
            }
        }
        for (sha256, file) in names {
            match self.cache.find(sha256, cancel)? {
                Found::Absent => {}
                Found::Damaged { got } => refused.push(MirrorFailure {
                    mirror: FROM_CACHE.to_owned(),
                    reason: Reason::DigestMismatch { got },
                }),
                Found::Intact(path) => {
                    return Ok(Some(Fetched {
                        path,
                        sha256: sha256.clone(),
                        file: file.clone(),
                        from: FROM_CACHE.to_owned(),
                        bytes_fetched: 0,
                        refused: Vec::new(),
                    }));
                }
            }
        }
        Ok(None)
    }

    /// Asks one mirror, unless somebody else does so at this moment: then waits for what they get.
    fn ask(
        &self,
        mirror: &Mirror,
        cancel: &AtomicBool,
        progress: &dyn Fn(u64),
    ) -> Result<(PathBuf, String), Stop> {
        turns::check(cancel)?;
        let _turn = self.turns.take(&mirror.sha256, cancel)?;
        let mut partial = self.cache.partial(&mirror.sha256, &self.turns, cancel)?;
        if let Found::Intact(path) = self.cache.find(&mirror.sha256, cancel)? {
            partial.discard();
            return Ok((path, FROM_CACHE.to_owned()));
        }
        if let Some(got) = self.health.refused(mirror) {
            partial.release();
            return Err(Reason::DigestMismatch { got }.into());
        }
        match self.fill(mirror, &mut partial, cancel, progress) {
            Ok(()) if partial.digest() == mirror.sha256 => {
                Ok((self.cache.adopt(partial, &mirror.sha256)?, mirror.place.to_string()))
            }
            Ok(()) => {
                let got = partial.digest();
                partial.discard();
                self.health.refuse(mirror, &got);
                Err(Reason::DigestMismatch { got }.into())
            }
            Err(Stop::Mirror(Reason::DigestMismatch { got })) => {
                partial.release();
                self.health.refuse(mirror, &got);
                Err(Reason::DigestMismatch { got }.into())
            }
            Err(stop) => {
                partial.release();
                Err(stop)
            }
        }
    }

    /// Fills `partial` with all that the mirror has. What was continued and does not come out right is fetched
    /// again whole: only bytes of one response tell on a mirror.
    fn fill(
        &self,
        mirror: &Mirror,
        partial: &mut Partial,
        cancel: &AtomicBool,
        progress: &dyn Fn(u64),
    ) -> Result<(), Stop> {
        match &mirror.place {
            Place::Apt(name) => {
                self.apt.get(name, mirror, &self.turns, partial, cancel, progress)?;
            }
            Place::Url(url) if url.starts_with("file:") => {
                local::get(url, &self.options.base, partial, cancel)?;
            }
            Place::Url(url) if url.starts_with("https://") || url.starts_with("http://") => {
                partial.resume(cancel)?;
                if partial.digest() == mirror.sha256 {
                    return Ok(());
                }
                if self.https.get(url, partial, cancel, progress)? == Whole::Spliced
                    && partial.digest() != mirror.sha256
                {
                    partial.restart()?;
                    self.https.get(url, partial, cancel, progress)?;
                }
            }
            Place::Url(_) => {
                return Err(Reason::Unsupported("neither `https:`, `http:` nor `file:`".to_owned()).into());
            }
        }
        Ok(())
    }
}

/// The source with its digests in lower case. Digests become paths, so they must be digests.
fn checked(source: &Source) -> Result<Source, FetchError> {
    let digest = |text: &str| {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(text.to_ascii_lowercase())
        } else {
            Err(FetchError::Invalid {
                file: source.file.clone(),
                reason: format!("`{text}` is no sha256: 64 hexadecimal digits"),
            })
        }
    };
    let mut checked = source.clone();
    checked.sha256 = digest(&source.sha256)?;
    for mirror in &mut checked.mirrors {
        mirror.sha256 = digest(&mirror.sha256)?;
    }
    Ok(checked)
}
