//! Paths below a root, as bytes, and their spelling in text.
//!
//! Owns: what a relative path may be; how bytes that are not UTF-8 survive JSON and terminals. Does not
//! know: files, or what the root is.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A path with more components is refused: each open level costs a descriptor.
pub const DEPTH_MAX: usize = 256;

/// A path relative to a root: one or more components, none of them empty, `.` or `..`, no NUL. It cannot
/// name anything outside its root (symlinks are `Beneath`'s business). Ordered by its bytes, so a directory
/// comes before what is in it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Arc<[u8]>);

/// Why bytes are no `RelPath`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It names the root itself.
    #[error("names no file")]
    Empty,
    /// It begins with a slash.
    #[error("is absolute")]
    Absolute,
    /// It has a `..`.
    #[error("has a `..`")]
    Parent,
    /// It has a NUL byte.
    #[error("has a NUL byte")]
    Nul,
    /// It has more than `DEPTH_MAX` components.
    #[error("is nested too deeply")]
    Deep,
}

impl RelPath {
    /// Reads a path as archives and people write it: `./a//b/` is `a/b`.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.first() == Some(&b'/') {
            return Err(PathError::Absolute);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        let mut clean = Vec::with_capacity(bytes.len());
        let mut depth = 0;
        for part in bytes.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err(PathError::Parent),
                _ => {}
            }
            if depth > 0 {
                clean.push(b'/');
            }
            clean.extend_from_slice(part);
            depth += 1;
        }
        match depth {
            0 => Err(PathError::Empty),
            _ if depth > DEPTH_MAX => Err(PathError::Deep),
            _ => Ok(Self(clean.into())),
        }
    }

    /// Its bytes, without slashes at either end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        self.split().1
    }

    /// Bytes of the directory it is in, and the last component.
    pub fn split(&self) -> (Option<&[u8]>, &[u8]) {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (Some(&self.0[..slash]), &self.0[slash + 1..]),
            None => (None, &self.0),
        }
    }

    /// The directories above it, outermost first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        let slashes = self.0.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
        slashes.map(|(at, _)| Self(self.0[..at].into()))
    }

    /// Number of components, at least 1.
    pub fn depth(&self) -> usize {
        self.0.split(|&byte| byte == b'/').count()
    }

    /// `self/name`, where `name` is one component as a directory lists it.
    pub fn join(directory: Option<&Self>, name: &[u8]) -> Result<Self, PathError> {
        match directory {
            Some(directory) => Self::parse(&[directory.as_bytes(), b"/", name].concat()),
            None => Self::parse(name),
        }
    }
}

impl Borrow<[u8]> for RelPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escape(&self.0))
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes =
            unescape(&text).ok_or_else(|| de::Error::custom(format_args!("bad escape in `{text}`")))?;
        let path =
            Self::parse(&bytes).map_err(|error| de::Error::custom(format_args!("`{text}` {error}")))?;
        if path.as_bytes() != bytes {
            return Err(de::Error::custom(format_args!("`{text}` is not in its shortest form")));
        }
        Ok(path)
    }
}

/// Bytes as text, reversibly: a backslash is doubled, control characters and bytes that are not UTF-8 become
/// `\xHH`; so neither JSON nor a terminal sees anything odd.
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    let plain = |text: &str| !text.contains(|c: char| c == '\\' || c.is_control());
    if let Ok(text) = str::from_utf8(bytes)
        && plain(text)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 8);
    let push_hex = |hex: &mut String, bytes: &[u8]| {
        for byte in bytes {
            hex.push_str("\\x");
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
            }
        }
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => push_hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    Cow::Owned(text)
}

/// What `escape` was given; `None` when it cannot have written this.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        match tail {
            [b'\\', tail @ ..] => {
                bytes.push(b'\\');
                rest = tail;
            }
            [b'x', high, low, tail @ ..] => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest = tail;
            }
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_normalised_and_cannot_leave_its_root() {
        let parse = |text: &str| RelPath::parse(text.as_bytes()).map(|path| path.to_string());
        assert_eq!(parse("./usr//bin/./ls/").as_deref(), Ok("usr/bin/ls"));
        assert_eq!(parse("..a/b..").as_deref(), Ok("..a/b.."));
        assert_eq!(parse("."), Err(PathError::Empty));
        assert_eq!(parse(""), Err(PathError::Empty));
        assert_eq!(parse("/etc"), Err(PathError::Absolute));
        assert_eq!(parse("a/../b"), Err(PathError::Parent));
        assert_eq!(parse("a\0b"), Err(PathError::Nul));
        assert_eq!(parse(&"a/".repeat(DEPTH_MAX + 1)), Err(PathError::Deep));
    }

    #[test]
    fn a_path_knows_where_it_is() {
        let path = RelPath::parse(b"usr/lib/gcc").unwrap();
        assert_eq!(path.name(), b"gcc");
        assert_eq!(path.depth(), 3);
        let above: Vec<_> = path.ancestors().map(|path| path.to_string()).collect();
        assert_eq!(above, ["usr", "usr/lib"]);
    }

    #[test]
    fn json_refuses_a_path_that_leaves_the_root() {
        for text in ["\"../x\"", "\"/x\"", "\"a//b\"", "\"\"", r#""\\x2e\\x2e/x""#, r#""\\q""#] {
            assert!(serde_json::from_str::<RelPath>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive_text(bytes: Vec<u8>) {
            let text = escape(&bytes).into_owned();
            prop_assert!(!text.contains(char::is_control));
            prop_assert_eq!(unescape(&text), Some(bytes));
        }

        #[test]
        fn any_path_survives_json(bytes: Vec<u8>) {
            if let Ok(path) = RelPath::parse(&bytes) {
                let json = serde_json::to_string(&path).unwrap();
                prop_assert_eq!(serde_json::from_str::<RelPath>(&json).unwrap(), path);
            }
        }
    }
}
