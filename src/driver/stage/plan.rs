//! What merging a package will do, decided before anything is touched.
//!
//! Owns: conflicts between packages. Does not know: files; it compares lists only.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::path::RelPath;
use super::manifest::Manifest;
use super::merge::WORK;
use super::ownership::{Attributes, ClaimKind, Ownership};

/// At most this many conflicts are listed.
const CONFLICTS_MAX: usize = 20;

/// What to do to the sysroot, in this order: `clear`, `directories`, `place`, `remove`.
#[derive(Debug, Clone)]
pub struct MergePlan {
    /// The package's list.
    pub manifest: Arc<Manifest>,
    /// What is in the way because it changes between directory and something else; innermost first.
    pub(super) clear: Vec<Removal>,
    /// Directories with the mode and owner that they shall have.
    pub(super) directories: Vec<(RelPath, Attributes)>,
    /// Indexes of entries that are put there, no directories.
    pub(super) place: Vec<usize>,
    /// What the old manifest alone had; innermost first.
    pub(super) remove: Vec<Removal>,
    /// Packages that get a path back that this one had taken over, and must be repaired.
    pub exposed: BTreeSet<String>,
}

/// A path that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Removal {
    pub path: RelPath,
    pub directory: bool,
}

/// Why a package was not merged, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Paths belong to other packages: a configuration error. Nothing was touched.
    #[error("{0}")]
    Conflict(Conflicts),
    /// A path would leave the sysroot: a security violation.
    #[error("`{path}` {what}")]
    SecurityViolation {
        /// The path.
        path: String,
        /// How.
        what: &'static str,
    },
    /// The archive is damaged or is not the manifest's: it must be built again.
    #[error("`{}` is damaged: {reason}", archive.display())]
    Damaged {
        /// The archive.
        archive: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Something that no package owns is in the way and is not empty.
    #[error("`{path}` is in the way: {what}")]
    Blocked {
        /// The path.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// The step said to stop. Merging again with the same plan finishes.
    #[error("interrupted")]
    Interrupted,
    /// The system refused. Merging again with the same plan goes on.
    #[error("cannot merge `{path}`: {source}")]
    Io {
        /// The path.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// Conflicts with other packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts {
    /// The first of them, by path.
    pub first: Vec<Conflict>,
    /// How many there are.
    pub total: usize,
}

/// One path that cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: RelPath,
    /// The package that has it.
    pub owner: String,
    /// How they clash.
    pub clash: Clash,
}

/// How two packages clash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// Both have the file.
    Both,
    /// A directory here, a symlink there: the package would write through the other's symlink.
    ThroughSymlink,
    /// A directory here, a file there.
    DirectoryOverFile,
    /// No directory here, a directory there.
    FileOverDirectory,
    /// A direct package removed it.
    Removed,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, owner, clash } = self;
        match clash {
            Clash::Both => write!(f, "`{path}` belongs to `{owner}`"),
            Clash::ThroughSymlink => {
                write!(
                    f,
                    "`{path}` is a directory here and a symlink of `{owner}`: install where that points to"
                )
            }
            Clash::DirectoryOverFile => write!(f, "`{path}` is a directory here and a file of `{owner}`"),
            Clash::FileOverDirectory => {
                write!(f, "`{path}` is a directory of `{owner}` and no directory here")
            }
            Clash::Removed => write!(f, "`{path}` was removed and belongs to `{owner}`"),
        }
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, conflict) in self.first.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{conflict}")?;
        }
        match self.total.saturating_sub(self.first.len()) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Collects conflicts.
#[derive(Default)]
pub(super) struct Clashes(Vec<Conflict>);

impl Clashes {
    pub(super) fn add(&mut self, path: &RelPath, owner: &str, clash: Clash) {
        self.0.push(Conflict { path: path.clone(), owner: owner.to_owned(), clash });
    }

    pub(super) fn into_result(mut self) -> Result<(), MergeError> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort_by(|a, b| a.path.cmp(&b.path));
        let total = self.0.len();
        self.0.truncate(CONFLICTS_MAX);
        Err(MergeError::Conflict(Conflicts { first: self.0, total }))
    }
}

/// What becomes of a path that a package wants and another one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimant {
    /// The package may take it over.
    Takes,
    /// It stays with the other one, which may take this package's paths over.
    Yields,
    /// They clash.
    Stranger,
}

