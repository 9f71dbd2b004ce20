//! A definition in a directory of its own.

use std::fs;
use std::path::Path;

use kiln::config::diagnostic::Diagnostic;
use kiln::config::files::{Files, Rendered};
use kiln::config::load::{Definition, Problems, Root, load};
use tempfile::TempDir;

/// Files in a directory that goes away with the value.
pub(super) struct Space(TempDir);

impl Space {
    /// Paths and texts.
    pub(super) fn new<'f>(files: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Self {
        let space = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = space.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        space
    }

    /// With only a kiln.yaml.
    pub(super) fn kiln_yaml(text: &str) -> Self {
        Self::new([("kiln.yaml", text.as_bytes())])
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Loads it.
    pub(super) fn load(&self) -> Result<(Definition, Vec<Diagnostic>), Problems> {
        load(Root::Directory(self.path().to_owned()))
    }

    /// Everything that is said of it, with file names relative to it.
    pub(super) fn diagnostics(&self) -> Vec<Rendered> {
        let show = |files: &Files, diagnostics: &[Diagnostic]| files.render_all(diagnostics);
        let mut all = match self.load() {
            Ok((definition, warnings)) => show(&definition.files, &warnings),
            Err(problems) => show(&problems.files, &problems.diagnostics),
        };
        let prefix = format!("{}/", self.path().display());
        for rendered in &mut all {
            rendered.file = rendered.file.take().map(|file| file.replace(&prefix, ""));
            rendered.hint = rendered.hint.take().map(|hint| hint.replace(&prefix, ""));
        }
        all
    }
}
