//! The schemas as they are shipped, and as the walk understands them.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::settings::{DefinitionSettings, HOST_ONLY};
use super::*;

#[test]
fn the_shipped_schemas_are_those_of_the_types() {
    for (name, text) in shipped() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema").join(name);
        let shipped = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(shipped == text, "{} is stale: `cargo run --example schemas` writes it anew", path.display());
    }
}

/// Every keyword, in schemas of values (not in `default` and such).
fn keywords(schema: &Json, found: &mut BTreeSet<String>) {
    let Some(object) = schema.as_object() else { return };
    for (keyword, value) in object {
        found.insert(keyword.clone());
        match keyword.as_str() {
            "$defs" | "properties" => value.as_object().unwrap().values().for_each(|v| keywords(v, found)),
            "anyOf" | "oneOf" => value.as_array().unwrap().iter().for_each(|v| keywords(v, found)),
            "items" | "additionalProperties" | "propertyNames" => keywords(value, found),
            _ => {}
        }
    }
}

#[test]
fn the_walk_knows_every_keyword_of_the_schemas() {
    let known = [
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "enum",
        "exclusiveMinimum",
        "format",
        "items",
        "minItems",
        "minLength",
        "minimum",
        "oneOf",
        "properties",
        "propertyNames",
        "required",
        "type",
        // For people and editors; `pattern` repeats what `format` says.
        "$schema",
        "default",
        "description",
        "pattern",
        "title",
        HOST_ONLY_MARK,
    ];
    for schema in [kiln_yaml(), recipe(), settings()] {
        let mut found = BTreeSet::new();
        keywords(schema.as_value(), &mut found);
        let unknown: Vec<_> = found.iter().filter(|keyword| !known.contains(&keyword.as_str())).collect();
        assert_eq!(unknown, [""; 0]);
    }
}

#[test]
fn every_format_of_ours_is_known() {
    fn formats(schema: &Json, found: &mut BTreeSet<String>) {
        match schema {
            Json::Object(entries) => {
                if let Some(Json::String(format)) = entries.get("format") {
                    found.insert(format.clone());
                }
                entries.values().for_each(|value| formats(value, found));
            }
            Json::Array(items) => items.iter().for_each(|value| formats(value, found)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    let mut found = BTreeSet::new();
    for schema in [kiln_yaml(), recipe(), settings()] {
        formats(schema.as_value(), &mut found);
    }
    let ours: Vec<_> = found.iter().filter(|format| format.starts_with("kiln-")).collect();
    assert_eq!(ours.len(), 11);
    for format in ours {
        assert!(try_format(format, "").is_some(), "{format}");
    }
}

#[test]
fn only_what_has_no_default_is_required() {
    fn required<'s>(schema: &'s Schema, definition: &str) -> Vec<&'s str> {
        let schema = match definition {
            "" => schema.as_value(),
            name => &schema.as_value()["$defs"][name],
        };
        schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect()
    }
    assert_eq!(required(kiln_yaml(), ""), ["build_phases"]);
    assert_eq!(required(kiln_yaml(), "Phase"), ["order", "steps"]);
    assert_eq!(required(kiln_yaml(), "PackageType"), [""; 0]);
    assert_eq!(required(kiln_yaml(), "Checkpoints"), [""; 0]);
    assert_eq!(required(recipe(), ""), ["package"]);
    assert_eq!(required(recipe(), "SourceFile"), ["file", "sha256", "from"]);
    assert_eq!(required(recipe(), "MirrorEntry"), [""; 0]);
    assert_eq!(required(recipe(), "TaskEntry"), ["run"]);
    assert_eq!(required(settings(), ""), [""; 0]);
}

#[test]
fn a_definition_may_suggest_every_setting_but_those_of_the_host() {
    let keys = |value: &Json| -> BTreeSet<String> {
        value["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let mut all = keys(settings().as_value());
    let suggested = keys(schemars::schema_for!(DefinitionSettings).as_value());
    for (key, _) in HOST_ONLY {
        assert!(all.remove(key), "{key}");
    }
    assert_eq!(all, suggested);
}
