//! Which package owns which path of the sysroot.
//!
//! Owns: claims of packages on paths, and who of several counts. Does not know: files.
//!
//! A directory may be claimed by any number of packages. Anything else belongs to one; a package that takes it over
//! (`replaces`) claims it on top of the old owner's claim.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::path::RelPath;
use super::manifest::{Entry, Kind, Manifest};

/// All claims on the sysroot.
#[derive(Debug, Clone, Default)]
pub struct Ownership {
    /// Claims in the order in which they were made.
    paths: BTreeMap<RelPath, Vec<Claim>>,
    packages: BTreeMap<Arc<str>, Vec<RelPath>>,
}

/// One package's claim on one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub package: Arc<str>,
    /// As what.
    pub as_what: ClaimKind,
}

/// What a package says that a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimKind {
    /// A directory, which can be shared.
    Directory(Attributes),
    /// A symlink: nothing is installed through it.
    Symlink,
    /// Anything else.
    File,
}

/// Mode and owner of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

impl Attributes {
    /// What a directory has when nobody cares.
    const ORDINARY: Self = Self { mode: 0o755, uid: 0, gid: 0 };

    /// An entry's.
    pub fn of(entry: &Entry) -> Self {
        Self { mode: entry.mode, uid: entry.uid, gid: entry.gid }
    }
}

impl ClaimKind {
    /// What an entry claims.
    pub fn of(entry: &Entry) -> Self {
        match entry.kind {
            Kind::Directory => Self::Directory(Attributes::of(entry)),
            Kind::Symlink { .. } => Self::Symlink,
            Kind::File { .. } | Kind::Fifo | Kind::Device { .. } => Self::File,
        }
    }

    /// Whether it is a claim on a directory.
    pub fn is_directory(self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

impl Ownership {
    /// From the manifests of all merged packages, in the order in which they were merged: a later one has taken over what
    /// an earlier one has, too.
    pub fn new<'a>(merged: impl IntoIterator<Item = &'a Manifest>) -> Self {
        let mut ownership = Self::default();
        merged.into_iter().for_each(|manifest| ownership.record(manifest));
        ownership
    }

    /// A package was merged; its claims from before are replaced.
    pub fn record(&mut self, manifest: &Manifest) {
        let package: Arc<str> = manifest.identity.package.as_str().into();
        self.forget(&package);
        let mut paths = Vec::with_capacity(manifest.contents.entries().len());
        for entry in manifest.contents.entries() {
            let claim = Claim { package: package.clone(), as_what: ClaimKind::of(entry) };
            self.paths.entry(entry.path.clone()).or_default().push(claim);
            paths.push(entry.path.clone());
        }
        self.packages.insert(package, paths);
    }

    /// A package is gone.
    pub fn forget(&mut self, package: &str) {
        for path in self.packages.remove(package).unwrap_or_default() {
            if let Some(claims) = self.paths.get_mut(&path) {
                claims.retain(|claim| &*claim.package != package);
                if claims.is_empty() {
                    self.paths.remove(&path);
                }
            }
        }
    }

    /// The packages that have been merged.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        self.packages.keys().map(|package| &**package)
    }

    /// All claims on a path, oldest first.
    pub fn claims(&self, path: &RelPath) -> &[Claim] {
        self.paths.get(path).map_or(&[], Vec::as_slice)
    }

    /// The package that a path belongs to; of a directory the last of its owners.
    pub fn owner(&self, path: &RelPath) -> Option<&str> {
        self.claims(path).last().map(|claim| &*claim.package)
    }

    /// Whether `package` is the owner of `path`, or one of a directory's.
    pub fn is_owner(&self, path: &RelPath, package: &str) -> bool {
        let claims = self.claims(path);
        match claims.last() {
            Some(Claim { as_what: ClaimKind::Directory(_), .. }) => {
                let shared = claims.iter().rev().take_while(|claim| claim.as_what.is_directory());
                shared.into_iter().any(|claim| &*claim.package == package)
            }
            Some(last) => &*last.package == package,
            None => false,
        }
    }

    /// What a package claims, in order.
    pub fn paths_of(&self, package: &str) -> &[RelPath] {
        self.packages.get(package).map_or(&[], Vec::as_slice)
    }

    /// Mode and owner of a directory that several claim: who wants something else than 0755 root:root means it, so that
    /// is what counts, whatever the order of the merges; between two of those the first name decides.
    pub(super) fn attributes(
        &self,
        path: &RelPath,
        package: &str,
        own: Option<Attributes>,
    ) -> Option<Attributes> {
        let others = self.claims(path).iter().filter(|claim| &*claim.package != package);
        let others = others.filter_map(|claim| match claim.as_what {
            ClaimKind::Directory(attributes) => Some((&*claim.package, attributes)),
            ClaimKind::Symlink | ClaimKind::File => None,
        });
        let all = others.chain(own.map(|own| (package, own)));
        all.min_by_key(|(package, attributes)| (*attributes == Attributes::ORDINARY, *package))
            .map(|(_, attributes)| attributes)
    }
}
