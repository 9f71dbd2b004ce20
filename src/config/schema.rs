//! JSON Schemas of what a person may write, for editors and for the walk.
//!
//! Owns: generating them from the types, and which `format` stands for which syntax.
//! Does not know: files, positions.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::document::Document;
use super::name::Name;
use super::recipe::Recipe;
use super::scalar::{Digest, Duration, Jobs, Size, Switch};
use super::settings::{Listen, Sandbox, Settings, WebUrl};
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
        "kiln-web-url" => read::<WebUrl>(text),
        "kiln-sandbox" => read::<Sandbox>(text),
        _ => return None,
    })
}

/// Follows `$ref`.
pub(super) fn resolve<'s>(root: &'s Json, mut schema: &'s Json) -> &'s Json {
    while let Some(target) = schema.get("$ref").and_then(Json::as_str) {
        let Some(found) = target.strip_prefix('#').and_then(|path| root.pointer(path)) else { break };
        schema = found;
    }
    schema
}

/// The alternatives of a schema, null left out.
pub(super) fn alternatives<'s>(root: &'s Json, schema: &'s Json) -> Option<Vec<&'s Json>> {
    let all = schema.get("anyOf").or_else(|| schema.get("oneOf"))?.as_array()?;
    Some(all.iter().map(|one| resolve(root, one)).filter(|one| !has_type(one, "null")).collect())
}

/// Whether `type` is or holds this.
pub(super) fn has_type(schema: &Json, name: &str) -> bool {
    match schema.get("type") {
        Some(Json::Array(types)) => types.iter().any(|one| one == name),
        Some(one) => one == name,
        None => false,
    }
}

/// Whether null is allowed, directly or as an alternative.
pub(super) fn allows_null(root: &Json, schema: &Json) -> bool {
    let all = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array);
    has_type(schema, "null") || all.into_iter().flatten().any(|one| has_type(resolve(root, one), "null"))
}

/// The texts that an enumeration allows; `None` when the schema is none.
pub(super) fn options(schema: &Json) -> Option<Vec<&str>> {
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        return Some(values.iter().filter_map(Json::as_str).collect());
    }
    if let Some(value) = schema.get("const") {
        return Some(value.as_str().into_iter().collect());
    }
    let all = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    let options: Option<Vec<_>> = all.iter().map(options).collect();
    Some(options?.concat())
}

#[cfg(test)]
mod tests;
