//! The layers that settings come from.
//!
//! Owns: their order, reading each, and where each setting's value came from.
//! Does not know: what a setting does (see `settings`).

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use schemars::Schema;
use serde::Serialize;
use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, FileId, Place, Spot};
use super::files::Files;
use super::load::{Definition, Problems, Root};
use super::parse;
use super::read::{self, ReadError};
use super::schema::{self, alternatives, has_type, resolve};
use super::settings::Settings;
use super::suggest::similar;
use super::tree::NodeId;
use super::walk::walk_scalar;
use super::yaml::{Meaning, meaning};

/// Names of the environment variables that are settings: `KILN_SET_JOBS`, `KILN_SET_RETENTION__LOGS`.
pub const VARIABLE_PREFIX: &str = "KILN_SET_";

/// Where the host's own settings are.
pub const HOST_FILE: &str = "/etc/kiln/kiln.yaml";

/// Everything that settings may come from, weakest first. Files that do not exist say nothing.
#[derive(Debug, Default)]
pub struct Inputs<'a> {
    /// Its `settings`.
    pub definition: Option<&'a Definition>,
    /// /etc/kiln/kiln.yaml.
    pub host_file: Option<PathBuf>,
    /// kiln.local.yaml beside kiln.yaml.
    pub local_file: Option<PathBuf>,
    /// The whole environment; only `KILN_SET_*` is looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// What was given on the command line.
    pub flags: Vec<Flag>,
}

/// A setting that was given on the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// As typed: `--jobs`.
    pub flag: String,
    /// The setting: `jobs`, `retention.logs`.
    pub key: String,
    /// Its value, as in YAML.
    pub value: String,
}

/// The settings, and where each came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Layered {
    /// The values.
    pub settings: Settings,
    /// Every setting, by name.
    pub origins: Vec<Origin>,
}

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Origin {
    /// `jobs`, `retention.logs`.
    pub setting: String,
    /// As in YAML; null where absent.
    pub value: Json,
    /// `default`, `FILE:LINE:COLUMN`, `environment KILN_SET_JOBS`, `flag --jobs`.
    pub origin: String,
}

