//! Versions, constraints on them, and dependencies: `musl >= 1.2, < 2`.
//!
//! Owns: how they are written, and dpkg's order of versions, exactly. Does not know: which packages exist.
//!
//! The order is our own, some fifty lines that dpkg itself is asked about in the tests. Of the crates, `debversion` 0.5 brings
//! chrono, num-bigint and regex along, and says 1a < 1a0, where dpkg says that they are equal; `deb-version` 0.1 is right,
//! takes as many lines, and stands where it began; `deb-version7` is under the GPL.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::name::{Name, NameError};
use super::text::text_scalar;

/// A Debian version, `[EPOCH:]UPSTREAM[-REVISION]`. Equal versions may be written differently (`1.0`, `1.00`, `1.0-0`).
#[derive(Debug, Clone)]
pub struct Version(Box<str>);

/// What a version must satisfy: all of its parts. Empty: anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraint(pub Vec<(Operator, Version)>);

/// How a version is compared with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `=`
    Equal,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
}

/// An entry of `build_deps`, `runtime_deps` or `optional_deps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The package or group.
    pub name: Name,
    /// Which of its versions will do.
    pub constraint: Constraint,
}

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// There is nothing.
    #[error("a version may not be empty")]
    Empty,
    /// Debian's versions have letters, digits and `. + - ~`.
    #[error("`{found}` may not be in a version (`{version}`): only letters, digits and `. + - ~`")]
    Character {
        /// What is not allowed.
        found: char,
        /// The whole version.
        version: String,
    },
    /// The part before the colon is not a number up to 2147483647.
    #[error("epoch `{epoch}` of version `{version}` is not a number from 0 to 2147483647")]
    Epoch {
        /// What stands before the colon.
        epoch: String,
        /// The whole version.
        version: String,
    },
    /// Nothing after the colon or before the dash.
    #[error("version `{0}` has no upstream part")]
    NoUpstream(String),
    /// Begins with something else than a letter or digit.
    #[error("version `{0}` does not begin with a digit or letter")]
    Begin(String),
    /// Ends with a dash.
    #[error("version `{0}` ends with `-`: its revision is empty")]
    NoRevision(String),
}

/// Why a text is no dependency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// What stands for the name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What stands for a version is none.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// Something else than a comparison follows the name or a comma.
    #[error("expected `>=`, `<=`, `>`, `<` or `=` at `{0}`")]
    Operator(String),
    /// A comparison of another tool's.
    #[error("`{found}` is not a comparison: write `{instead}`")]
    Foreign {
        /// As written.
        found: &'static str,
        /// What is meant.
        instead: &'static str,
    },
    /// Debian's way to write a constraint.
    #[error("write the constraint without parentheses: `NAME >= VERSION`")]
    Parentheses,
    /// Two comparisons without a comma, or a name with a blank.
    #[error("`{0}` is not one version: write a comma between comparisons")]
    Blank(String),
    /// Nothing stands before, between or after commas.
    #[error("a constraint is missing beside a comma")]
    EmptyPart,
}

impl Version {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Epoch, upstream version and revision; what is left out is 0, and equal to it.
    fn parts(&self) -> (u32, &str, &str) {
        let (epoch, rest) = match self.0.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, &*self.0),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream, revision)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.is_empty() {
            return Err(VersionError::Empty);
        }
        let rest = match text.split_once(':') {
            Some((epoch, rest)) => {
                let digits = !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit());
                if !digits || epoch.parse::<i32>().is_err() {
                    return Err(VersionError::Epoch { epoch: epoch.to_owned(), version: text.to_owned() });
                }
                rest
            }
            None => text,
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".+-~".contains(c);
        if let Some(found) = rest.chars().find(|c| !allowed(*c)) {
            return Err(VersionError::Character { found, version: text.to_owned() });
        }
        if rest.is_empty() || rest.starts_with('-') {
            return Err(VersionError::NoUpstream(text.to_owned()));
        }
        if rest.ends_with('-') {
            return Err(VersionError::NoRevision(text.to_owned()));
        }
        if !rest.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(VersionError::Begin(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.parts(), other.parts());
        a.0.cmp(&b.0).then_with(|| compare(a.1, b.1)).then_with(|| compare(a.2, b.2))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

/// dpkg's `verrevcmp`: in turns a run of non-digits, by character, and a run of digits, by number.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) = (take(&mut a, |c| !c.is_ascii_digit()), take(&mut b, |c| !c.is_ascii_digit()));
        // The end weighs 0: more than `~`, less than anything else.
        for i in 0..text_a.len().max(text_b.len()) {
            let order = weight(text_a.get(i)).cmp(&weight(text_b.get(i)));
            if order.is_ne() {
                return order;
            }
        }
        let (digits_a, digits_b) = (take(&mut a, u8::is_ascii_digit), take(&mut b, u8::is_ascii_digit));
        let (number_a, number_b) = (without_zeros(digits_a), without_zeros(digits_b));
        // No number is parsed, so none is too long.
        let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn take<'a>(from: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = from.iter().position(|c| !wanted(c)).unwrap_or(from.len());
    let (head, tail) = from.split_at(end);
    *from = tail;
    head
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|d| *d != b'0').unwrap_or(digits.len());
    &digits[start..]
}

