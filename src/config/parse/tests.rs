//! Pieces, bounds, and texts of every kind.

use std::ops::Range;

use proptest::prelude::*;

use super::super::document::Document;
use super::super::recipe::Recipe;
use super::super::schema;
use super::*;

/// Reads a text as recipes; every diagnostic as `LINE:COLUMN CODE MESSAGE`.
fn read(text: &str) -> (Vec<Located<Recipe>>, Vec<String>) {
    let mut files = Files::default();
    let id = files.add("f", text);
    let mut diagnostics = Vec::new();
    let parsed = pieces(&files.get(id).text).into_iter().map(documents::<Recipe>).collect();
    let check = |_: &Recipe, _: &Place| Vec::new();
    let values = collect(&files, id, parsed, schema::recipe(), check, &mut diagnostics);
    let shown = files.render_all(&diagnostics).into_iter().map(|rendered| {
        let at = rendered.position.map_or((0, 0), |at| (at.line, at.column));
        format!("{}:{} {} {}", at.0, at.1, rendered.code, rendered.message)
    });
    (values, shown.collect())
}

#[test]
fn plain_scalars_are_taken_as_written_where_text_is_wanted() {
    let text = "package: 9base\nversion: 1.10\nenv: {A: 1, B: true, C: 1.50, D: 0x10, E: no, F: }\n";
    let (recipes, problems) = read(text);
    assert_eq!(problems, [""; 0]);
    assert_eq!(recipes[0].value.version.as_ref().unwrap().as_str(), "1.10");
    let env: Vec<_> = recipes[0].value.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(env, ["A=1", "B=true", "C=1.50", "D=0x10", "E=no", "F="]);
    for text in ["version: null", "version: ~", "version:"] {
        assert_eq!(read(&format!("package: a\n{text}\n")).0[0].value.version, None);
    }
    assert_eq!(read("package: [a]\n").1, ["1:10 wrong-type expected text, found a list"]);
    assert_eq!(read("package: null\nversion: 1\n").0[0].value.package, "null", "the text, as it is written");
}

#[test]
fn a_large_file_is_read_in_pieces_that_keep_their_places() {
    use std::fmt::Write as _;
    let mut text = "# comment\n".to_owned();
    for i in 0..8000 {
        let _ = write!(text, "---\npackage: p{i}\ntasks:\n  build: |\n    echo '\n    --- x'\n");
    }
    let cut = pieces(&text);
    assert!(cut.len() > 3, "{}", cut.len());
    assert_eq!(cut.concat(), text);
    let (recipes, problems) = read(&text);
    assert_eq!(problems, [""; 0]);
    assert_eq!(recipes.len(), 8000);
    for (i, recipe) in recipes.iter().enumerate() {
        assert_eq!(recipe.value.package, *format!("p{i}"));
        assert_eq!(recipe.place.document as usize, i);
    }
    let wrong = text.replace("package: p7000\n", "pakcage: p7000\n");
    assert_eq!(read(&wrong).1, ["42003:1 unknown-key unknown key `pakcage`"]);
}

#[test]
fn nothing_deep_or_swollen_reaches_the_types() {
    use std::fmt::Write as _;
    // Every phase with all steps: right but for its size.
    let mut bomb = "build_phases:\n".to_owned();
    let names = (0..2000).map(|i| format!("p{i}, ")).collect::<Vec<_>>().concat();
    for i in 0..200 {
        let steps = if i == 0 { format!("&all [{names}]") } else { "*all".to_owned() };
        let _ = writeln!(bomb, "  phase{i}: {{order: {i}, steps: {steps}}}");
    }
    let refused = documents::<Document>(&bomb).values.remove(0).unwrap_err();
    assert_eq!(refused.to_string(), "too much nesting");
    let few = bomb.replace(&names, "a, b, ");
    assert!(documents::<Document>(&few).values[0].is_ok());
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000)] {
        let (_, problems) = read(&text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("too-deep"), "{problems:?}");
    }
}

#[test]
fn a_key_that_occurs_twice_is_refused_even_when_all_else_is_right() {
    for (text, problem) in [
        (
            "package: a\nversion: 1\npackage: a\n",
            "3:1 duplicate-key key `package` occurs twice: first in line 1",
        ),
        ("package: a\nenv: {A: 1, B: 2, A: 1}\n", "2:19 duplicate-key key `A` occurs twice: first in line 2"),
        (
            "package: a\nowners:\n  x: a:b\n  x: a:b\n",
            "4:3 duplicate-key key `x` occurs twice: first in line 3",
        ),
        (
            "package: a\ntasks: {check: {run: x, run: y}}\n",
            "2:25 duplicate-key key `run` occurs twice: first in line 2",
        ),
    ] {
        assert_eq!(read(text).1, [problem]);
    }
}

