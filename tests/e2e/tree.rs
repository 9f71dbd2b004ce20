//! Trees of files, as design section 3 compares them: type, mode, owner, content, link target; not mtime.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::process::{getegid, geteuid};

/// By path below the root, what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    pub(crate) fn read(root: &Path) -> Self {
        let mut entries = BTreeMap::new();
        for entry in walkdir::WalkDir::new(root).min_depth(1) {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            entries.insert(path, describe(entry.path()));
        }
        Self(entries)
    }

    /// Paths of everything but directories.
    pub(crate) fn files(&self) -> Vec<&str> {
        let files = self.0.iter().filter(|(_, what)| !what.starts_with("directory"));
        files.map(|(path, _)| path.as_str()).collect()
    }

    /// What is at a path, in words: `file 0644 CONTENT`, with the owner before the content if that is not us.
    #[track_caller]
    pub(crate) fn at(&self, path: &str) -> &str {
        self.0.get(path).unwrap_or_else(|| panic!("no `{path}` among {:?}", self.files()))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Fails with the differences alone.
    #[track_caller]
    pub(crate) fn assert_identical(&self, other: &Self) {
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differences: Vec<String> = paths
            .into_iter()
            .filter(|path| self.0.get(*path) != other.0.get(*path))
            .map(|path| format!("{path}: {:?}, {:?}", self.0.get(path), other.0.get(path)))
            .collect();
        assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    }
}

fn describe(path: &Path) -> String {
    let meta = path.symlink_metadata().unwrap();
    let kind = meta.file_type();
    let (what, content) = if kind.is_symlink() {
        ("symlink", fs::read_link(path).unwrap().display().to_string())
    } else if kind.is_dir() {
        ("directory", String::new())
    } else if kind.is_file() {
        ("file", String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
    } else if kind.is_fifo() {
        ("fifo", String::new())
    } else {
        ("device", meta.rdev().to_string())
    };
    // Nobody can choose the mode of a symlink.
    let mode = if kind.is_symlink() { 0 } else { meta.mode() & 0o7777 };
    let ours = (geteuid().as_raw(), getegid().as_raw());
    let owner = match (meta.uid(), meta.gid()) {
        owner if owner == ours => String::new(),
        (user, group) => format!(" {user}:{group}"),
    };
    format!("{what} {mode:04o}{owner} {content}").trim_end().to_owned()
}
