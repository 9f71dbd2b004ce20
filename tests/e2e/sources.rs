//! Sources for recipes, made with the tools that upstreams use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use super::space::Space;

/// A file that a recipe can name.
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

impl Source {
    fn of(path: PathBuf) -> Self {
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let sha256 = sha256(&fs::read(&path).unwrap());
        Self { file, path, sha256 }
    }

    /// The `file:` URL.
    pub(crate) fn url(&self) -> String {
        format!("file:{}", self.path.display())
    }

    /// An entry of `sources` with these mirrors.
    pub(crate) fn entry(&self, from: &[&str]) -> String {
        format!("  - {{file: {}, sha256: {}, from: [{}]}}\n", self.file, self.sha256, from.join(", "))
    }

    /// `sources:` with this one from its file.
    pub(crate) fn as_sources(&self) -> String {
        format!("sources:\n{}", self.entry(&[&self.url()]))
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

impl Space {
    /// A file in the space's `upstream`.
    pub(crate) fn source(&self, name: &str, content: &[u8]) -> Source {
        let directory = self.path("upstream");
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        fs::write(&path, content).unwrap();
        Source::of(path)
    }

    /// An archive of these files in the space's `upstream`, packed as its name says. The first file is of
    /// 2001-09-09T01:46:40Z (10^9), the others are older.
    pub(crate) fn tarball(&self, name: &str, files: &[(&str, &str)]) -> Source {
        let tree = self.path(&format!("tree-of-{name}"));
        for (at, (path, content)) in files.iter().enumerate() {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            let seconds = format!("@{}", 1_000_000_000 - 1_000 * at);
            done(Command::new("touch").args(["-d", &seconds]).arg(&path));
        }
        let archive = self.source(name, b"").path;
        fs::remove_file(&archive).unwrap();
        if Path::new(name).extension().is_some_and(|extension| extension == "zip") {
            done(Command::new("zip").args(["-qr"]).arg(&archive).arg(".").current_dir(&tree));
        } else {
            let names = fs::read_dir(&tree).unwrap().map(|entry| entry.unwrap().file_name());
            done(Command::new("tar").arg("-caf").arg(&archive).args(names).current_dir(&tree));
        }
        Source::of(archive)
    }
}

#[track_caller]
fn done(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}");
}
