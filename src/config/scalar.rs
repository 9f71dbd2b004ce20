//! Scalars with a syntax of their own: sizes, seconds, durations, digests, jobs, switches.
//!
//! Owns: how each is written and read. Does not know: which keys hold them.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::text::text_scalar;

/// Bytes. Written as a whole number, or with a 1024-based unit: `15G`, `300M`, `1.5GiB`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Seconds, at least 0, finite, as a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize)]
pub struct Seconds(pub f64);

/// A span of time with units: `2h`, `20m`, `90s`, `1h30m`, `30d`; a plain number is seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

/// A SHA-256 digest: 64 hexadecimal digits, kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Box<str>);

/// How many jobs a task may use: `all`, or a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Jobs {
    /// As many as kiln gives it.
    #[default]
    All,
    /// At most this many.
    Most(u32),
}

/// `on` or `off`; `true` and `false` mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Why a text is no such scalar; says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScalarError {
    /// Not a size.
    #[error("`{0}` is not a size: write a number and a unit of 1024, such as `15G`, `300M` or `1.5GiB`")]
    Size(String),
    /// More than 2^64 bytes.
    #[error("size `{0}` is too large: at most 2^64 - 1 bytes")]
    SizeTooLarge(String),
    /// Not a duration.
    #[error("`{0}` is not a duration: write `90s`, `20m`, `2h`, `1h30m`, `30d`, or a number of seconds")]
    Duration(String),
    /// Not a digest.
    #[error("`{text}` is not a SHA-256 digest: 64 hexadecimal digits, not {length} characters")]
    DigestLength {
        /// As written, cut when long.
        text: String,
        /// Number of characters.
        length: usize,
    },
    /// Something else than hexadecimal digits.
    #[error("`{0}` is no hexadecimal digit: a SHA-256 digest is 64 of them")]
    DigestCharacter(char),
    /// Neither `all` nor a number.
    #[error("`{0}` is not a number of jobs: write `all`, or a whole number of at least 1")]
    Jobs(String),
    /// Neither on nor off.
    #[error("`{0}` is not a switch: write `on` or `off`")]
    Switch(String),
}

impl FromStr for Size {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let bad = || ScalarError::Size(text.to_owned());
        let too_large = || ScalarError::SizeTooLarge(text.to_owned());
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        let shift = match unit.strip_suffix("iB").unwrap_or(unit) {
            "" if unit.is_empty() => 0,
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            "T" | "t" => 40,
            "P" | "p" => 50,
            _ => return Err(bad()),
        };
        // A part of a byte is nonsense; more than 18 decimals are below a byte for every unit.
        if !digits(whole) || !digits(fraction) || (shift == 0 && number.contains('.')) || fraction.len() > 18
        {
            return Err(bad());
        }
        let whole: u128 = whole.parse().map_err(|_| too_large())?;
        let tenths = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
        let fraction: u128 = fraction.parse().map_err(|_| bad())?;
        whole
            .checked_mul(1 << shift)
            .and_then(|bytes| bytes.checked_add((fraction << shift) / tenths))
            .and_then(|bytes| u64::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(too_large)
    }
}

impl fmt::Display for Size {
    /// With the largest unit that divides it, so that it reads back the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(50, 'P'), (40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
        match units.into_iter().find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(from)?;
        if seconds.is_finite() && seconds >= 0.0 {
            Ok(Self(seconds))
        } else {
            Err(de::Error::custom(format_args!("{seconds} is not a number of seconds of at least 0")))
        }
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "description": "Seconds." })
    }
}

impl FromStr for Duration {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let bad = || ScalarError::Duration(text.to_owned());
        // jiff also reads other notations (`PT1H`, `1h ago`, `-1h`); a digit first and a unit last leaves ours.
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(bad());
        }
        if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let seconds: f64 = text.parse().map_err(|_| bad())?;
            return std::time::Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| bad());
        }
        if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b"dhms".contains(&b)) {
            return Err(bad());
        }
        let span: jiff::Span = text.parse().map_err(|_| bad())?;
        let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
        std::time::Duration::try_from(span).map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for Duration {
    /// With units, so that it reads back the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut rest, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let mut empty = true;
        for (seconds, unit) in [(86_400, 'd'), (3_600, 'h'), (60, 'm')] {
            if rest >= seconds {
                write!(f, "{}{unit}", rest / seconds)?;
                rest %= seconds;
                empty = false;
            }
        }
        match (nanos, rest) {
            (0, 0) if !empty => Ok(()),
            (0, _) => write!(f, "{rest}s"),
            (nanos, _) => write!(f, "{rest}.{}s", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

impl Digest {
    /// In lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        if let Some(other) = text.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(ScalarError::DigestCharacter(other));
        }
        if text.len() == 64 {
            return Ok(Self(text.to_ascii_lowercase().into()));
        }
        let shown = if text.len() > 16 { format!("{}…", &text[..16]) } else { text.to_owned() };
        Err(ScalarError::DigestLength { text: shown, length: text.len() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Jobs {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        match text.parse() {
            Ok(jobs @ 1..) if !text.starts_with('+') => Ok(Self::Most(jobs)),
            Ok(_) | Err(_) if text == "all" => Ok(Self::All),
            Ok(_) | Err(_) => Err(ScalarError::Jobs(text.to_owned())),
        }
    }
}

impl fmt::Display for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Most(jobs) => write!(f, "{jobs}"),
        }
    }
}

impl FromStr for Switch {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        match text {
            "on" | "true" => Ok(Self::On),
            "off" | "false" => Ok(Self::Off),
            other => Err(ScalarError::Switch(other.to_owned())),
        }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

text_scalar!(Size, "kiln-size", {
    "type": ["string", "integer"],
    "minimum": 0,
    "pattern": "^[0-9]+$|^[0-9]+(\\.[0-9]+)?[KMGTPkmgtp](iB)?$",
    "description": "Bytes: a whole number, or with a 1024-based unit: `15G`, `300M`, `1.5GiB`."
});
text_scalar!(Duration, "kiln-duration", {
    "type": ["string", "number"],
    "minimum": 0,
    "pattern": "^[0-9]+(\\.[0-9]+)?$|^([0-9]+(\\.[0-9]+)?[dhms])+$",
    "description": "`2h`, `20m`, `90s`, `1h30m`, `30d`; a plain number is seconds."
});
text_scalar!(Digest, "kiln-sha256", {
    "type": "string",
    "pattern": "^[0-9A-Fa-f]{64}$",
    "description": "A SHA-256 digest: 64 hexadecimal digits."
});
text_scalar!(Jobs, "kiln-jobs", {
    "type": ["string", "integer"],
    "minimum": 1,
    "pattern": "^(all|[1-9][0-9]*)$",
    "description": "`all`, or a number."
});
text_scalar!(Switch, "kiln-switch", {
    "enum": ["on", "off", true, false],
    "description": "`on` or `off`."
});

#[cfg(test)]
mod tests;
