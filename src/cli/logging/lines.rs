//! Messages as lines: for people, and as JSON.
//!
//! Owns: their shape. Does not know: where they are written.

use jiff::tz::TimeZone;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use tracing::Level;

use super::said::Said;

/// `12:03:04 zlib: completed in 5s`
pub(super) fn text(said: &Said, colour: bool) -> String {
    let time = said.at.to_zoned(TimeZone::system()).strftime("%H:%M:%S");
    let (word, code) = match said.level() {
        Level::ERROR => ("error: ", "\x1b[31m"),
        Level::WARN => ("warning: ", "\x1b[33m"),
        Level::INFO => ("", ""),
        Level::DEBUG | Level::TRACE => ("", "\x1b[2m"),
    };
    let text = said.text();
    if colour && !code.is_empty() {
        format!("\x1b[2m{time}\x1b[0m {code}{word}{text}\x1b[0m\n")
    } else if colour {
        format!("\x1b[2m{time}\x1b[0m {text}\n")
    } else {
        format!("{time} {word}{text}\n")
    }
}

/// One object a line, with all fields.
pub(super) fn json(said: &Said) -> serde_json::Result<String> {
    Ok(serde_json::to_string(&Object(said))? + "\n")
}

struct Object<'a>(&'a Said);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(said) = self;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("timestamp", &format_args!("{:.6}", said.at))?;
        object.serialize_entry("level", said.level().as_str())?;
        object.serialize_entry("target", said.target())?;
        for (field, value) in said.fields() {
            object.serialize_entry(field, value)?;
        }
        object.end()
    }
}
