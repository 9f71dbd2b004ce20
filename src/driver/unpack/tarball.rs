//! Entries of a tar: PAX, GNU and older; long names, sparse files.
//!
//! Owns: what each type of entry means to us. Does not know: compression, how files are made.

use std::io::{self, Read};

use rustix::fs::Timespec;

use super::super::path::{PathError, RelPath, escape};
use super::format::Sparse;
use super::target::{Fault, Target};

/// Unpacks every entry; an error comes with the entry's name.
pub(super) fn unpack(reader: Box<dyn Read + '_>, target: &mut Target<'_>) -> Result<(), (String, Fault)> {
    let nowhere = |error: io::Error| (String::new(), Fault::Read(error));
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(nowhere)? {
        let mut entry = entry.map_err(nowhere)?;
        unpack_entry(&mut entry, target)
            .map_err(|fault| (escape(&entry.path_bytes()).into_owned(), fault))?;
    }
    // What a decompressor has to say about the end (a checksum, a truncation) it says only there.
    let mut rest = archive.into_inner();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        target.check_cancel().map_err(|fault| (String::new(), fault))?;
        match rest.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(nowhere(error)),
        }
    }
}

/// What PAX records add to a header.
#[derive(Default)]
struct Extra {
    mtime: Option<Timespec>,
    sparse: bool,
    sparse_major: Option<u64>,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
}

fn unpack_entry<R: Read>(entry: &mut tar::Entry<'_, R>, target: &mut Target<'_>) -> Result<(), Fault> {
    target.check_cancel()?;
    let extra = extra(entry)?;
    let kind = entry.header().entry_type();
    let name = extra.sparse_name.clone().unwrap_or_else(|| entry.path_bytes().into_owned());
    let path = match RelPath::parse(&name) {
        // `./`, the root itself.
        Err(PathError::Empty) if kind.is_dir() => return Ok(()),
        other => other,
    };
    let header = entry.header();
    let mode = header.mode().map_err(Fault::Read)?;
    let header_mtime = || header.mtime().ok().map(super::timespec);
    let mtime = extra.mtime.or_else(header_mtime);
    match kind.as_byte() {
        b'5' | b'D' => target.directory(path?, mode, mtime),
        b'2' => {
            let to = link_name(entry)?;
            target.symlink(&path?, &to, mtime)
        }
        b'1' => {
            let to = link_name(entry)?;
            let to = RelPath::parse(&to).map_err(|error| match error {
                PathError::Absolute | PathError::Parent => Fault::Escape("is a hard link to a file outside"),
                PathError::Empty | PathError::Nul | PathError::Deep => error.into(),
            })?;
            target.hard_link(&path?, &to)
        }
        b'3' | b'4' => Err(Fault::Escape("is a device node")),
        b'6' => Err(Fault::Escape("is a fifo")),
        b'S' => {
            let size = entry.size();
            target.file(&path?, mode, mtime, size, entry, true)
        }
        b'M' => Err(Fault::Damaged("it continues on another volume".into())),
        // Global PAX records, volume labels, access lists and the like: not files.
        b'g' | b'A' | b'E' | b'I' | b'V' | b'X' => Ok(()),
        // The oldest archives know a directory by its slash.
        _ if name.ends_with(b"/") => target.directory(path?, mode, mtime),
        _ if extra.sparse => {
            let (Some(1), Some(size)) = (extra.sparse_major, extra.sparse_size) else {
                return Err(Fault::Damaged("its sparse files are of a format before 1.0".into()));
            };
            let mut reader = Sparse::new(entry, size).map_err(Fault::Read)?;
            target.file(&path?, mode, mtime, size, &mut reader, true)
        }
        // POSIX: what is unknown is a regular file.
        _ => {
            let size = entry.size();
            target.file(&path?, mode, mtime, size, entry, false)
        }
    }
}

fn link_name<R: Read>(entry: &tar::Entry<'_, R>) -> Result<Vec<u8>, Fault> {
    let name = entry.link_name_bytes().ok_or_else(|| Fault::Damaged("a link points nowhere".into()))?;
    Ok(name.into_owned())
}

fn extra<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Extra, Fault> {
    let mut extra = Extra::default();
    if entry.header().entry_type().is_pax_global_extensions() {
        return Ok(extra);
    }
    let Some(records) = entry.pax_extensions().map_err(Fault::Read)? else { return Ok(extra) };
    for record in records {
        let record = record.map_err(Fault::Read)?;
        let value = record.value_bytes();
        let number = || str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        match record.key_bytes() {
            b"mtime" => extra.mtime = str::from_utf8(value).ok().and_then(pax_time),
            b"GNU.sparse.major" => extra.sparse_major = number(),
            b"GNU.sparse.realsize" => extra.sparse_size = number(),
            b"GNU.sparse.name" => extra.sparse_name = Some(value.to_vec()),
            _ => {}
        }
        extra.sparse |= record.key_bytes().starts_with(b"GNU.sparse.");
    }
    Ok(extra)
}

/// `SECONDS` or `SECONDS.FRACTION`. Fractions matter: make compares them, and packagers' order of generated files
/// is in them. Times before 1970 count as unknown.
fn pax_time(text: &str) -> Option<Timespec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos =
        digits.map(|byte| char::from(byte).to_digit(10)).try_fold(0, |sum, digit| Some(sum * 10 + digit?))?;
    Some(Timespec { tv_sec: i64::try_from(seconds.parse::<u64>().ok()?).ok()?, tv_nsec: nanos.into() })
}
