//! Taking back what a merge, or a package that writes into the sysroot itself, has left there without ending well.
//!
//! Owns: finding what no package owns, and putting back what packages own. Does not know: which attempt that was
//! (`driver::store`).
//!
//! What is owned is what was merged whole. So undoing needs no journal of its own: killed at any moment and called
//! again, it ends the same.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::FileType;

use super::super::beneath::{WalkError, remove_tree, visit_tree};
use super::super::path::RelPath;
use super::manifest::Manifest;
use super::merge::{Sysroot, WORK, apply, io_at, to_the_end};
use super::ownership::Ownership;
use super::plan::{self, MergeError, Removal};
use super::verify::{Depth, Directories, verify_merged};

/// Brings the sysroot back to what `ownership` says. What was `left` is what its manifest lists or, where nobody can
/// tell, everything: what no package owns of it goes. Then every package of `merged` (with its archive) of which something
/// is not as it should be gets that back; one whose archive is damaged keeps no other from being put right. What may
/// have been written over is compared by digest: two versions of a file can agree in size and mtime.
pub fn undo(
    sysroot: &mut Sysroot,
    ownership: &Ownership,
    left: Option<&Manifest>,
    merged: &[(Arc<Manifest>, PathBuf)],
) -> Result<(), MergeError> {
    let suspects = match left {
        Some(manifest) => manifest.contents.entries().iter().map(|entry| entry.path.clone()).collect(),
        None => everything(sysroot)?,
    };
    let shaken = take_away_unowned(sysroot, ownership, suspects)?;
    let mut first_error = Ok(());
    for (manifest, archive) in merged {
        let depth = if shaken.contains(&manifest.identity.package) { Depth::Digest } else { Depth::Stat };
        let looked = verify_merged(sysroot, ownership, manifest, depth, &mut Directories::default());
        let put_right = looked.and_then(|looked| {
            if looked.damage.is_empty() {
                return Ok(());
            }
            apply(sysroot, &plan::repair(ownership, manifest), archive, &mut to_the_end)
        });
        first_error = first_error.and(put_right);
    }
    first_error
}

/// Takes away everything that no package owns.
pub fn sweep(sysroot: &mut Sysroot, ownership: &Ownership) -> Result<(), MergeError> {
    let suspects = everything(sysroot)?;
    take_away_unowned(sysroot, ownership, suspects).map(drop)
}

/// Takes away what no package owns of these. Whose files the others are, comes back.
fn take_away_unowned(
    sysroot: &mut Sysroot,
    ownership: &Ownership,
    mut suspects: Vec<RelPath>,
) -> Result<BTreeSet<String>, MergeError> {
    remove_tree(sysroot.tree.root(), WORK).map_err(io_at(WORK))?;
    // Innermost first.
    suspects.sort_by(|a, b| b.cmp(a));
    let mut shaken = BTreeSet::new();
    for path in suspects {
        let claims = ownership.claims(&path);
        if !claims.is_empty() {
            let files = claims.iter().filter(|claim| !claim.as_what.is_directory());
            shaken.extend(files.map(|claim| claim.package.to_string()));
        } else if let Some(directory) = is_directory(sysroot, &path)? {
            sysroot.take_away(&Removal { path, directory })?;
        }
    }
    Ok(shaken)
}

fn everything(sysroot: &Sysroot) -> Result<Vec<RelPath>, MergeError> {
    let mut paths = Vec::new();
    visit_tree::<WalkError>(sysroot.tree.root(), &mut |path, _, _| {
        paths.push(path);
        Ok(())
    })?;
    Ok(paths)
}

/// Whether the path is a directory; `None` when it is not there.
fn is_directory(sysroot: &mut Sysroot, path: &RelPath) -> Result<Option<bool>, MergeError> {
    match sysroot.tree.stat(path) {
        Ok(stat) => Ok(stat.map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)),
        // Where its directory was, there is something else now.
        Err(WalkError::Missing(_) | WalkError::Symlink(_) | WalkError::NotDirectory(_)) => Ok(None),
        Err(error @ WalkError::Io { .. }) => Err(error.into()),
    }
}
