//! Entries of a zip.
//!
//! Owns: what the fields of an entry mean. Does not know: how files are made.

use std::io::Read;

use rustix::fs::Timespec;
use zip::extra_fields::ExtraField;
use zip::read::ZipFile;

use super::super::path::{PathError, RelPath, escape};
use super::format::SourceReader;
use super::target::{Fault, Target};

/// The longest target that Linux lets a symlink have.
const TARGET_BYTES_MAX: u64 = 4095;

/// Unpacks every entry; an error comes with the entry's name.
pub(super) fn unpack(reader: SourceReader<'_>, target: &mut Target<'_>) -> Result<(), (String, Fault)> {
    let mut archive = zip::ZipArchive::new(reader).map_err(|error| (String::new(), fault(error)))?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| (format!("number {index}"), fault(error)))?;
        unpack_entry(&mut entry, target).map_err(|fault| (escape(entry.name_raw()).into_owned(), fault))?;
    }
    Ok(())
}

fn unpack_entry<R: Read>(entry: &mut ZipFile<'_, R>, target: &mut Target<'_>) -> Result<(), Fault> {
    target.check_cancel()?;
    let mut name = entry.name_raw().to_vec();
    if matches!(entry.system(), zip::System::Dos | zip::System::WindowsNTFS) {
        // Some Windows programs write their own separator.
        name.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    let path = match RelPath::parse(&name) {
        Err(PathError::Empty) if name.ends_with(b"/") => return Ok(()),
        other => other?,
    };
    let mtime = mtime(entry);
    let mode = entry.unix_mode();
    let size = entry.size();
    match mode.unwrap_or(0) & 0o170_000 {
        0o120_000 => {
            let mut to = Vec::new();
            if entry.take(TARGET_BYTES_MAX + 1).read_to_end(&mut to).map_err(Fault::Read)? as u64
                > TARGET_BYTES_MAX
            {
                return Err(Fault::Damaged(format!("the symlink `{path}` is too long")));
            }
            target.symlink(&path, &to, mtime)
        }
        0o010_000 => Err(Fault::Escape("is a fifo")),
        0o020_000 | 0o060_000 => Err(Fault::Escape("is a device node")),
        0o040_000 => target.directory(path, mode.unwrap_or(0o755), mtime),
        _ if name.ends_with(b"/") => target.directory(path, mode.unwrap_or(0o755), mtime),
        _ => {
            target.file(&path, mode.unwrap_or(0o644), mtime, size, entry, false)?;
            // The checksum is compared at the end only.
            match entry.read(&mut [0]).map_err(Fault::Read)? {
                0 => Ok(()),
                _ => Err(Fault::Damaged(format!("`{path}` is longer than it says"))),
            }
        }
    }
}

/// UTC where the archive has it; else its local time, of a zone that nobody knows, taken as UTC.
fn mtime<R: Read>(entry: &ZipFile<'_, R>) -> Option<Timespec> {
    for field in entry.extra_data_fields() {
        if let ExtraField::ExtendedTimestamp(times) = field
            && let Some(seconds) = times.mod_time()
        {
            return Some(super::timespec(seconds.into()));
        }
    }
    let local = entry.last_modified().filter(zip::DateTime::is_valid)?;
    let [year, month, day] = [local.year().into(), local.month().into(), local.day().into()];
    let [hour, minute, second]: [i64; 3] =
        [local.hour().into(), local.minute().into(), local.second().into()];
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timespec { tv_sec: seconds, tv_nsec: 0 })
}

/// The year begins in March, so that the leap day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

fn fault(error: zip::result::ZipError) -> Fault {
    if let zip::result::ZipError::Io(error) = error {
        return Fault::Read(error);
    }
    Fault::Damaged(error.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn days_are_counted_from_1970() {
        let days = [(1970, 1, 1, 0), (2000, 2, 29, 11_016), (2000, 3, 1, 11_017), (2026, 11, 22, 20_779)];
        for (year, month, day, expected) in days {
            assert_eq!(super::days_since_1970(year, month, day), expected);
        }
    }
}
