//! The walk accepts what the types accept, and nothing else.

use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::super::document::Document;
use super::super::files::Files;
use super::super::parse;
use super::super::recipe::Recipe;
use super::super::schema;
use super::super::settings::Settings;
use super::*;

const FRAMEWORK: &str = include_str!("../../../config/framework/kiln.yaml");
const RECIPES: &str = include_str!("../../../tests/data/recipes/full.yaml");
const SETTINGS: &str = "jobs: 4\nlisten: \":9100\"\nlinger: 1m\nlog_format: json\nsandbox: require\ncgroups: on\n\
    build_user: kiln\noffline: false\nretention: {logs: 30d, archives: 1d}\ncache_budget: 1G\nstate: /s\n\
    alertmanager_url: http://localhost:9093\n";

/// Both verdicts on a text, document by document. (No text here has tags: `serde_yaml` heeds them in some
/// places and not in others.)
fn verdicts<T: DeserializeOwned>(text: &str, schema: &Schema) -> (Vec<Option<String>>, Vec<Option<String>>) {
    let types = parse::documents::<T>(text).values.into_iter();
    let types = types.map(|value| value.err().map(|error| error.to_string())).collect();
    let mut files = Files::default();
    let id = files.add("f", text);
    let file = files.get(id);
    let tree = file.tree();
    let verdict = |root: &NodeId| {
        let empty = matches!(
            tree.value(*root),
            Value::Scalar { text, plain: true } if meaning(text, true) == Meaning::Null
        );
        let found = if empty { Vec::new() } else { walk(file, id, *root, schema).found };
        found.first().map(|diagnostic| diagnostic.message.clone())
    };
    let mut walked: Vec<_> = tree.roots.iter().map(verdict).collect();
    walked.extend(tree.error.iter().map(|error| Some(error.message.clone())));
    (types, walked)
}

fn check<T: DeserializeOwned>(text: &str, schema: &Schema) -> Result<(), TestCaseError> {
    let (types, walked) = verdicts::<T>(text, schema);
    // serde_yaml sees a document where there is none.
    if walked.is_empty() {
        prop_assert_eq!(types, [None]);
        return Ok(());
    }
    let wrong = |verdicts: &[Option<String>]| verdicts.iter().map(Option::is_some).collect::<Vec<_>>();
    prop_assert_eq!(wrong(&types), wrong(&walked), "types: {:?}\nwalk: {:?}\n{}", types, walked, text);
    Ok(())
}

/// Replaces one node, chosen by `node`, or renames or repeats a key.
fn mutated(text: &str, node: prop::sample::Index, edit: &Edit) -> String {
    let tree = Tree::parse(text);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut stack = tree.roots.clone();
    while let Some(id) = stack.pop() {
        values.push(tree.node(id).span.clone());
        match tree.value(id) {
            Value::Sequence(items) => stack.extend(items),
            Value::Mapping(entries) => {
                keys.extend(entries.iter().map(|(key, _)| tree.node(*key).span.clone()));
                stack.extend(entries.iter().map(|(_, value)| value));
            }
            Value::Scalar { .. } | Value::Alias(_) => {}
        }
    }
    if keys.is_empty() || values.is_empty() {
        return text.to_owned();
    }
    let (span, new) = match edit {
        Edit::Value(new) => {
            let span = values[node.index(values.len())].clone();
            let end = span.start + text[span.clone()].trim_end().len();
            (span.start..end, new.clone())
        }
        Edit::Key(new) => (keys[node.index(keys.len())].clone(), new.clone()),
        Edit::Repeat => {
            let key = keys[node.index(keys.len())].clone();
            let other = keys[(node.index(keys.len()) + 1) % keys.len()].clone();
            (key, text[other].to_owned())
        }
    };
    format!("{}{new}{}", &text[..span.start], &text[span.end..])
}

#[derive(Debug, Clone)]
enum Edit {
    Value(String),
    Key(String),
    Repeat,
}

fn edits() -> impl Strategy<Value = Edit> {
    let values = [
        "",
        "~",
        "null",
        "0",
        "1",
        "-1",
        "-0",
        "1.5",
        "1.0",
        "007",
        "0x10",
        "4294967296",
        "18446744073709551616",
        "99999999999999999999999999999999999999999",
        "1e3",
        ".inf",
        ".nan",
        "true",
        "False",
        "yes",
        "on",
        "off",
        "\"\"",
        "\"1\"",
        "'true'",
        "x",
        "a b",
        "日本",
        "15G",
        "2h",
        "all",
        "complete",
        "strict",
        "require",
        "json",
        "[]",
        "[a]",
        "[~]",
        "[[a]]",
        "[a, 1, null]",
        "{}",
        "{a: b}",
        "{run: x}",
        "{run: x, required: 1}",
        "{url: x}",
        "{x: {y: z}}",
        "{? [a] : b}",
        "{a: 1, a: 2}",
        "\">= 1\"",
        "a >= 1",
        "/abs",
        "https://x/y",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ];
    let keys = [
        "x", "name", "order", "steps", "type", "version", "group", "required", "1", "~", "<<", "[a]", "\"\"",
    ];
    prop_oneof![
        6 => prop::sample::select(values.to_vec()).prop_map(|value| Edit::Value(value.to_owned())),
        3 => prop::sample::select(keys.to_vec()).prop_map(|key| Edit::Key(key.to_owned())),
        1 => Just(Edit::Repeat),
    ]
}

#[test]
fn what_is_right_is_accepted_by_both() {
    check::<Document>(FRAMEWORK, schema::kiln_yaml()).unwrap();
    check::<Recipe>(RECIPES, schema::recipe()).unwrap();
    check::<Settings>(SETTINGS, schema::settings()).unwrap();
    assert_eq!(verdicts::<Document>(FRAMEWORK, schema::kiln_yaml()).0, [None]);
    assert_eq!(verdicts::<Recipe>(RECIPES, schema::recipe()).0, [None, None]);
    assert_eq!(verdicts::<Settings>(SETTINGS, schema::settings()).0, [None]);
}

/// Few by default, so that all tests together take a second; `PROPTEST_CASES` asks for more.
fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(cases.unwrap_or(80))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_walk_and_the_types_agree_on_kiln_yaml(
        edits in prop::collection::vec((any::<prop::sample::Index>(), edits()), 1..3),
    ) {
        let text = edits.iter().fold(FRAMEWORK.to_owned(), |text, (node, edit)| mutated(&text, *node, edit));
        check::<Document>(&text, schema::kiln_yaml())?;
    }

    #[test]
    fn the_walk_and_the_types_agree_on_recipes(
        edits in prop::collection::vec((any::<prop::sample::Index>(), edits()), 1..3),
    ) {
        let text = edits.iter().fold(RECIPES.to_owned(), |text, (node, edit)| mutated(&text, *node, edit));
        check::<Recipe>(&text, schema::recipe())?;
    }

    #[test]
    fn the_walk_and_the_types_agree_on_settings(
        edits in prop::collection::vec((any::<prop::sample::Index>(), edits()), 1..3),
    ) {
        let text = edits.iter().fold(SETTINGS.to_owned(), |text, (node, edit)| mutated(&text, *node, edit));
        check::<Settings>(&text, schema::settings())?;
    }
}
