//! Which package owns which path of the sysroot.
//!
//! Owns: claims of packages on paths, and who of several counts. Does not know: files.
//!
//! A directory may be claimed by any number of packages. Anything else belongs to one; a package that takes it over
//! (`replaces`) claims it on top of the old owner's claim, and stays on top when that one is merged again.
//!
//! Every question takes logarithmic time, however many packages share a directory: all of them share `usr`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::path::RelPath;
use super::manifest::{Entry, Kind, Manifest};

/// All claims on the sysroot.
#[derive(Debug, Clone, Default)]
pub struct Ownership {
    paths: BTreeMap<RelPath, Claims>,
    packages: BTreeMap<Arc<str>, Merged>,
    names: BTreeMap<Turn, Arc<str>>,
}

/// Position of a package among all that are merged, so it stands for the package, too. A package claims all its paths
/// in one turn: the order of turns is the order of the claims on each path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn(i64);

/// Room for packages that belong between two others: each takes half of what is left.
const TURNS_BETWEEN: i64 = 1 << 20;

#[derive(Debug, Clone)]
struct Merged {
    turn: Turn,
    /// What it claims, in order.
    paths: Vec<RelPath>,
}

/// The claims on one path. A package is in one of the first two only.
#[derive(Debug, Clone, Default)]
struct Claims {
    directories: BTreeMap<Turn, Attributes>,
    others: BTreeMap<Turn, NoDirectory>,
    /// Of the directories: who wants something else than the ordinary, by name.
    special: BTreeMap<Arc<str>, Attributes>,
}

#[derive(Debug, Clone, Copy)]
enum NoDirectory {
    Symlink,
    File,
}

/// One package's claim on one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    turn: Turn,
    /// Who.
    pub package: &'a str,
    /// As what.
    pub as_what: ClaimKind,
}

impl Claim<'_> {
    /// Whether it was made on top of `other`.
    pub fn is_above(&self, other: &Self) -> bool {
        self.turn > other.turn
    }
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

impl Claims {
    fn put(&mut self, package: &Arc<str>, turn: Turn, claim: ClaimKind) {
        match claim {
            ClaimKind::Directory(attributes) => {
                self.directories.insert(turn, attributes);
                if attributes != Attributes::ORDINARY {
                    self.special.insert(package.clone(), attributes);
                }
            }
            ClaimKind::Symlink => _ = self.others.insert(turn, NoDirectory::Symlink),
            ClaimKind::File => _ = self.others.insert(turn, NoDirectory::File),
        }
    }

    fn take(&mut self, package: &str, turn: Turn) {
        self.directories.remove(&turn);
        self.others.remove(&turn);
        self.special.remove(package);
    }

    fn is_empty(&self) -> bool {
        self.directories.is_empty() && self.others.is_empty()
    }

    /// The newest claim but that of `besides`.
    fn last(&self, besides: Option<Turn>) -> Option<(Turn, ClaimKind)> {
        let directories = self.directories.iter().map(as_directory).rev();
        let others = self.others.iter().map(as_other).rev();
        let last = |(turn, _): &(Turn, ClaimKind)| Some(*turn) != besides;
        directories
            .into_iter()
            .find(last)
            .into_iter()
            .chain(others.into_iter().find(last))
            .max_by_key(|c| c.0)
    }

    fn get(&self, turn: Turn) -> Option<ClaimKind> {
        let directory = self.directories.get_key_value(&turn).map(as_directory);
        directory.or_else(|| self.others.get_key_value(&turn).map(as_other)).map(|(_, kind)| kind)
    }
}

fn as_directory((turn, attributes): (&Turn, &Attributes)) -> (Turn, ClaimKind) {
    (*turn, ClaimKind::Directory(*attributes))
}

fn as_other((turn, other): (&Turn, &NoDirectory)) -> (Turn, ClaimKind) {
    let kind = match other {
        NoDirectory::Symlink => ClaimKind::Symlink,
        NoDirectory::File => ClaimKind::File,
    };
    (*turn, kind)
}

