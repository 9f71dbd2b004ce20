//! A place for tests: staged trees, archives, a sysroot, and who owns what in it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::super::archive::pack;
use super::super::manifest::{Identity, Manifest};
use super::super::merge::{Step, Sysroot, apply, to_the_end};
use super::super::ownership::Ownership;
use super::super::plan::{Claimant, MergeError, MergePlan, check};
use super::super::rules::{Accounts, StagingRules};
use super::super::testing::{directory, listing};
use super::super::{StageError, verify};

/// It has nothing to do with any other package.
pub(super) fn stranger(_: &str) -> Claimant {
    Claimant::Stranger
}

/// It replaces these.
pub(super) fn replacing(names: &[String]) -> impl Fn(&str) -> Claimant + '_ {
    |owner| if names.iter().any(|name| name == owner) { Claimant::Takes } else { Claimant::Stranger }
}

pub(super) const EPOCH: u64 = 1_600_000_000;

/// A staged tree, line by line: `bin/` a directory, `bin/sh=text` a file, `a->b` a symlink, `a==b` a hard link to b,
/// `|a` a fifo; a mode may come first: `4755 bin/su=x`.
pub(super) fn stage(lines: &[&str], into: &Path) {
    fs::create_dir_all(into).unwrap();
    for line in lines {
        let (mode, line) = match line.split_once(' ') {
            Some((mode, rest)) if mode.bytes().all(|byte| byte.is_ascii_digit()) => {
                (u32::from_str_radix(mode, 8).ok(), rest)
            }
            _ => (None, *line),
        };
        let make = |name: &str| {
            let path = into.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        let (path, default) = if let Some((name, to)) = line.split_once("->") {
            symlink(to, make(name)).unwrap();
            continue;
        } else if let Some((name, to)) = line.split_once("==") {
            fs::hard_link(into.join(to), make(name)).unwrap();
            continue;
        } else if let Some((name, text)) = line.split_once('=') {
            fs::write(make(name), text).unwrap();
            (into.join(name), 0o644)
        } else if let Some(name) = line.strip_prefix('|') {
            let path = make(name);
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o600),
                0,
            )
            .unwrap();
            (path, 0o600)
        } else {
            fs::create_dir_all(into.join(line)).unwrap();
            (into.join(line), 0o755)
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode.unwrap_or(default))).unwrap();
    }
}

pub(super) fn rules(privileged: &[&str]) -> StagingRules {
    StagingRules::new([], privileged.iter().copied(), true, Accounts::default).unwrap()
}

pub(super) fn identity(package: &str) -> Identity {
    Identity { package: package.into(), version: "1".into(), key: "key".into() }
}

pub(super) struct Space {
    pub top: TempDir,
    pub ownership: Ownership,
    packed: BTreeMap<String, PathBuf>,
    count: usize,
}

impl Space {
    pub(super) fn new() -> Self {
        let top = directory();
        Self { top, ownership: Ownership::default(), packed: BTreeMap::new(), count: 0 }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    pub(super) fn sysroot(&self) -> Sysroot {
        Sysroot::open(&self.path("sysroot")).unwrap()
    }

    pub(super) fn listing(&self) -> Vec<String> {
        listing(&self.path("sysroot"))
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path("sysroot").join(path)).unwrap()
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.path("sysroot").join(path).symlink_metadata().is_ok()
    }

    pub(super) fn try_pack(
        &mut self,
        package: &str,
        lines: &[&str],
        rules: &StagingRules,
    ) -> Result<Manifest, StageError> {
        self.count += 1;
        let destdir = self.path(&format!("dest-{}", self.count));
        stage(lines, &destdir);
        let archive = self.path(&format!("{}.tar.zst", self.count));
        let manifest = pack(&destdir, identity(package), rules, EPOCH, &archive)?;
        self.packed.insert(package.into(), archive);
        Ok(manifest)
    }

    pub(super) fn pack(&mut self, package: &str, lines: &[&str]) -> Arc<Manifest> {
        Arc::new(self.try_pack(package, lines, &rules(&["bin/su"])).unwrap())
    }

    pub(super) fn archive(&self, package: &str) -> PathBuf {
        self.packed[package].clone()
    }

    pub(super) fn apply(&self, plan: &MergePlan) -> Result<(), MergeError> {
        let archive = self.archive(&plan.manifest.identity.package);
        apply(&mut self.sysroot(), plan, &archive, &mut to_the_end)
    }

    /// An empty sysroot again.
    pub(super) fn reset(&mut self) {
        fs::remove_dir_all(self.path("sysroot")).unwrap();
        fs::create_dir(self.path("sysroot")).unwrap();
        self.ownership = Ownership::default();
    }

    /// Merges a package, and records it if that worked.
    pub(super) fn merge(
        &mut self,
        package: &str,
        lines: &[&str],
        replaces: &[&str],
    ) -> Result<Arc<Manifest>, MergeError> {
        let manifest = self.pack(package, lines);
        let replaces: Vec<_> = replaces.iter().map(ToString::to_string).collect();
        let plan = check(&self.ownership, &manifest, &replacing(&replaces))?;
        self.apply(&plan)?;
        self.ownership.record(&manifest, []);
        Ok(manifest)
    }

    pub(super) fn damage(&self, manifest: &Manifest) -> Vec<String> {
        self.damage_beside(manifest, &mut verify::Directories::default())
    }

    /// The same for one of several packages that are looked at together.
    pub(super) fn damage_beside(&self, manifest: &Manifest, seen: &mut verify::Directories) -> Vec<String> {
        let (sysroot, depth) = (&mut self.sysroot(), verify::Depth::Digest);
        let damage = verify::verify_merged(sysroot, &self.ownership, manifest, depth, seen).unwrap().damage;
        damage.iter().map(|damage| format!("{} {}", damage.path, damage.what)).collect()
    }
}

/// A step function that ends the merge after `steps` steps.
pub(super) fn stop_after(steps: usize) -> impl FnMut(Step<'_>) -> ControlFlow<()> {
    let mut left = steps;
    move |_| {
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        ControlFlow::Continue(())
    }
}
