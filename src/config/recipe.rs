//! Recipes, `packages/*.yaml`, as types: a package or a group.
//!
//! Owns: every key of a recipe and its range. Does not know: other recipes, phases, positions in files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::bounds::{above_zero, at_least_one, compact, compact_some};
use super::map::UniqueMap;
use super::name::Name;
pub use super::scalar::Jobs;
use super::scalar::{Digest, Duration, Size};
use super::version::{Dependency, Version};

/// One recipe. A group has `package` and `group` only.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The package's (or group's) name.
    pub package: Name,
    /// A Debian version string; required unless this is a group.
    #[serde(default)]
    pub version: Option<Version>,
    /// Names that this group stands for.
    #[serde(default, deserialize_with = "at_least_one")]
    #[schemars(length(min = 1))]
    pub group: Option<Vec<Name>>,
    /// What is fetched and unpacked into `SRC`.
    #[serde(default, deserialize_with = "compact")]
    pub sources: Vec<SourceFile>,
    /// Packages that must be complete before the first own task, each `NAME` or `NAME CONSTRAINT`.
    #[serde(default, deserialize_with = "compact")]
    pub build_deps: Vec<Dependency>,
    /// Packages that this one needs in order to be used.
    #[serde(default, deserialize_with = "compact")]
    pub runtime_deps: Vec<Dependency>,
    /// Packages that are used when they are there.
    #[serde(default, deserialize_with = "compact")]
    pub optional_deps: Vec<Dependency>,
    /// Environment of every task; a number or `true` becomes its text.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, EnvValue>")]
    pub env: UniqueMap<String>,
    /// Memory that the package is expected to need, until measured.
    #[serde(default)]
    pub memory: Option<Size>,
    /// Enforced limits.
    #[serde(default)]
    pub limits: Limits,
    /// Relative cost (LFS's SBU).
    #[serde(default, deserialize_with = "above_zero")]
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
    pub replaces: Vec<Name>,
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
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(length(min = 1))]
    pub file: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Where it can be had, tried in order.
    #[serde(deserialize_with = "compact_some")]
    #[schemars(length(min = 1))]
    pub from: Vec<Mirror>,
}

/// A place where a source can be had: a URL alone, or with its own file name and digest.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
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
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    pub pids: Option<u32>,
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
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
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

impl<'de> Deserialize<'de> for Mirror {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text_or_entry(from, "a URL, or a mapping with `url` or `apt`", Self::Url, Self::Entry)
    }
}

impl<'de> Deserialize<'de> for Task {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text_or_entry(from, "a script, or a mapping with `run`", Self::Script, Self::Entry)
    }
}

/// Chooses by the kind of node, so that an error is about the form that was meant (and nothing is buffered,
/// as `untagged` would).
fn text_or_entry<'de, D: Deserializer<'de>, T, E: Deserialize<'de>>(
    from: D,
    expecting: &'static str,
    text: fn(String) -> T,
    entry: fn(E) -> T,
) -> Result<T, D::Error> {
    struct Either<T, E> {
        expecting: &'static str,
        text: fn(String) -> T,
        entry: fn(E) -> T,
    }

    impl<'de, T, E: Deserialize<'de>> Visitor<'de> for Either<T, E> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expecting)
        }

        fn visit_str<Error: de::Error>(self, text: &str) -> Result<T, Error> {
            Ok((self.text)(text.to_owned()))
        }

        fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<T, A::Error> {
            E::deserialize(MapAccessDeserializer::new(from)).map(self.entry)
        }
    }

    from.deserialize_any(Either { expecting, text, entry })
}

/// What may stand as a value of `env`: the schema's side of "becomes its text".
struct EnvValue;

impl JsonSchema for EnvValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EnvValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

fn yes() -> bool {
    true
}
