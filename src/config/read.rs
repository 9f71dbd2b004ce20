//! The files of a definition, as bytes.
//!
//! Owns: which files belong to a definition, reading them, what makes a file no text.
//! Does not know: YAML.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, FileId, Spot};
use super::files::Files;
use super::load::Root;
use crate::parallel::parallel;

/// More is no text that a person wrote; 10,000 recipes are 4 MB.
const BYTES_MAX: u64 = 256 << 20;

/// A file and what it holds.
pub(super) struct Found {
    /// As the user would name it.
    pub(super) name: String,
    /// Its bytes, or why there are none.
    pub(super) text: Result<Vec<u8>, ReadError>,
}

/// All that belongs to a definition: kiln.yaml first, then packages/*.yaml by name.
pub(super) struct Sources {
    pub(super) files: Vec<Found>,
    /// What is to be said of files that are not read.
    pub(super) remarks: Vec<(String, Diagnostic)>,
}

/// Why a file has no bytes.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It is not there.
    #[error("there is no such file")]
    Missing,
    /// A directory, a pipe, a device.
    #[error("this is not a regular file")]
    NotAFile,
    /// More than [`BYTES_MAX`].
    #[error("this file is too large: {0} bytes")]
    TooLarge(u64),
    /// The system says so.
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

/// Finds and reads the files of a definition.
pub(super) fn sources(root: &Root) -> Sources {
    match root {
        Root::Directory(path) => directory(root, path),
        Root::Embedded { dir, .. } => {
            let found = |file: &include_dir::File<'_>| Found {
                name: root.display(&file.path().to_string_lossy()),
                text: Ok(file.contents().to_owned()),
            };
            let packages = dir.get_dir("packages").into_iter().flat_map(include_dir::Dir::files);
            let mut packages: Vec<_> = packages.filter(|file| is_yaml(file.path())).collect();
            packages.sort_by_key(|file| file.path());
            let missing = || Found { name: root.display("kiln.yaml"), text: Err(ReadError::Missing) };
            let first = dir.get_file("kiln.yaml").map_or_else(missing, found);
            let files = std::iter::once(first).chain(packages.into_iter().map(found)).collect();
            Sources { files, remarks: Vec::new() }
        }
    }
}

fn directory(root: &Root, path: &Path) -> Sources {
    let mut remarks = Vec::new();
    let mut paths = vec![(root.display("kiln.yaml"), path.join("kiln.yaml"))];
    if path.join("kiln.yml").exists() {
        remarks.push((root.display("kiln.yml"), not_read("be `kiln.yaml`")));
    }
    match listing(&path.join("packages")) {
        Ok(names) => {
            for name in names {
                let shown = root.display(&Path::new("packages").join(&name).to_string_lossy());
                if is_yaml(Path::new(&name)) {
                    paths.push((shown, path.join("packages").join(&name)));
                } else if Path::new(&name).extension() == Some(OsStr::new("yml")) {
                    remarks.push((shown, not_read("end in `.yaml`")));
                }
            }
        }
        // Without packages every step is unknown, which is said where the steps are.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let message = format!("cannot be read: {error}");
            remarks.push((root.display("packages"), Diagnostic::error("unreadable", message)));
        }
    }
    // Reading a small file costs about as much as parsing a few kilobytes.
    let bytes = paths.len() * 4096;
    let texts = parallel(&paths, bytes, |(_, path)| read(path));
    let files = paths.into_iter().zip(texts).map(|((name, _), text)| Found { name, text }).collect();
    Sources { files, remarks }
}

fn not_read(must: &str) -> Diagnostic {
    Diagnostic::warning("not-read", format!("this file is not read: its name must {must}"))
}

fn is_yaml(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension() == Some(OsStr::new("yaml"))
}

fn listing(path: &Path) -> io::Result<Vec<PathBuf>> {
    let names: io::Result<Vec<_>> =
        fs::read_dir(path)?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect();
    let mut names = names?;
    names.sort();
    Ok(names)
}

/// Reads a regular file; anything else could block.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    let missing = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound { ReadError::Missing } else { ReadError::Io(error) }
    };
    let metadata = fs::metadata(path).map_err(missing)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    if metadata.len() > BYTES_MAX {
        return Err(ReadError::TooLarge(metadata.len()));
    }
    fs::read(path).map_err(missing)
}

/// Adds a file; when it has no text, says why.
pub(super) fn add(
    files: &mut Files,
    name: String,
    bytes: Result<Vec<u8>, ReadError>,
) -> (FileId, Option<Diagnostic>) {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            let code = match error {
                ReadError::Missing => "missing-file",
                ReadError::NotAFile | ReadError::TooLarge(_) | ReadError::Io(_) => "unreadable",
            };
            let id = files.add_unreadable(name);
            return (id, Some(Diagnostic::error(code, error.to_string()).at(Spot::File(id))));
        }
    };
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{feff}') {
                text.drain(..'\u{feff}'.len_utf8());
            }
            let Some((at, c)) = text.char_indices().find(|(_, c)| forbidden(*c)) else {
                return (files.add(name, text), None);
            };
            let id = files.push(name, text, false);
            let message = format!("`{}` may not be in YAML", c.escape_unicode());
            (
                id,
                Some(
                    Diagnostic::error("control-character", message).at(Spot::Text(id, at..at + c.len_utf8())),
                ),
            )
        }
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let message = format!("byte 0x{:02x} is not UTF-8", bytes[at]);
            let id = files.push(name, String::from_utf8_lossy(&bytes).into_owned(), false);
            let hint = "save this file as UTF-8";
            (id, Some(Diagnostic::error("not-utf-8", message).at(Spot::Text(id, at..at + 1)).hint(hint)))
        }
    }
}

/// What YAML forbids everywhere.
fn forbidden(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_control(),
    }
}
