//! A package's archive: a tar in zstd, the same bytes for the same files.
//!
//! Owns: writing, verifying and reading it. Does not know: the sysroot, manifests on disk.
//!
//! Deterministic: entries sorted, owners numeric and as recorded, every mtime `SOURCE_DATE_EPOCH`, no extended
//! attributes (so no file capabilities), one thread. Any tar can read it; kiln reads only the data of files from it
//! and takes the rest from the manifest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use blake3::Hasher;
use tar::{EntryType, Header};

use super::super::beneath::Beneath;
use super::super::path::RelPath;
use super::StageError;
use super::manifest::{Contents, Entry, Identity, Kind, Manifest, write_atomically};
use super::rules::StagingRules;
use super::scan::{BUFFER_BYTES, CopyError, PENDING, copy_hashed, digest, finish, open_file, walk};

const LEVEL: i32 = 3;
const BLOCK: usize = 512;
const NAME_BYTES_MAX: usize = 100;

/// Packs everything in `destdir` into `archive`, which is synced and renamed into place; its directory is synced by
/// `Manifest::store`, which the caller does next.
pub fn pack(
    destdir: &Path,
    identity: Identity,
    rules: &StagingRules,
    source_date_epoch: u64,
    archive: &Path,
) -> Result<Manifest, StageError> {
    if destdir.is_symlink() {
        return Err(StageError::Replaced);
    }
    let mut tree = Beneath::open_real(destdir).map_err(StageError::io(destdir))?;
    let entries = walk(&mut tree, destdir, rules)?;
    pack_entries(&mut tree, destdir, entries, identity, source_date_epoch, archive)
}

/// Packs `entries`, sorted, whose files are below `tree`, and takes their digests on the way.
pub(super) fn pack_entries(
    tree: &mut Beneath,
    root: &Path,
    mut entries: Vec<Entry>,
    identity: Identity,
    source_date_epoch: u64,
    archive: &Path,
) -> Result<Manifest, StageError> {
    // Errors of the tree and of the archive must stay apart through one `io::Result`.
    let mut failed = None;
    let written = write_atomically(archive, |file| {
        let mut encoder = zstd::stream::write::Encoder::new(Hashing::new(file), LEVEL)?;
        encoder.include_checksum(true)?;
        let mut writer = TarWriter { to: encoder, mtime: source_date_epoch };
        if let Err(error) = write_entries(tree, root, &mut entries, &mut writer) {
            failed = Some(error);
            return Err(io::Error::other("not packed"));
        }
        writer.to.write_all(&[0; 2 * BLOCK])?;
        let Hashing { hasher, bytes, to: _ } = writer.to.finish()?;
        Ok((hasher.finalize(), bytes))
    });
    let (archive_digest, archive_bytes) = match (written, failed) {
        (_, Some(WriteError::Tree(error))) => return Err(error),
        (_, Some(WriteError::Archive(source))) | (Err(source), None) => {
            return Err(StageError::Io { path: archive.to_owned(), source });
        }
        (Ok(written), None) => written,
    };
    let contents = finish(root, entries)?;
    Ok(Manifest { identity, archive_digest, archive_bytes, source_date_epoch, contents })
}

enum WriteError {
    Tree(StageError),
    Archive(io::Error),
}

impl From<StageError> for WriteError {
    fn from(error: StageError) -> Self {
        Self::Tree(error)
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}

fn write_entries<W: Write>(
    tree: &mut Beneath,
    root: &Path,
    entries: &mut [Entry],
    writer: &mut TarWriter<W>,
) -> Result<(), WriteError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    for at in 0..entries.len() {
        let (before, rest) = entries.split_at_mut(at);
        let Some(entry) = rest.first_mut() else { break };
        writer.header(entry)?;
        let Entry { path, kind: Kind::File { size, digest, link }, .. } = entry else { continue };
        if let Some(first) = link {
            *digest = before
                .binary_search_by(|entry| entry.path.cmp(first))
                .ok()
                .and_then(|at| match &before[at].kind {
                    Kind::File { digest, .. } => Some(*digest),
                    Kind::Directory | Kind::Symlink { .. } | Kind::Fifo | Kind::Device { .. } => None,
                })
                .unwrap_or(PENDING);
            continue;
        }
        let file = open_file(tree, root, path, *size)?;
        *digest = match copy_hashed(file, *size, &mut buffer, |data| writer.to.write_all(data)) {
            Ok(Some(digest)) => digest,
            Ok(None) => return Err(StageError::Changed { path: path.to_string() }.into()),
            Err(CopyError::Write(error)) => return Err(error.into()),
            Err(CopyError::Read(source)) => {
                return Err(StageError::Io { path: root.join(path.to_string()), source }.into());
            }
        };
        writer.pad(*size)?;
    }
    Ok(())
}