/// One value of one setting.
struct Layer {
    key: String,
    value: Json,
    origin: String,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let value = figment::value::Value::serialize(&self.value)?;
        let nested = figment::util::nest(&self.key, value);
        let dict =
            nested.into_dict().ok_or_else(|| figment::Error::from("a setting has no name".to_owned()))?;
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

impl<'a> Inputs<'a> {
    /// Those of a definition on this host, without flags.
    pub fn of(definition: &'a Definition, environment: Vec<(OsString, OsString)>) -> Self {
        let local_file = match &definition.root {
            Root::Directory(path) => Some(path.join("kiln.local.yaml")),
            Root::Embedded { .. } => None,
        };
        let definition = Some(definition);
        Self { definition, host_file: Some(HOST_FILE.into()), local_file, environment, flags: Vec::new() }
    }
}

/// Puts the layers together.
pub fn layered(inputs: &Inputs<'_>) -> Result<Layered, Problems> {
    let mut files = Files::default();
    let mut diagnostics = Vec::new();
    let defaults = json(&Settings::default(), &mut diagnostics);
    let mut layers: Vec<Layer> = flatten(&defaults)
        .into_iter()
        .map(|(key, value)| Layer { key, value, origin: "default".to_owned() })
        .collect();
    if let Some(definition) = inputs.definition {
        let suggested = json(&definition.document.settings, &mut diagnostics);
        let place = definition.place.clone().key("settings");
        layers.extend(file_layer(&definition.files, flatten(&suggested), &place));
    }
    for path in [&inputs.host_file, &inputs.local_file].into_iter().flatten() {
        match read::read(path) {
            Err(ReadError::Missing) => {}
            text => {
                let name = path.strip_prefix("./").unwrap_or(path).display().to_string();
                let (id, problem) = read::add(&mut files, name, text);
                diagnostics.extend(problem);
                layers.extend(settings_file(&files, id, &mut diagnostics));
            }
        }
    }
    for (name, value) in &inputs.environment {
        // A name that is not UTF-8 is kept as far as that goes: it is no setting, and is shown as none.
        let name = name.to_string_lossy();
        let Some(key) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
        let key = key.to_lowercase().replace("__", ".");
        let origin = format!("environment {name}");
        let variable = |key: &str| format!("{VARIABLE_PREFIX}{}", key.to_uppercase().replace('.', "__"));
        let read = value.to_str().ok_or_else(|| vec![not_utf8(value)]);
        match read.and_then(|value| typed(&key, value, variable)) {
            Ok(value) => layers.push(Layer { key, value, origin }),
            Err(problems) => diagnostics.extend(problems.into_iter().map(|p| prefixed(&origin, p))),
        }
    }
    for Flag { flag, key, value } in &inputs.flags {
        let origin = format!("flag {flag}");
        match typed(key, value, str::to_owned) {
            Ok(value) => layers.push(Layer { key: key.clone(), value, origin }),
            Err(problems) => diagnostics.extend(problems.into_iter().map(|p| prefixed(&origin, p))),
        }
    }
    if diagnostics.is_empty() {
        match merged(layers) {
            Ok(layered) => return Ok(layered),
            Err(error) => diagnostics.push(Diagnostic::error("settings", error.to_string())),
        }
    }
    Err(Problems { files, diagnostics, rest: None })
}

fn merged(layers: Vec<Layer>) -> Result<Layered, Box<figment::Error>> {
    let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
    let settings: Settings = figment.extract().map_err(Box::new)?;
    let mut problems = Vec::new();
    let origins = flatten(&json(&settings, &mut problems))
        .into_iter()
        .map(|(setting, value)| {
            let origin = figment.find_metadata(&setting).map_or("default".into(), |found| found.name.clone());
            Origin { setting, value, origin: origin.into_owned() }
        })
        .collect();
    Ok(Layered { settings, origins })
}

/// A settings file, as the types read it; only what it holds itself.
fn settings_file(files: &Files, id: FileId, diagnostics: &mut Vec<Diagnostic>) -> Vec<Layer> {
    let file = files.get(id);
    let tree = file.tree();
    let nothing = |root: &NodeId| parse::is_empty(tree, *root);
    if !file.readable || (tree.roots.iter().all(nothing) && tree.error.is_none()) {
        return Vec::new();
    }
    let documents = vec![parse::documents::<Settings>(&file.text)];
    let no_rules = |_: &Settings, _: &Place| Vec::new();
    let values = parse::collect(files, id, documents, schema::settings(), no_rules, diagnostics);
    if let Some(second) = values.get(1) {
        let message = "a file of settings is one document";
        diagnostics.push(Diagnostic::error("second-document", message).at(second.place.clone()));
    }
    let Some(first) = values.first() else { return Vec::new() };
    if let Some(error) = &tree.error {
        // Without positions it is not known which settings the file has.
        diagnostics.push(Diagnostic::error(error.code, error.message.clone()).at(Spot::File(id)));
    }
    let mut values = flatten(&json(&first.value, diagnostics));
    values.retain(|(key, _)| files.find(&written(&first.place, key)));
    file_layer(files, values, &first.place).collect()
}

/// Where a setting is written in a file.
fn written(place: &Place, key: &str) -> Place {
    match key.rsplit_once('.') {
        Some((above, last)) => above.split('.').fold(place.clone(), Place::key).key_itself(last),
        None => place.clone().key_itself(key),
    }
}

/// These settings of a file, each with its position.
fn file_layer(files: &Files, values: Vec<(String, Json)>, place: &Place) -> impl Iterator<Item = Layer> {
    values.into_iter().map(move |(key, value)| {
        let origin = files.locate(&Spot::Node(written(place, &key)));
        Layer { key, value, origin }
    })
}

/// A text from the environment or a flag, as the setting's type wants it. `name`: how a setting is called
/// there.
fn typed(key: &str, text: &str, name: impl Fn(&str) -> String) -> Result<Json, Vec<Diagnostic>> {
    let root = schema::settings();
    let Some(leaf) = leaf(root, key) else {
        let known = flatten(&json(&Settings::default(), &mut Vec::new()));
        let known: Vec<&str> = known.iter().map(|(key, _)| key.as_str()).collect();
        let hint = match similar(key, &known) {
            Some(meant) => format!("did you mean `{}`?", name(meant)),
            None => format!("settings: {}", known.iter().map(|key| name(key)).collect::<Vec<_>>().join(", ")),
        };
        let diagnostic = Diagnostic::error("unknown-setting", format!("unknown setting `{key}`"));
        return Err(vec![diagnostic.hint(hint)]);
    };
    let problems = walk_scalar(text, root, leaf);
    if !problems.is_empty() {
        return Err(problems);
    }
    let root = root.as_value();
    let kind = resolve(root, leaf);
    let kind = alternatives(root, kind).and_then(|all| all.first().copied()).unwrap_or(kind);
    let is = |name| has_type(kind, name);
    Ok(match meaning(text, true) {
        Meaning::Null => Json::Null,
        Meaning::Bool(value) if is("boolean") => value.into(),
        Meaning::Integer(value) if is("integer") && !is("string") => {
            u64::try_from(value).map_or(Json::Null, Json::from)
        }
        Meaning::Bool(_) | Meaning::Integer(_) | Meaning::Float(_) | Meaning::Text => text.into(),
    })
}

/// The schema of a setting that is no mapping.
fn leaf<'s>(root: &'s Schema, key: &str) -> Option<&'s Json> {
    let root = root.as_value();
    let found =
        key.split('.').try_fold(root, |schema, part| resolve(root, schema).get("properties")?.get(part))?;
    resolve(root, found).get("properties").is_none().then_some(found)
}

fn not_utf8(value: &OsStr) -> Diagnostic {
    Diagnostic::error("not-utf-8", format!("`{}` is not UTF-8", value.as_encoded_bytes().escape_ascii()))
}

fn prefixed(origin: &str, diagnostic: Diagnostic) -> Diagnostic {
    Diagnostic { message: format!("{origin}: {}", diagnostic.message), ..diagnostic }
}

/// Types of ours always become JSON; an error would be a bug, and is shown as one.
fn json(value: &impl Serialize, diagnostics: &mut Vec<Diagnostic>) -> Json {
    serde_json::to_value(value).unwrap_or_else(|error| {
        diagnostics.push(Diagnostic::error("settings", error.to_string()));
        Json::Null
    })
}

/// Every leaf with its path, `retention.logs`.
fn flatten(value: &Json) -> Vec<(String, Json)> {
    let Json::Object(entries) = value else { return Vec::new() };
    let mut leaves = Vec::new();
    for (key, value) in entries {
        if value.is_object() {
            leaves.extend(flatten(value).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
        } else {
            leaves.push((key.clone(), value.clone()));
        }
    }
    leaves
}

#[cfg(test)]
mod tests;
