//! `file:` mirrors.
//!
//! Owns: which path a `file:` URL means, and copying it. Does not know: digests.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rustix::fs::OFlags;

use super::cache::Partial;
use super::error::{Reason, Stop};

/// Copies the file that `url` means. Relative paths are below `base`, the definition's directory.
pub(super) fn get(url: &str, base: &Path, partial: &mut Partial, cancel: &AtomicBool) -> Result<(), Stop> {
    partial.copy(&mut open(url, base)?, cancel)
}

/// The file that `url` means, which is a regular one and can be read.
pub(super) fn open(url: &str, base: &Path) -> Result<File, Reason> {
    let path = path(url, base)?;
    let unreadable = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            Reason::NotFound(format!("`{}` does not exist", path.display()))
        } else {
            Reason::Unreadable(format!("`{}`: {error}", path.display()))
        }
    };
    // A fifo would hang, and that already when it is opened; a directory cannot be read.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(&path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Reason::Unreadable(format!("`{}` is no regular file", path.display())));
    }
    Ok(file)
}

/// `file:///a`, `file://localhost/a`, `file:/a` and `file:a`; `%20` and the like are decoded.
fn path(url: &str, base: &Path) -> Result<PathBuf, Reason> {
    let rest = url.strip_prefix("file:").unwrap_or(url);
    let rest = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => {
            let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
            if !host.is_empty() && host != "localhost" {
                return Err(Reason::Unsupported(format!("a `file:` URL with the host `{host}`")));
            }
            &rest[host.len()..]
        }
    };
    Ok(base.join(OsString::from_vec(percent_decoded(rest))))
}

/// A `%` that two hexadecimal digits do not follow stands for itself.
fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |offset: usize| bytes.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (bytes[at], digit(1), digit(2)) {
            decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: &str) {
        assert_eq!(path(url, Path::new("/definition")).unwrap(), Path::new(expected));
    }

    #[test]
    fn a_file_url_is_absolute_or_below_the_definition() {
        check("file:///srv/a.tar", "/srv/a.tar");
        check("file://localhost/srv/a.tar", "/srv/a.tar");
        check("file:/srv/a.tar", "/srv/a.tar");
        check("file:dist/a.tar", "/definition/dist/a.tar");
        check("file:../a.tar", "/definition/../a.tar");
    }

    #[test]
    fn percent_signs_are_decoded() {
        check("file:///a%20b%2Fc", "/a b/c");
        check("file:100%", "/definition/100%");
        check("file:%zz%4", "/definition/%zz%4");
    }

    #[test]
    fn another_hosts_file_is_refused() {
        let refused = path("file://elsewhere/a", Path::new("/")).unwrap_err();
        assert!(matches!(refused, Reason::Unsupported(text) if text.contains("elsewhere")));
    }
}