#[test]
fn empty_texts_are_said_to_be_empty() {
    for text in ["", "\n", "# only a comment\n", "---\n", "---\n---\n", "null\n", "~"] {
        assert_eq!(read(text).1, ["1:1 empty-file there is nothing in this file"], "{text:?}");
    }
    let (recipes, problems) = read("---\npackage: a\n---\n---\n# c\n---\npackage: b\n---\n");
    assert_eq!(problems, [""; 0]);
    assert_eq!(recipes.iter().map(|recipe| recipe.place.document).collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn syntax_errors_are_one_diagnostic_with_a_position() {
    for (text, problem) in [
        (
            "package: a\n\tversion: 1\n",
            "2:1 syntax found a tab character that violates indentation, while scanning a plain scalar from line 1",
        ),
        (
            "package: a\nversion: \"1\n",
            "2:10 syntax found unexpected end of stream, while scanning a quoted scalar",
        ),
        ("package: a: b\n", "1:11 syntax mapping values are not allowed in this context"),
        ("package: *x\n", "1:10 alias alias `*x` has no anchor before it"),
        (
            "build_deps: [a\nversion: 1\n",
            "2:8 syntax did not find expected ',' or ']', while parsing a flow sequence from line 1",
        ),
        (
            "package: @x\n",
            "1:10 syntax found character that cannot start any token, while scanning for the next token",
        ),
    ] {
        assert_eq!(read(text).1, [problem], "{text:?}");
    }
    // What was read before it is still checked.
    let (_, problems) = read("pakcage: a\n---\npackage: @\n");
    assert_eq!(problems.len(), 2, "{problems:?}");
}

/// Whether every position is in the file, and the underlined text in its line.
fn inside(text: &str, schema: &Schema, kiln_yaml: bool) -> Result<(), TestCaseError> {
    let mut files = Files::default();
    let id = files.add("f", text);
    let mut found = Vec::new();
    let file = files.get(id);
    if kiln_yaml {
        let check =
            |document: &Document, place: &Place| super::super::check::document(document, place, &files);
        collect(&files, id, vec![documents::<Document>(&file.text)], schema, check, &mut found);
    } else {
        let check = |recipe: &Recipe, place: &Place| {
            super::super::check::recipe(recipe, place, super::super::document::CircularHandling::Error)
        };
        collect(&files, id, vec![documents::<Recipe>(&file.text)], schema, check, &mut found);
    }
    for rendered in files.render_all(&found) {
        let at = rendered.position.unwrap();
        let line = rendered.source_line.unwrap();
        prop_assert!(at.line >= 1 && at.line <= text.chars().filter(|c| "\n\r".contains(*c)).count() + 1);
        prop_assert!(at.column >= 1 && at.column <= line.chars().count() + 1);
        let Range { start, end } = rendered.underline;
        prop_assert!(start < end && end <= line.chars().count().max(start + 1));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_positions_in_it(text in "\\PC{0,60}|[a: \\n\\-\\[\\]{}\"'|>&*#!%@,?\t\r日]{0,60}") {
        inside(&text, schema::recipe(), false)?;
        inside(&text, schema::kiln_yaml(), true)?;
    }

    #[test]
    fn a_cut_text_is_read_or_refused_with_positions_in_it(at in any::<prop::sample::Index>(), more in "\\PC{0,5}") {
        let recipes = include_str!("../../../tests/data/recipes/full.yaml");
        let framework = include_str!("../../../config/framework/kiln.yaml");
        let cut = |text: &str| {
            let end = text.floor_char_boundary(at.index(text.len()));
            format!("{}{more}", &text[..end])
        };
        inside(&cut(recipes), schema::recipe(), false)?;
        inside(&cut(framework), schema::kiln_yaml(), true)?;
    }

    #[test]
    fn pieces_are_the_whole(text in "(a: 1\n|---\n|--- b\n|# c\n|\\.\\.\\.\n|\n){0,40}") {
        let cut = cut(&text, 8);
        prop_assert_eq!(cut.concat(), text.clone());
        let whole = Tree::parse(&text);
        let parts: Vec<_> = cut.iter().map(|piece| Tree::parse(piece)).collect();
        if whole.error.is_none() {
            prop_assert_eq!(whole.roots.len(), parts.iter().map(|part| part.roots.len()).sum::<usize>());
        }
        prop_assert_eq!(whole.error.is_some(), parts.iter().any(|part| part.error.is_some()));
    }
}
