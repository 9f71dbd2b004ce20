//! Keys: digests of everything that goes into a package, so that an unchanged one is never built twice and a
//! changed one rebuilds exactly its dependents.
//!
//! Owns: what counts. In: format of the archive, name, version, source digests and names, scripts,
//! environment, staging rules, keys of what it waits for. Out: where a source comes from, how many jobs,
//! limits, time-outs, weights, the build id, the place of the state directory.

use std::sync::Arc;

use serde::Serialize;

use crate::config::document::Document;
use crate::config::recipe::{Mirror, Recipe};

use super::{Package, Phase};

/// Raised when archives made by an older kiln must not be reused.
const ARCHIVE_FORMAT: u32 = 1;

/// Makes keys, one after another.
#[derive(Default)]
pub struct Keyed {
    /// What is added next: kept, so that a distribution does not allocate it again for each package.
    bytes: Vec<u8>,
}

impl Keyed {
    /// The key of a package; `dependencies` are the keys of what its first own task waits for, sorted.
    pub fn package_key(&mut self, recipe: &Recipe, dependencies: &[[u8; 32]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut sources = Vec::new();
        for source in &recipe.sources {
            // Each mirror may have its own content under its own digest: all of them are declared inputs.
            let mut digests = vec![&source.sha256];
            for mirror in &source.from {
                if let Mirror::Entry(entry) = mirror {
                    digests.extend(&entry.sha256);
                }
            }
            sources.push((&source.file, digests));
        }
        self.add(&mut hasher, &ARCHIVE_FORMAT);
        self.add(&mut hasher, &(&recipe.package, &recipe.version, &sources, &recipe.env));
        self.add(&mut hasher, &(&recipe.tasks, &recipe.provides, recipe.direct, recipe.source_date_epoch));
        self.add(&mut hasher, &(&recipe.privileged, &recipe.owners));
        for dependency in dependencies {
            hasher.update(dependency);
        }
        *hasher.finalize().as_bytes()
    }

    /// Tells recipes of one key apart by what may decide whether an attempt succeeds, though not what it makes: where
    /// sources come from, limits, jobs, time-outs, whose paths it may take.
    pub fn trial(&mut self, recipe: &Recipe, key: &[u8; 32]) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(key);
        self.add(
            &mut hasher,
            &(&recipe.sources, &recipe.limits, &recipe.jobs, recipe.memory, &recipe.replaces),
        );
        self.add(&mut hasher, &(recipe.timeout, recipe.silent_timeout, recipe.accept_failed_check));
        let digest = hasher.finalize();
        let (first, _) = digest.as_bytes().split_at(8);
        first.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The digest of a plan.
    pub fn plan_digest(&mut self, document: &Document, phases: &[Phase], packages: &[Package]) -> Arc<str> {
        let mut hasher = blake3::Hasher::new();
        self.add(&mut hasher, document);
        for phase in phases {
            self.add(&mut hasher, &(&*phase.key, phase.packages.len()));
        }
        for package in packages {
            self.add(&mut hasher, &(&*package.name, &*package.key, &package.depends_on, package.weight));
            self.add(&mut hasher, &package.trial);
        }
        hex(hasher.finalize().as_bytes())
    }

    /// Adds a value with its length before it, so that neighbours cannot run into each other.
    fn add(&mut self, hasher: &mut blake3::Hasher, value: &impl Serialize) {
        self.bytes.clear();
        if serde_json::to_writer(&mut self.bytes, value).is_err() {
            self.bytes.clear();
        }
        hasher.update(&(self.bytes.len() as u64).to_le_bytes());
        hasher.update(&self.bytes);
    }
}

/// The key under which an archive is kept: one that lacks something optional is never taken for a whole one.
pub fn stored(key: &str, degraded: bool) -> Arc<str> {
    if degraded { format!("{key}.degraded").into() } else { key.into() }
}

/// The other way round.
pub fn plain(stored: &str, degraded: bool) -> Arc<str> {
    stored.strip_suffix(".degraded").filter(|_| degraded).unwrap_or(stored).into()
}

/// The key of a closure, from the keys of its members and of the closures that they need, sorted.
pub fn closure_key(dependencies: &[[u8; 32]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for dependency in dependencies {
        hasher.update(dependency);
    }
    *hasher.finalize().as_bytes()
}

/// Hexadecimal.
pub fn hex(digest: &[u8; 32]) -> Arc<str> {
    blake3::Hash::from_bytes(*digest).to_hex().as_str().into()
}
