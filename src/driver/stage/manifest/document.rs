//! A manifest as it is on disk: flat JSON, everything checked on the way in.
//!
//! Owns: the keys. Does not know: files.

use blake3::Hash;
use serde::{Deserialize, Serialize};

use super::super::super::path::{RelPath, escape, unescape};
use super::{Contents, Entry, FORMAT, Identity, Kind, Manifest};

/// `Manifest` on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    format: u32,
    package: String,
    version: String,
    key: String,
    archive: ArchiveLine,
    source_date_epoch: u64,
    installed_bytes: u64,
    file_count: usize,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveLine {
    blake3: String,
    bytes: u64,
}

/// `Entry` on disk: flat, what does not apply is left out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    path: RelPath,
    #[serde(rename = "type")]
    kind: LineKind,
    mode: String,
    #[serde(default, skip_serializing_if = "is_root")]
    uid: u32,
    #[serde(default, skip_serializing_if = "is_root")]
    gid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<RelPath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    major: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minor: Option<u32>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LineKind {
    Directory,
    File,
    Symlink,
    Fifo,
    Char,
    Block,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_root(id: &u32) -> bool {
    *id == 0
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        let Entry { path, mode, uid, gid, kind } = entry;
        let mut line = Self {
            path,
            kind: LineKind::Directory,
            mode: format!("{mode:04o}"),
            uid,
            gid,
            size: None,
            blake3: None,
            link: None,
            target: None,
            major: None,
            minor: None,
        };
        match kind {
            Kind::Directory => {}
            Kind::File { size, digest, link } => {
                line.kind = LineKind::File;
                (line.size, line.blake3, line.link) = (Some(size), Some(digest.to_hex().to_string()), link);
            }
            Kind::Symlink { target } => {
                line.kind = LineKind::Symlink;
                line.target = Some(escape(&target).into_owned());
            }
            Kind::Fifo => line.kind = LineKind::Fifo,
            Kind::Device { block, major, minor } => {
                line.kind = if block { LineKind::Block } else { LineKind::Char };
                (line.major, line.minor) = (Some(major), Some(minor));
            }
        }
        line
    }
}

impl TryFrom<Line> for Entry {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        let Line { path, kind, mode, uid, gid, size, blake3, link, target, major, minor } = line;
        let lacks = |what: &str| format!("`{path}` lacks its {what}");
        let device = |block| -> Result<Kind, String> {
            let major = major.ok_or_else(|| lacks("major number"))?;
            Ok(Kind::Device { block, major, minor: minor.ok_or_else(|| lacks("minor number"))? })
        };
        let kind = match kind {
            LineKind::Directory => Kind::Directory,
            LineKind::File => Kind::File {
                size: size.ok_or_else(|| lacks("size"))?,
                digest: hash(&blake3.ok_or_else(|| lacks("digest"))?)?,
                link,
            },
            LineKind::Symlink => {
                let target = target.as_deref().and_then(unescape);
                Kind::Symlink { target: target.ok_or_else(|| lacks("target"))? }
            }
            LineKind::Fifo => Kind::Fifo,
            LineKind::Char => device(false)?,
            LineKind::Block => device(true)?,
        };
        let mode =
            u32::from_str_radix(&mode, 8).map_err(|_| format!("`{path}` has the bad mode `{mode}`"))?;
        Ok(Self { path, mode, uid, gid, kind })
    }
}

fn hash(text: &str) -> Result<Hash, String> {
    Hash::from_hex(text).map_err(|_| format!("`{text}` is no digest"))
}

impl From<Manifest> for Document {
    fn from(manifest: Manifest) -> Self {
        let Identity { package, version, key } = manifest.identity;
        let archive = ArchiveLine {
            blake3: manifest.archive_digest.to_hex().to_string(),
            bytes: manifest.archive_bytes,
        };
        Self {
            format: FORMAT,
            package,
            version,
            key,
            archive,
            source_date_epoch: manifest.source_date_epoch,
            installed_bytes: manifest.contents.installed_bytes(),
            file_count: manifest.contents.file_count(),
            entries: manifest.contents.0,
        }
    }
}

impl TryFrom<Document> for Manifest {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        if document.format != FORMAT {
            return Err(format!("its format is {}, not {FORMAT}", document.format));
        }
        let contents = Contents::new(document.entries)?;
        Ok(Self {
            identity: Identity { package: document.package, version: document.version, key: document.key },
            archive_digest: hash(&document.archive.blake3)?,
            archive_bytes: document.archive.bytes,
            source_date_epoch: document.source_date_epoch,
            contents,
        })
    }
}