/// Plans the merge of a package, new or as a new version of itself, into a sysroot of which `ownership` knows all
/// merges but this one. `against` says what it is to the owner of a path that it wants. A directory of another package
/// never becomes something else.
pub fn check(
    ownership: &Ownership,
    manifest: &Arc<Manifest>,
    against: &dyn Fn(&str) -> Claimant,
) -> Result<MergePlan, MergeError> {
    let package = manifest.identity.package.as_str();
    let mut clashes = Clashes::default();
    let mut plan = empty(manifest);
    let mut clear = Vec::new();
    for (at, entry) in manifest.contents.entries().iter().enumerate() {
        let path = &entry.path;
        if path.as_bytes() == WORK {
            return Err(MergeError::SecurityViolation {
                path: path.to_string(),
                what: "is a name that kiln reserves",
            });
        }
        let own = ownership.claim_of(path, package);
        let kind = ClaimKind::of(entry);
        if let Some(other) = ownership.last_other(path, package) {
            let owner = other.package;
            let claimant = against(owner);
            let takes = claimant == Claimant::Takes;
            match (kind, other.as_what) {
                (ClaimKind::Symlink | ClaimKind::File, ClaimKind::Directory(_)) => {
                    clashes.add(path, owner, Clash::FileOverDirectory);
                }
                // Ours was on top already.
                (_, ClaimKind::Symlink | ClaimKind::File) if own.is_some_and(|own| own.is_above(&other)) => {}
                (ClaimKind::Symlink | ClaimKind::File, ClaimKind::Symlink | ClaimKind::File)
                    if claimant == Claimant::Yields =>
                {
                    continue;
                }
                (ClaimKind::Directory(_), ClaimKind::Symlink) if !takes => {
                    clashes.add(path, owner, Clash::ThroughSymlink);
                }
                (ClaimKind::Directory(_), ClaimKind::File) if !takes => {
                    clashes.add(path, owner, Clash::DirectoryOverFile);
                }
                (ClaimKind::Symlink | ClaimKind::File, ClaimKind::Symlink | ClaimKind::File) if !takes => {
                    clashes.add(path, owner, Clash::Both);
                }
                (ClaimKind::Directory(_), ClaimKind::Directory(_))
                | (_, ClaimKind::Symlink | ClaimKind::File) => {}
            }
        }
        let now = ownership.last(path).map(|claim| claim.as_what);
        match kind {
            ClaimKind::Directory(own) => {
                if now.is_some_and(|now| !now.is_directory()) {
                    clear.push(Removal { path: path.clone(), directory: false });
                }
                plan.directories.push((path.clone(), ownership.attributes(path, package, own)));
            }
            ClaimKind::Symlink | ClaimKind::File => {
                if now.is_some_and(ClaimKind::is_directory) {
                    clear.push(Removal { path: path.clone(), directory: true });
                }
                plan.place.push(at);
            }
        }
    }
    clashes.into_result()?;
    let gone = removals(ownership, package, |path| manifest.contents.get(path).is_none(), &mut plan.exposed);
    // What is below a path that becomes a file must go first.
    let becomes_file: BTreeSet<&RelPath> =
        clear.iter().filter(|removal| removal.directory).map(|removal| &removal.path).collect();
    let (first, last): (Vec<_>, Vec<_>) = gone
        .into_iter()
        .partition(|removal| removal.path.ancestors().any(|above| becomes_file.contains(&above)));
    plan.clear = first;
    plan.clear.extend(clear);
    plan.clear.sort_by(innermost_first);
    plan.remove = last;
    Ok(plan)
}

/// Plans to put back what a package still owns, as it is in its manifest, and to touch nothing else.
pub fn repair(ownership: &Ownership, manifest: &Arc<Manifest>) -> MergePlan {
    let package = manifest.identity.package.as_str();
    let mut plan = empty(manifest);
    for (at, entry) in manifest.contents.entries().iter().enumerate() {
        if !ownership.is_owner(&entry.path, package) {
            continue;
        }
        match ClaimKind::of(entry) {
            ClaimKind::Directory(own) => {
                let attributes = ownership.attributes(&entry.path, package, own);
                plan.directories.push((entry.path.clone(), attributes));
            }
            ClaimKind::Symlink | ClaimKind::File => plan.place.push(at),
        }
    }
    plan
}

fn empty(manifest: &Arc<Manifest>) -> MergePlan {
    MergePlan {
        manifest: manifest.clone(),
        clear: Vec::new(),
        directories: Vec::new(),
        place: Vec::new(),
        remove: Vec::new(),
        exposed: BTreeSet::new(),
    }
}

/// What goes with a package: its paths that `goes` says, unless others have them too.
pub(super) fn removals(
    ownership: &Ownership,
    package: &str,
    goes: impl Fn(&RelPath) -> bool,
    exposed: &mut BTreeSet<String>,
) -> Vec<Removal> {
    let mut gone = Vec::new();
    for path in ownership.paths_of(package).iter().filter(|path| goes(path)) {
        if !ownership.is_owner(path, package) {
            continue;
        }
        let directory = ownership.last(path).is_some_and(|claim| claim.as_what.is_directory());
        if directory && ownership.other_directories(path, package) > 0 {
            continue;
        }
        exposed.extend(ownership.last_other(path, package).map(|claim| claim.package.to_owned()));
        gone.push(Removal { path: path.clone(), directory });
    }
    gone.sort_by(innermost_first);
    gone
}

fn innermost_first(a: &Removal, b: &Removal) -> std::cmp::Ordering {
    b.path.cmp(&a.path)
}