impl Ownership {
    /// A package was merged; its claims from before are replaced. They are the newest, but below those of
    /// `replacers`, as far as these are merged: all who may take over its paths, or those of one who may, whether or not that
    /// one is merged. So it is above whatever it replaces itself.
    pub fn record<'a>(&mut self, manifest: &Manifest, replacers: impl IntoIterator<Item = &'a str>) {
        let package: Arc<str> = manifest.identity.package.as_str().into();
        self.forget(&package);
        let above: Vec<&str> = replacers.into_iter().collect();
        let turn = self.turn_below(&above).unwrap_or_else(|| {
            self.spread();
            self.turn_below(&above).unwrap_or(Turn(0))
        });
        let entries = manifest.contents.entries();
        for entry in entries {
            self.paths.entry(entry.path.clone()).or_default().put(&package, turn, ClaimKind::of(entry));
        }
        self.names.insert(turn, package.clone());
        let paths = entries.iter().map(|entry| entry.path.clone()).collect();
        self.packages.insert(package, Merged { turn, paths });
    }

    /// The highest turn that is below those of `above`, or the highest of all where none of them is merged. `None`: there is no
    /// room for one.
    fn turn_below(&self, above: &[&str]) -> Option<Turn> {
        let Some(lowest) = above.iter().filter_map(|replacer| self.turn(replacer)).min() else {
            return Some(Turn(self.names.last_key_value().map_or(0, |(last, _)| last.0 + TURNS_BETWEEN)));
        };
        let next = self.names.range(..lowest).next_back();
        let next = next.map_or(lowest.0 - 2 * TURNS_BETWEEN, |(next, _)| next.0);
        (lowest.0 - next > 1).then(|| Turn(next + (lowest.0 - next) / 2))
    }

    /// Gives all packages turns with room between them, in the same order.
    fn spread(&mut self) {
        let old: Vec<Turn> = self.names.keys().copied().collect();
        let new: BTreeMap<Turn, Turn> =
            old.into_iter().zip((0..).map(|at| Turn(at * TURNS_BETWEEN))).collect();
        self.names =
            std::mem::take(&mut self.names).into_iter().map(|(turn, name)| (new[&turn], name)).collect();
        for merged in self.packages.values_mut() {
            merged.turn = new[&merged.turn];
        }
        for claims in self.paths.values_mut() {
            let Claims { directories, others, .. } = claims;
            *directories =
                std::mem::take(directories).into_iter().map(|(turn, what)| (new[&turn], what)).collect();
            *others = std::mem::take(others).into_iter().map(|(turn, what)| (new[&turn], what)).collect();
        }
    }

    /// A package is gone.
    pub fn forget(&mut self, package: &str) {
        let Some(merged) = self.packages.remove(package) else { return };
        self.names.remove(&merged.turn);
        for path in merged.paths {
            if let Some(claims) = self.paths.get_mut(&path) {
                claims.take(package, merged.turn);
                if claims.is_empty() {
                    self.paths.remove(&path);
                }
            }
        }
    }

    fn turn(&self, package: &str) -> Option<Turn> {
        self.packages.get(package).map(|merged| merged.turn)
    }

    fn claim(&self, (turn, as_what): (Turn, ClaimKind)) -> Option<Claim<'_>> {
        self.names.get(&turn).map(|package| Claim { turn, package, as_what })
    }

    /// All claims on a path, oldest first. For when every one of them counts: there may be as many as packages.
    pub fn claims(&self, path: &RelPath) -> Vec<Claim<'_>> {
        let Some(claims) = self.paths.get(path) else { return Vec::new() };
        let all = claims.directories.iter().map(as_directory).chain(claims.others.iter().map(as_other));
        let mut all: Vec<_> = all.filter_map(|claim| self.claim(claim)).collect();
        all.sort_by_key(|claim| claim.turn);
        all
    }

    /// The newest claim on a path.
    pub fn last(&self, path: &RelPath) -> Option<Claim<'_>> {
        self.paths.get(path)?.last(None).and_then(|claim| self.claim(claim))
    }

    /// The newest claim of another package than `package`.
    pub fn last_other(&self, path: &RelPath, package: &str) -> Option<Claim<'_>> {
        self.paths.get(path)?.last(self.turn(package)).and_then(|claim| self.claim(claim))
    }

    /// The claim of `package`.
    pub fn claim_of(&self, path: &RelPath, package: &str) -> Option<Claim<'_>> {
        let turn = self.turn(package)?;
        let as_what = self.paths.get(path)?.get(turn)?;
        self.claim((turn, as_what))
    }

    /// How many packages say that `path` is a directory, `package` not counted.
    pub fn other_directories(&self, path: &RelPath, package: &str) -> usize {
        let Some(claims) = self.paths.get(path) else { return 0 };
        let own = self.turn(package).is_some_and(|turn| claims.directories.contains_key(&turn));
        claims.directories.len() - usize::from(own)
    }

    /// The package that a path belongs to; of a directory the last of its owners.
    pub fn owner(&self, path: &RelPath) -> Option<&str> {
        self.last(path).map(|claim| claim.package)
    }

    /// Whether `package` is the owner of `path`, or one of a directory's.
    pub fn is_owner(&self, path: &RelPath, package: &str) -> bool {
        let (Some(claims), Some(turn)) = (self.paths.get(path), self.turn(package)) else { return false };
        let last_other = claims.others.last_key_value().map(|(other, _)| *other);
        match claims.get(turn) {
            // All that claim it as a directory since it last was something else.
            Some(ClaimKind::Directory(_)) => Some(turn) > last_other,
            Some(ClaimKind::Symlink | ClaimKind::File) => {
                claims.last(None).is_some_and(|(last, _)| last == turn)
            }
            None => false,
        }
    }

    /// What a package claims, in order.
    pub fn paths_of(&self, package: &str) -> &[RelPath] {
        self.packages.get(package).map_or(&[], |merged| merged.paths.as_slice())
    }

    /// Mode and owner of a directory that `package` wants as `own` and others may claim as well: who wants something else
    /// than 0755 root:root means it, so that is what counts, whatever the order of the merges; between two of those the
    /// first name decides.
    pub(super) fn attributes(&self, path: &RelPath, package: &str, own: Attributes) -> Attributes {
        let special = self.paths.get(path).into_iter().flat_map(|claims| &claims.special);
        let other =
            special.map(|(name, attributes)| (&**name, *attributes)).find(|(name, _)| *name != package);
        match other {
            Some((name, attributes)) if own == Attributes::ORDINARY || name < package => attributes,
            Some(_) | None => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::manifest::{Contents, Identity};
    use super::*;

    /// A path of a package, as a directory of some mode, a symlink or something else.
    type Line = (usize, u32);

    const PATHS: [&str; 3] = ["d", "e", "f"];
    const DIRECTORY_MODES: [u32; 3] = [0o755, 0o700, 0o1777];
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    fn entry(&(path, what): &Line) -> Entry {
        let path = RelPath::parse(PATHS[path].as_bytes()).unwrap();
        let (mode, kind) = match what {
            0..=2 => (DIRECTORY_MODES[what as usize], Kind::Directory),
            3 => (0o777, Kind::Symlink { target: b"x".to_vec() }),
            _ => (0o644, Kind::Fifo),
        };
        Entry { path, mode, uid: 0, gid: 0, kind }
    }

    fn manifest(package: &str, lines: &[Line]) -> Manifest {
        let identity = Identity { package: package.into(), version: "1".into(), key: "key".into() };
        let mut entries: Vec<_> = lines.iter().map(entry).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        let contents = Contents::new(entries).unwrap();
        let archive_digest = [0; 32].into();
        Manifest { identity, archive_digest, archive_bytes: 0, source_date_epoch: 0, contents }
    }

    /// What the answers should be, found by looking at every claim, oldest first.
    fn check(ownership: &Ownership, claims: &[(&str, Entry)], package: &str) {
        for path in PATHS.map(|path| RelPath::parse(path.as_bytes()).unwrap()) {
            let of_path = claims.iter().filter(|(_, entry)| entry.path == path);
            let of_path: Vec<_> = of_path.map(|(name, entry)| (*name, ClaimKind::of(entry))).collect();
            let found: Vec<_> = ownership.claims(&path).iter().map(|c| (c.package, c.as_what)).collect();
            assert_eq!(found, of_path);
            let owners = match of_path.last() {
                Some((_, kind)) if kind.is_directory() => {
                    of_path.iter().rev().take_while(|(_, kind)| kind.is_directory()).collect()
                }
                Some(last) => vec![last],
                None => Vec::new(),
            };
            assert_eq!(ownership.owner(&path), of_path.last().map(|(name, _)| *name));
            assert_eq!(ownership.is_owner(&path, package), owners.iter().any(|(name, _)| *name == package));
            let others: Vec<_> = of_path.iter().filter(|(name, _)| *name != package).copied().collect();
            let last_other = ownership.last_other(&path, package).map(|c| (c.package, c.as_what));
            assert_eq!(last_other, others.last().copied());
            let own = ownership.claim_of(&path, package).map(|c| (c.package, c.as_what));
            assert_eq!(own, of_path.iter().find(|(name, _)| *name == package).copied());
            let directories = others.iter().filter(|(_, kind)| kind.is_directory()).count();
            assert_eq!(ownership.other_directories(&path, package), directories);
            for mode in DIRECTORY_MODES {
                let own = (package, ClaimKind::Directory(Attributes { mode, uid: 0, gid: 0 }));
                let wanted = others.iter().chain([&own]).filter_map(|(name, kind)| match kind {
                    ClaimKind::Directory(attributes) => {
                        Some((*attributes == Attributes::ORDINARY, *name, *attributes))
                    }
                    ClaimKind::Symlink | ClaimKind::File => None,
                });
                let (_, _, expected) = wanted.min_by_key(|(ordinary, name, _)| (*ordinary, *name)).unwrap();
                let own = Attributes { mode, uid: 0, gid: 0 };
                assert_eq!(ownership.attributes(&path, package, own), expected);
            }
        }
    }

    /// `a` has a path, `b` replaces `a`, `c` replaces `b`.
    fn chain(ownership: &mut Ownership, name: &str) {
        let above: &[&str] = match name {
            "a" => &["b", "c"],
            "b" => &["c"],
            _ => &[],
        };
        ownership.record(&manifest(name, &[(0, 4)]), above.iter().copied());
    }

    #[test]
    fn who_replaces_stays_above_however_often_and_in_whatever_order_packages_are_merged_again() {
        let orders = [
            ["a", "b", "c"],
            ["a", "c", "b"],
            ["b", "a", "c"],
            ["b", "c", "a"],
            ["c", "a", "b"],
            ["c", "b", "a"],
        ];
        for first in orders {
            let mut ownership = Ownership::default();
            for name in first {
                chain(&mut ownership, name);
            }
            // More often than there is room between two turns.
            for again in orders.iter().cycle().take(100) {
                for name in again {
                    chain(&mut ownership, name);
                    let found: Vec<_> =
                        ownership.claims(&RelPath::parse(b"d").unwrap()).iter().map(|c| c.package).collect();
                    assert_eq!(found, ["a", "b", "c"], "{first:?}, then {again:?} to {name}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn answers_are_those_that_all_claims_together_give(
            merges in prop::collection::vec(
                (0..NAMES.len(), prop::collection::vec((0..PATHS.len(), 0..5_u32), 0..4)),
                1..12,
            )
        ) {
            let mut ownership = Ownership::default();
            let mut claims: Vec<(&str, Entry)> = Vec::new();
            for (name, lines) in &merges {
                claims.retain(|(other, _)| *other != NAMES[*name]);
                if lines.is_empty() {
                    ownership.forget(NAMES[*name]);
                } else {
                    let manifest = manifest(NAMES[*name], lines);
                    ownership.record(&manifest, []);
                    claims.extend(manifest.contents.entries().iter().map(|e| (NAMES[*name], e.clone())));
                }
                for package in NAMES {
                    check(&ownership, &claims, package);
                }
            }
        }
    }
}
