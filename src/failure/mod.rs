//! What went wrong, in the framework's words.
//!
//! Owns: categories, classes, what a failure carries, and how evidence becomes one. Does not know: attempts, retries,
//! gates (those are the engine's); where evidence comes from (the driver's).
//!
//! `classify` weighs evidence: facts (`fact`), how it ended, and what was printed (`output`), which is held against what
//! tools are known to print (`rules`). `denial` reads there, too, what a task that was kept in tried in vain.

pub mod classify;
pub mod denial;
pub mod fact;
pub mod line;
mod literal;
pub mod output;
mod rules;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The framework's error categories, and ours for security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the framework's, which says what each means")]
pub enum Category {
    CompilationFailure,
    LinkFailure,
    ConfigurationError,
    ResourceExhaustion,
    MissingDependency,
    VersionConflict,
    CircularDependency,
    BrokenDependency,
    DiskSpace,
    MemoryAllocation,
    ProcessLimits,
    NetworkIssues,
    SecurityViolation,
}

/// All categories, in the framework's order.
pub const CATEGORIES: [Category; 13] = [
    Category::CompilationFailure,
    Category::LinkFailure,
    Category::ConfigurationError,
    Category::ResourceExhaustion,
    Category::MissingDependency,
    Category::VersionConflict,
    Category::CircularDependency,
    Category::BrokenDependency,
    Category::DiskSpace,
    Category::MemoryAllocation,
    Category::ProcessLimits,
    Category::NetworkIssues,
    Category::SecurityViolation,
];

/// The framework's classes of categories, and ours for security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the framework's, which says what each means")]
pub enum Class {
    Build,
    Dependency,
    System,
    Security,
}

/// How sure a classification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Nothing was found, or nothing that fits a category: it is a guess from the kind of task.
    Low,
    /// Taken from what was printed, or from how it ended.
    Medium,
    /// A fact that kiln or the kernel observed.
    High,
}

/// What a category was concluded from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Who says so: `kernel`, `exit`, `output`, `kiln`.
    pub source: String,
    /// Line of the output, from 1, where it is from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The fact, or the line of output.
    pub text: String,
}

/// One failed attempt, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it was.
    pub category: Category,
    /// How sure that is.
    pub confidence: Confidence,
    /// What that was concluded from.
    pub evidence: Evidence,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether trying again may help: not after a path conflict, nor after a digest mismatch unless another mirror
    /// may yet have the right file.
    pub retryable: bool,
}

impl Category {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CompilationFailure => "compilation_failure",
            Self::LinkFailure => "link_failure",
            Self::ConfigurationError => "configuration_error",
            Self::ResourceExhaustion => "resource_exhaustion",
            Self::MissingDependency => "missing_dependency",
            Self::VersionConflict => "version_conflict",
            Self::CircularDependency => "circular_dependency",
            Self::BrokenDependency => "broken_dependency",
            Self::DiskSpace => "disk_space",
            Self::MemoryAllocation => "memory_allocation",
            Self::ProcessLimits => "process_limits",
            Self::NetworkIssues => "network_issues",
            Self::SecurityViolation => "security_violation",
        }
    }

    /// The class that it is of.
    pub fn class(self) -> Class {
        match self {
            Self::CompilationFailure
            | Self::LinkFailure
            | Self::ConfigurationError
            | Self::ResourceExhaustion => Class::Build,
            Self::MissingDependency
            | Self::VersionConflict
            | Self::CircularDependency
            | Self::BrokenDependency => Class::Dependency,
            Self::DiskSpace | Self::MemoryAllocation | Self::ProcessLimits | Self::NetworkIssues => {
                Class::System
            }
            Self::SecurityViolation => Class::Security,
        }
    }
}

impl Class {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Dependency => "dependency",
            Self::System => "system",
            Self::Security => "security",
        }
    }
}

impl Confidence {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl Failure {
    /// A fact that kiln itself, or the kernel, is sure of.
    pub fn fact(category: Category, source: &str, text: impl Into<String>) -> Self {
        Self {
            category,
            confidence: Confidence::High,
            evidence: Evidence { source: source.into(), line: None, text: text.into() },
            hint: None,
            retryable: category != Category::SecurityViolation,
        }
    }

    /// Whether kiln ended it because it took too long.
    pub fn took_too_long(&self) -> bool {
        self.category == Category::ResourceExhaustion && self.evidence.source == "kiln"
    }

    /// What two failures for the same reason have in common: category and evidence, without what changes from one
    /// attempt to the next (numbers: of processes, times, lines).
    pub fn fingerprint(&self) -> Arc<str> {
        let mut text = self.category.name().to_owned();
        text.push(' ');
        for c in self.evidence.text.chars() {
            match c {
                '0'..='9' if text.ends_with('#') => {}
                '0'..='9' => text.push('#'),
                other => text.push(other),
            }
        }
        text.into()
    }

    /// With this hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Trying again may help all the same.
    #[must_use]
    pub fn worth_retrying(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Trying again would give the same.
    #[must_use]
    pub fn pointless_to_retry(mut self) -> Self {
        self.retryable = false;
        self
    }
}
