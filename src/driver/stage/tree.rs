//! Packages that write into the sysroot themselves: what they changed.
//!
//! Owns: comparing the tree before and after, and making a manifest and an archive of the difference. Does not know:
//! how the package ran.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Stat, Timespec, Timestamps};

use super::super::beneath::{WalkError, visit_tree};
use super::super::path::RelPath;
use super::StageError;
use super::archive::pack_entries;
use super::manifest::{Identity, Kind, Manifest};
use super::merge::{Sysroot, WORK};
use super::ownership::Ownership;
use super::plan::{Clash, Clashes, MergeError};
use super::rules::StagingRules;
use super::scan::describe;

/// What the tree looked like: metadata of every path, no contents.
#[derive(Debug, Clone, Default)]
pub struct Snapshot(BTreeMap<RelPath, Stat>);

/// What happened between two snapshots; each list in the order of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Was not there.
    pub created: Vec<RelPath>,
    /// Has another type, mode, owner, size, mtime or inode; a directory: type, mode or owner.
    pub changed: Vec<RelPath>,
    /// Is not there any more.
    pub removed: Vec<RelPath>,
}

/// Why a direct package's changes could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It changed what others own, or what may not be installed.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The files could not be packed.
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl Snapshot {
    /// Looks at everything in the sysroot.
    pub fn take(sysroot: &Sysroot) -> Result<Self, StageError> {
        let mut paths = BTreeMap::new();
        visit_tree::<WalkError>(sysroot.tree.root(), &mut |path, stat, _| {
            paths.insert(path, *stat);
            Ok(())
        })?;
        paths.retain(|path, _| path.split().0.unwrap_or(path.as_bytes()) != WORK && path.as_bytes() != WORK);
        Ok(Self(paths))
    }

    /// What happened until `later`.
    pub fn changes(&self, later: &Self) -> Changes {
        let mut changes = Changes::default();
        for (path, now) in &later.0 {
            match self.0.get(path) {
                None => changes.created.push(path.clone()),
                Some(then) if differs(then, now) => changes.changed.push(path.clone()),
                Some(_) => {}
            }
        }
        changes.removed.extend(self.0.keys().filter(|path| !later.0.contains_key(*path)).cloned());
        changes
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// The change time counts as nothing: `chown -R` to the same owner moves that of everything.
fn differs(then: &Stat, now: &Stat) -> bool {
    let owner = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    let rest = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ino, stat.st_rdev);
    owner(then) != owner(now) || (!is_directory(now) && rest(then) != rest(now))
}

/// Makes the manifest and the archive of a direct package from what it changed since `before`, and of what it owned before
/// and is still there. What it changed or removed of others is a conflict unless they are in `replaces`. Files of
/// the package get `source_date_epoch` as their mtime, as if they had been merged. Record the manifest in
/// `ownership` afterwards.
#[expect(clippy::too_many_arguments, reason = "each is a different thing, used once")]
pub fn capture(
    sysroot: &mut Sysroot,
    before: &Snapshot,
    ownership: &Ownership,
    identity: Identity,
    rules: &StagingRules,
    replaces: &[String],
    source_date_epoch: u64,
    archive: &Path,
) -> Result<Manifest, CaptureError> {
    let after = Snapshot::take(sysroot)?;
    let changes = before.changes(&after);
    let package = identity.package.as_str();
    let mut clashes = Clashes::default();
    let stranger = |path: &RelPath| {
        let owner =
            ownership.owner(path).filter(|owner| !ownership.is_owner(path, package) && *owner != package)?;
        (!replaces.iter().any(|replaced| replaced == owner)).then_some(owner)
    };
    for path in &changes.changed {
        if let Some(owner) = stranger(path) {
            clashes.add(path, owner, Clash::Both);
        }
    }
    for path in &changes.removed {
        let others = ownership.claims(path).into_iter().find(|claim| {
            claim.package != package && !replaces.iter().any(|replaced| **replaced == *claim.package)
        });
        if let Some(claim) = others
            && (stranger(path).is_some() || claim.as_what.is_directory())
        {
            clashes.add(path, claim.package, Clash::Removed);
        }
    }
    clashes.into_result()?;

    let mut paths: BTreeSet<&RelPath> = changes.created.iter().chain(&changes.changed).collect();
    let kept = ownership.paths_of(package).iter();
    paths.extend(kept.filter(|path| ownership.is_owner(path, package) && after.0.contains_key(*path)));
    let above: BTreeSet<RelPath> = paths.iter().flat_map(|path| path.ancestors()).collect();
    let found = paths.into_iter().chain(&above).collect::<BTreeSet<_>>();
    let found = found.into_iter().filter_map(|path| Some((path.clone(), *after.0.get(path)?))).collect();
    let root = sysroot.path().to_owned();
    let entries = describe(&mut sysroot.tree, &root, found, rules)?;
    let time = Timespec { tv_sec: i64::try_from(source_date_epoch).unwrap_or(i64::MAX), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    for entry in &entries {
        if let Kind::File { link: None, .. } = entry.kind {
            let (parent, name) = sysroot.tree.parent(&entry.path).map_err(StageError::from)?;
            rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(StageError::errno(root.join(entry.path.to_string())))?;
        }
    }
    Ok(pack_entries(&mut sysroot.tree, &root, entries, identity, source_date_epoch, archive)?)
}
