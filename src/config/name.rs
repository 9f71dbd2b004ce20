//! Names of packages, groups, phases and definitions.
//!
//! Owns: what a name may be, so that it is safe as a file name, a label and an argument.
//! Does not know: what is named.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use super::text::text_scalar;

/// Letters, digits and `+ - . _`; begins with a letter or digit; at most 128 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("a name may not be empty")]
    Empty,
    /// It holds something that no name may.
    #[error("`{found}` may not be in a name (`{name}`): only letters, digits and `+ - . _`")]
    Character {
        /// What is not allowed.
        found: char,
        /// The whole name.
        name: String,
    },
    /// It begins with `+ - . _`.
    #[error("name `{0}` does not begin with a letter or digit")]
    Begin(String),
    /// It is too long for a file name with an ending.
    #[error("a name of {0} characters is too long: at most 128")]
    Long(usize),
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some(first) = text.chars().next() else { return Err(NameError::Empty) };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        if let Some(found) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character { found, name: text.to_owned() });
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::Begin(text.to_owned()));
        }
        if text.len() > 128 {
            return Err(NameError::Long(text.len()));
        }
        Ok(Self(text.into()))
    }
}

impl Name {
    /// The name that is nearest to `text`: what may not be in a name becomes `-`.
    pub fn nearest(text: &str) -> Self {
        let kept =
            text.chars().map(|c| if c.is_ascii_alphanumeric() || "+-._".contains(c) { c } else { '-' });
        let kept: String = kept.skip_while(|c| !c.is_ascii_alphanumeric()).take(128).collect();
        Self(if kept.is_empty() { "definition".into() } else { kept.into() })
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

text_scalar!(Name, "kiln-name", {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9+._-]{0,127}$",
    "description": "Letters, digits and `+ - . _`; begins with a letter or digit."
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_file_names_and_arguments() {
        for good in ["busybox", "gcc_pass1", "libstdc++", "9base", "xorg-server", "a.b"] {
            assert_eq!(good.parse::<Name>().unwrap(), good);
        }
        for bad in ["", ".", "..", "-rf", "_x", "a/b", "a b", "é", "a\n", "~"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(128).parse::<Name>().is_ok());
        assert_eq!("a".repeat(129).parse::<Name>(), Err(NameError::Long(129)));
    }

    #[test]
    fn the_nearest_name_is_a_name() {
        for (text, name) in [("my build!", "my-build-"), ("../x", "x"), ("..", "definition"), ("ok", "ok")] {
            assert_eq!(Name::nearest(text), name);
            assert!(Name::nearest(text).parse::<Name>().is_ok());
        }
    }
}