/// Letters sort before everything else, `~` even before the end.
fn weight(c: Option<&u8>) -> i32 {
    match c {
        None => 0,
        Some(b'~') => -1,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Operator {
    const ALL: [Self; 5] = [Self::LessOrEqual, Self::GreaterOrEqual, Self::Less, Self::Greater, Self::Equal];

    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "=",
            Self::GreaterOrEqual => ">=",
            Self::Greater => ">",
        }
    }

    /// Whether `version` OPERATOR `bound` holds.
    pub fn holds(self, version: &Version, bound: &Version) -> bool {
        let order = version.cmp(bound);
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Greater => order.is_gt(),
        }
    }
}

impl Constraint {
    /// Whether this version satisfies every part.
    pub fn allows(&self, version: &Version) -> bool {
        self.0.iter().all(|(operator, bound)| operator.holds(version, bound))
    }

    /// Whether any version will do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Constraint {
    type Err = DependencyError;

    /// `>= 1.2, < 2`; the empty text is no constraint.
    fn from_str(text: &str) -> Result<Self, DependencyError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(part).collect::<Result<_, _>>().map(Self)
    }
}

fn part(text: &str) -> Result<(Operator, Version), DependencyError> {
    const FOREIGN: [(&str, &str); 5] = [("==", "="), (">>", ">"), ("<<", "<"), ("=>", ">="), ("=<", "<=")];
    let text = text.trim();
    if text.is_empty() {
        return Err(DependencyError::EmptyPart);
    }
    if text.starts_with('(') {
        return Err(DependencyError::Parentheses);
    }
    if let Some((found, instead)) = FOREIGN.into_iter().find(|(found, _)| text.starts_with(found)) {
        return Err(DependencyError::Foreign { found, instead });
    }
    let operator = Operator::ALL
        .into_iter()
        .find(|operator| text.starts_with(operator.as_str()))
        .ok_or_else(|| DependencyError::Operator(text.to_owned()))?;
    let version = text[operator.as_str().len()..].trim_start();
    if version.contains(char::is_whitespace) {
        return Err(DependencyError::Blank(version.to_owned()));
    }
    Ok((operator, version.parse()?))
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (operator, version)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{} {version}", operator.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for Dependency {
    type Err = DependencyError;

    fn from_str(text: &str) -> Result<Self, DependencyError> {
        let text = text.trim();
        let end = text
            .find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '=' | ',' | '('))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        Ok(Self { name: name.parse()?, constraint: rest.parse()? })
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.constraint.is_empty() { "" } else { " " };
        write!(f, "{}{space}{}", self.name, self.constraint)
    }
}

text_scalar!(Version, "kiln-version", {
    "type": ["string", "number"],
    "description": "A Debian version: `[EPOCH:]UPSTREAM[-REVISION]`."
});
text_scalar!(Dependency, "kiln-dependency", {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9+._-]*\\s*((>=|<=|>|<|=)\\s*[^\\s,]+\\s*(,\\s*(>=|<=|>|<|=)\\s*[^\\s,]+\\s*)*)?$",
    "description": "`NAME`, or `NAME >= VERSION, < VERSION`."
});

#[cfg(test)]
mod tests;
