//! JSON Schemas of what a person may write, for editors and for the walk.
//!
//! Owns: generating them from the types, and which `format` stands for which syntax.
//! Does not know: files, positions.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::document::Document;
use super::name::Name;
use super::recipe::Recipe;
use super::scalar::{Digest, Duration, Jobs, Size, Switch};
use super::settings::{Listen, Sandbox, Settings};
use super::version::{Dependency, Version};

/// Marks the mapping of settings that a definition may suggest: others are refused, not unknown.
pub(super) const HOST_ONLY_MARK: &str = "x-kiln-host-settings-refused";

static KILN_YAML: LazyLock<Schema> = LazyLock::new(|| generate::<Document>("kiln.yaml of a kiln definition"));
static RECIPE: LazyLock<Schema> =
    LazyLock::new(|| generate::<Recipe>("packages/*.yaml of a kiln definition"));
static SETTINGS: LazyLock<Schema> =
    LazyLock::new(|| generate::<Settings>("/etc/kiln/kiln.yaml and kiln.local.yaml"));

/// The schema of kiln.yaml.
pub fn kiln_yaml() -> &'static Schema {
    &KILN_YAML
}

/// The schema of each document of packages/*.yaml.
pub fn recipe() -> &'static Schema {
    &RECIPE
}

/// The schema of /etc/kiln/kiln.yaml and kiln.local.yaml.
pub fn settings() -> &'static Schema {
    &SETTINGS
}

/// What is shipped under config/schema/: file names and texts.
pub fn shipped() -> [(&'static str, String); 3] {
    // Displaying JSON that was generated cannot fail.
    let text = |schema: &Schema| format!("{:#}\n", schema.as_value());
    [
        ("kiln.schema.json", text(kiln_yaml())),
        ("recipe.schema.json", text(recipe())),
        ("settings.schema.json", text(settings())),
    ]
}

fn generate<T: schemars::JsonSchema>(title: &str) -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema
}

/// Tries the syntax that a schema's `format` names; `None` for formats that are not ours (`uint32`).
pub(super) fn try_format(format: &str, text: &str) -> Option<Result<(), String>> {
    fn read<T: FromStr<Err: Display>>(text: &str) -> Result<(), String> {
        text.parse::<T>().map(drop).map_err(|error| error.to_string())
    }
    Some(match format {
        "kiln-name" => read::<Name>(text),
        "kiln-version" => read::<Version>(text),
        "kiln-dependency" => read::<Dependency>(text),
        "kiln-size" => read::<Size>(text),
        "kiln-duration" => read::<Duration>(text),
        "kiln-sha256" => read::<Digest>(text),
        "kiln-jobs" => read::<Jobs>(text),
        "kiln-switch" => read::<Switch>(text),
        "kiln-listen" => read::<Listen>(text),
        "kiln-sandbox" => read::<Sandbox>(text),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
