//! What tests of real files share.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether a test that needs root may run. Elsewhere it is skipped, loudly; in CI that is a failure.
pub(crate) fn needs_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "`{test}` needs root");
    if !root {
        eprintln!("skipped: `{test}` needs root");
    }
    root
}

/// A directory for a test, in memory where that can be had: the code under test syncs.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Everything below `root`, one line a path: type, mode, owner, content or target, and which paths are one file.
pub(crate) fn listing(root: &Path) -> Vec<String> {
    fn visit(directory: &Path, root: &Path, lines: &mut Vec<(String, u64, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = if meta.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else if meta.is_file() {
                format!("{} @{}", String::from_utf8_lossy(&fs::read(&path).unwrap()), meta.mtime())
            } else {
                String::new()
            };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let inode = if meta.is_file() && meta.nlink() > 1 { meta.ino() } else { 0 };
            lines.push((name, inode, format!("{:o} {}:{} {what}", meta.mode(), meta.uid(), meta.gid())));
            if meta.is_dir() {
                visit(&path, root, lines);
            }
        }
    }
    let mut lines = Vec::new();
    visit(root, root, &mut lines);
    lines.sort();
    let first = |inode| lines.iter().find(|(_, other, _)| *other == inode).map_or("", |(name, ..)| name);
    let line = |(name, inode, what): &(String, u64, String)| {
        let same = if *inode == 0 { String::new() } else { format!(" = {}", first(*inode)) };
        format!("{name} {what}{same}")
    };
    lines.iter().map(line).collect()
}
