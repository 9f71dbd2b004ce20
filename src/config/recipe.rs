//! Recipes, `packages/*.yaml`, as types: a package or a group.
//!
//! Owns: every key of a recipe and its range. Does not know: other recipes, phases, positions in files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::{Digest, Duration, Size, UniqueMap};

/// One recipe. A group has `package` and `group` only.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The package's (or group's) name: letters, digits, `+ - . _`; begins with a letter or digit.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9+._-]*$"))]
    pub package: String,
    /// A Debian version string; required unless this is a group.
    #[serde(default)]
    pub version: Option<String>,
    /// Names that this group stands for.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub group: Option<Vec<String>>,
    /// What is fetched and unpacked into `SRC`.
    #[serde(default)]
    pub sources: Vec<SourceFile>,
    /// Packages that must be complete before the first own task, each `NAME` or `NAME CONSTRAINT`.
    #[serde(default)]
    pub build_deps: Vec<String>,
    /// Packages that this one needs in order to be used.
    #[serde(default)]
    pub runtime_deps: Vec<String>,
    /// Packages that are used when they are there.
    #[serde(default)]
    pub optional_deps: Vec<String>,
    /// Environment of every task.
    #[serde(default)]
    pub env: UniqueMap<String>,
    /// Memory that the package is expected to need, until measured.
    #[serde(default)]
    pub memory: Option<Size>,
    /// Enforced limits.
    #[serde(default)]
    pub limits: Limits,
    /// Relative cost (LFS's SBU).
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub weight: Option<f64>,
    /// How many jobs a task may use.
    #[serde(default)]
    pub jobs: Jobs,
    /// Longest time of one attempt of a task.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Longest time without output.
    #[serde(default)]
    pub silent_timeout: Option<Duration>,
    /// The package's own tasks.
    #[serde(default)]
    pub tasks: Tasks,
    /// Paths, relative to the sysroot, that must exist after `install`.
    #[serde(default)]
    pub provides: Vec<String>,
    /// Packages whose paths this one may take over.
    #[serde(default)]
    pub replaces: Vec<String>,
    /// `install` writes into the sysroot itself.
    #[serde(default)]
    pub direct: bool,
    /// A dependency whose optional `check` failed satisfies `strict` here.
    #[serde(default)]
    pub accept_failed_check: bool,
    /// `SOURCE_DATE_EPOCH` where there are no sources, seconds.
    #[serde(default)]
    pub source_date_epoch: Option<u64>,
    /// Paths that may be setuid, setgid or device nodes.
    #[serde(default)]
    pub privileged: Vec<String>,
    /// Paths with another owner than root:root, as `USER:GROUP` or `UID:GID`.
    #[serde(default)]
    pub owners: UniqueMap<String>,
}

/// One source file, known by its digest.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its name in `SRC` and in messages.
    #[schemars(length(min = 1))]
    pub file: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Where it can be had, tried in order.
    #[schemars(length(min = 1))]
    pub from: Vec<Mirror>,
}

/// A place where a source can be had: a URL alone, or with its own file name and digest.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Mirror {
    /// `https://…`, `http://…` or `file:…`.
    Url(String),
    /// An entry with keys.
    Entry(MirrorEntry),
}

/// A mirror with keys: exactly one of `url` and `apt`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MirrorEntry {
    /// `https://…`, `http://…` or `file:…`.
    #[serde(default)]
    pub url: Option<String>,
    /// The distribution's source package of this name.
    #[serde(default)]
    pub apt: Option<String>,
    /// The file's name there, when it differs.
    #[serde(default)]
    pub file: Option<String>,
    /// The file's digest there, when it differs.
    #[serde(default)]
    pub sha256: Option<Digest>,
}

/// Enforced limits of a task.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<Size>,
    /// Number of processes and threads.
    #[schemars(range(min = 1))]
    pub pids: Option<u32>,
}

/// How many jobs a task may use: `all`, or a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Jobs {
    /// As many as kiln gives it.
    #[default]
    All,
    /// At most this many.
    Most(u32),
}

/// A package's own tasks, each a script.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tasks {
    /// Prepares the build.
    pub configure: Option<Task>,
    /// Builds.
    pub build: Option<Task>,
    /// Tests.
    pub check: Option<Task>,
    /// Writes the result into `DESTDIR`.
    pub install: Option<Task>,
}

/// A task: its script alone, or with keys.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Task {
    /// The script.
    Script(String),
    /// The script, and whether the package fails with it.
    Entry(TaskEntry),
}

/// A task with keys.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskEntry {
    /// The script.
    pub run: String,
    /// Whether the package fails when this fails; only `check` may say false.
    #[serde(default = "yes")]
    pub required: bool,
}

impl Task {
    /// The script.
    pub fn script(&self) -> &str {
        match self {
            Self::Script(run) | Self::Entry(TaskEntry { run, .. }) => run,
        }
    }

    /// Whether the package fails when this task fails.
    pub fn required(&self) -> bool {
        match self {
            Self::Script(_) => true,
            Self::Entry(entry) => entry.required,
        }
    }
}

fn yes() -> bool {
    true
}
