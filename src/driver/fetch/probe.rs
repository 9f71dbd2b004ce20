//! Asks where a source could be had, without fetching it.
//!
//! Owns: the questions. Does not know: what follows from the answers.

use std::sync::atomic::AtomicBool;

use super::error::{FetchError, MirrorFailure, Stop};
use super::{FROM_CACHE, Fetcher, Mirror, Place, Source, checked, local};

/// Where a source can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    /// The cache, or mirrors that say that they have it, in the order in which they will be asked.
    pub there: Vec<String>,
    /// Those that do not.
    pub refused: Vec<MirrorFailure>,
}

impl Fetcher {
    /// Asks the cache and, unless that has the source, each mirror.
    pub fn available(&self, source: &Source, cancel: &AtomicBool) -> Result<Availability, FetchError> {
        let source = &checked(source)?;
        let mut refused = Vec::new();
        if self.look(source, &mut refused, cancel)?.is_some() {
            return Ok(Availability { there: vec![FROM_CACHE.to_owned()], refused });
        }
        if self.options.offline {
            return Err(FetchError::Offline { file: source.file.clone() });
        }
        let mut there = Vec::new();
        for mirror in self.in_order(source) {
            match self.probe(mirror, cancel) {
                Ok(()) => there.push(mirror.place.to_string()),
                Err(Stop::Fetch(error)) => return Err(error),
                Err(Stop::Mirror(reason)) => {
                    refused.push(MirrorFailure { mirror: mirror.place.to_string(), reason });
                }
            }
        }
        Ok(Availability { there, refused })
    }

    /// The mirrors as they will be asked: those whose hosts have failed come last.
    pub fn order(&self, source: &Source) -> Vec<String> {
        self.in_order(source).into_iter().map(|mirror| mirror.place.to_string()).collect()
    }

    fn in_order<'a>(&self, source: &'a Source) -> Vec<&'a Mirror> {
        let mut rest = source.mirrors.iter().collect();
        std::iter::from_fn(|| self.health.next(&mut rest)).collect()
    }

    fn probe(&self, mirror: &Mirror, cancel: &AtomicBool) -> Result<(), Stop> {
        match &mirror.place {
            Place::Apt(name) => self.apt.find(name, &mirror.file, &self.turns, cancel).map(drop),
            Place::Url(url) if url.starts_with("file:") => {
                Ok(local::open(url, &self.options.base).map(drop)?)
            }
            Place::Url(url) => self.https.probe(url, cancel),
        }
    }
}