/// Whether `archive` has the digest and size that `manifest` says. Reads all of it.
pub fn verify(archive: &Path, manifest: &Manifest) -> Result<(), StageError> {
    let damaged = |reason: String| StageError::Damaged { path: archive.to_owned(), reason };
    let file = File::open(archive).map_err(StageError::io(archive))?;
    let bytes = file.metadata().map_err(StageError::io(archive))?.len();
    if bytes != manifest.archive_bytes {
        return Err(damaged(format!("it has {bytes} bytes, not {}", manifest.archive_bytes)));
    }
    match digest(file, bytes, &mut vec![0; BUFFER_BYTES]).map_err(StageError::io(archive))? {
        Some(digest) if digest == manifest.archive_digest => Ok(()),
        Some(_) | None => Err(damaged("its digest is not the manifest's".into())),
    }
}

/// Why reading an archive ended early.
pub(super) enum ReadError<E> {
    /// The archive does not fit the manifest.
    Damaged(String),
    /// It cannot be read.
    Io(io::Error),
    /// What `visit` said.
    Visit(E),
}

/// Calls `visit` with the index in `contents` and the data of each file that is no link to an earlier one, in order.
/// Reads no further than the last file below `end`. The data may be short or wrong: `visit` compares digests.
pub(super) fn read_files<E>(
    archive: &Path,
    contents: &Contents,
    end: usize,
    mut visit: impl FnMut(usize, &mut dyn Read) -> Result<(), E>,
) -> Result<(), ReadError<E>> {
    // A system error keeps its number through the layers; the rest is the archive's fault.
    let fault = |error: io::Error| match error.raw_os_error() {
        Some(_) => ReadError::Io(error),
        None => ReadError::Damaged(error.to_string()),
    };
    let file = File::open(archive).map_err(ReadError::Io)?;
    let decoder = zstd::stream::read::Decoder::new(file).map_err(fault)?;
    let mut archive = tar::Archive::new(decoder);
    let mut found = archive.entries().map_err(fault)?;
    for (at, entry) in contents.entries().iter().enumerate().take(end) {
        let mut found = match found.next() {
            Some(found) => found.map_err(fault)?,
            None => return Err(ReadError::Damaged(format!("`{}` is missing in it", entry.path))),
        };
        if RelPath::parse(&found.path_bytes()).ok().as_ref() != Some(&entry.path) {
            return Err(ReadError::Damaged(format!("`{}` is not where it should be in it", entry.path)));
        }
        if let Kind::File { link: None, .. } = entry.kind {
            visit(at, &mut found).map_err(ReadError::Visit)?;
        }
    }
    Ok(())
}

struct Hashing<W> {
    to: W,
    hasher: Hasher,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(to: W) -> Self {
        Self { to, hasher: Hasher::new(), bytes: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.to.write(data)?;
        self.hasher.update(&data[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Headers written here and not by `tar::Builder`, which rewrites link targets (`a//b` becomes `a/b`).
struct TarWriter<W> {
    to: W,
    mtime: u64,
}

impl<W: Write> TarWriter<W> {
    fn header(&mut self, entry: &Entry) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(0);
        let mut name = entry.path.as_bytes().to_vec();
        let mut link: &[u8] = b"";
        let kind = match &entry.kind {
            Kind::Directory => {
                name.push(b'/');
                EntryType::Directory
            }
            Kind::File { link: Some(first), .. } => {
                link = first.as_bytes();
                EntryType::Link
            }
            Kind::File { size, link: None, .. } => {
                header.set_size(*size);
                EntryType::Regular
            }
            Kind::Symlink { target } => {
                link = target;
                EntryType::Symlink
            }
            Kind::Fifo => EntryType::Fifo,
            Kind::Device { block, major, minor } => {
                header.set_device_major(*major)?;
                header.set_device_minor(*minor)?;
                if *block { EntryType::Block } else { EntryType::Char }
            }
        };
        header.set_entry_type(kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(self.mtime);
        if name.len() > NAME_BYTES_MAX {
            self.long(EntryType::GNULongName, &name)?;
        }
        if link.len() > NAME_BYTES_MAX {
            self.long(EntryType::GNULongLink, link)?;
        }
        let old = header.as_old_mut();
        fill(&mut old.name, &name);
        fill(&mut old.linkname, link);
        header.set_cksum();
        self.to.write_all(header.as_bytes())
    }

    /// GNU's entry that gives the next one a name too long for its header.
    fn long(&mut self, kind: EntryType, name: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        fill(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(name.len() as u64 + 1);
        header.set_cksum();
        self.to.write_all(header.as_bytes())?;
        self.to.write_all(name)?;
        self.to.write_all(&[0])?;
        self.pad(name.len() as u64 + 1)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if over > 0 {
            self.to.write_all(&[0; BLOCK][over..])?;
        }
        Ok(())
    }
}

/// As much of `bytes` as fits.
fn fill(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}
