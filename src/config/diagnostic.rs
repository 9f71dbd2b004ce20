//! What is wrong with a definition, and where.
//!
//! Owns: the shape of a diagnostic and of a place. A place is a path into a document, not a line: lines are
//! looked up (`place`, `files`) only for what is shown, so that a sound definition pays nothing for them.

use std::fmt;
use std::ops::Range;

/// Index of a file within the definition that is being loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A node of a YAML document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// Which of its documents, from 0 (`---` separates them).
    pub document: u32,
    /// From the document's root to the node.
    pub path: Vec<Segment>,
}

/// One step from a node to its child.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// The value at a key.
    Key(String),
    /// The key itself; only as the last segment.
    KeyItself(String),
    /// An element of a sequence, from 0.
    Index(usize),
}

/// What a diagnostic points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    /// A node, found by its path when shown.
    Node(Place),
    /// Bytes of its text.
    Text(FileId, Range<usize>),
    /// The file as a whole: it is missing, or cannot be read.
    File(FileId),
}

/// Whether a definition with this diagnostic can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it can be run all the same.
    pub severity: Severity,
    /// Stable, for machines: lower case with dashes, such as `unknown-key`.
    pub code: &'static str,
    /// Says what is wrong; lower case, names in backticks.
    pub message: String,
    /// Where; `None` for what is in no file.
    pub spot: Option<Spot>,
    /// What to do.
    pub hint: Option<String>,
}

impl Place {
    /// The root of a document.
    pub fn document(file: FileId, document: u32) -> Self {
        Self { file, document, path: Vec::new() }
    }

    /// The value at `key` of this mapping.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.path.push(Segment::Key(key.into()));
        self
    }

    /// The key `key` itself of this mapping.
    #[must_use]
    pub fn key_itself(mut self, key: impl Into<String>) -> Self {
        self.path.push(Segment::KeyItself(key.into()));
        self
    }

    /// The element `index` of this sequence.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.path.push(Segment::Index(index));
        self
    }
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), spot: None, hint: None }
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// At this place.
    #[must_use]
    pub fn at(mut self, spot: impl Into<Spot>) -> Self {
        self.spot = Some(spot.into());
        self
    }

    /// With this hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Spot {
    /// The file that it is in.
    pub fn file(&self) -> FileId {
        match self {
            Self::Node(place) => place.file,
            Self::Text(file, _) | Self::File(file) => *file,
        }
    }
}

impl From<Place> for Spot {
    fn from(place: Place) -> Self {
        Self::Node(place)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}
