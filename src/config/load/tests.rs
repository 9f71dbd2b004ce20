//! Which files are read, under which names.

use std::fs;
use std::os::unix::fs::symlink;

use super::super::render;
use super::*;

const KILN: &str = "build_phases: {all: {order: 1, steps: [a]}}\n";

fn definition(path: &Path) -> Definition {
    load(Root::Directory(path.to_owned())).map_err(|problems| problems.diagnostics).unwrap().0
}

/// What is said, line by line without the sources.
fn said(path: &Path) -> Vec<String> {
    let problems = load(Root::Directory(path.to_owned())).map(|_| ()).unwrap_err();
    let text = render::text(&problems.files.render_all(&problems.diagnostics), false);
    text.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()).map(str::to_owned).collect()
}

fn recipe(name: &str) -> String {
    format!("package: {name}\nversion: 1\ntasks: {{build: make}}\n")
}

#[test]
fn recipes_come_by_file_name_then_in_their_order() {
    let space = tempfile::tempdir().unwrap();
    let packages = space.path().join("packages");
    fs::create_dir(&packages).unwrap();
    fs::write(space.path().join("kiln.yaml"), KILN).unwrap();
    fs::write(packages.join("b.yaml"), format!("{}---\n{}", recipe("b2"), recipe("b1"))).unwrap();
    fs::write(packages.join("a.yaml"), recipe("z")).unwrap();
    fs::write(packages.join(".a.yaml"), "hidden").unwrap();
    fs::write(packages.join("notes.txt"), "notes").unwrap();
    symlink(packages.join("a.yaml"), packages.join("c.yaml.link")).unwrap();
    let definition = definition(space.path());
    let names: Vec<_> = definition.recipes.iter().map(|recipe| recipe.value.package.to_string()).collect();
    assert_eq!(names, ["z", "b2", "b1"]);
    let second = definition.recipes[2].place.clone().key("version");
    let shown = definition.files.locate(&Spot::Node(second));
    assert_eq!(shown, format!("{}/packages/b.yaml:6:10", space.path().display()));
}

#[test]
fn a_definition_is_named_after_its_directory() {
    let space = tempfile::tempdir().unwrap();
    for (directory, text, name) in [
        ("my system", KILN.to_owned(), "my-system"),
        ("plain", KILN.to_owned(), "plain"),
        ("other", format!("name: given\n{KILN}"), "given"),
    ] {
        let path = space.path().join(directory);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("kiln.yaml"), text).unwrap();
        assert_eq!(definition(&path).name, name);
        assert_eq!(definition(&path.join(".").join("..").join(directory)).name, name);
    }
}

#[test]
fn files_are_named_as_the_user_named_the_directory() {
    let shown = |directory: &str| Root::Directory(directory.into()).display("kiln.yaml");
    assert_eq!(shown("."), "kiln.yaml");
    assert_eq!(shown("lfs"), "lfs/kiln.yaml");
    assert_eq!(shown("../lfs/"), "../lfs/kiln.yaml");
    assert_eq!(shown("/srv/lfs"), "/srv/lfs/kiln.yaml");
}

#[test]
fn what_cannot_be_read_is_said_and_never_waited_for() {
    let space = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("{}/{name}", space.path().display());
    assert_eq!(
        said(space.path()),
        [format!("{}: error[missing-file]: there is no such file", at("kiln.yaml"))]
    );
    fs::write(space.path().join("kiln.yaml"), KILN).unwrap();
    let packages = space.path().join("packages");
    fs::create_dir_all(packages.join("directory.yaml")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        packages.join("pipe.yaml"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    symlink("nowhere", packages.join("broken.yaml")).unwrap();
    assert_eq!(
        said(space.path()),
        [
            format!("{}: error[missing-file]: there is no such file", at("packages/broken.yaml")),
            format!("{}: error[unreadable]: this is not a regular file", at("packages/directory.yaml")),
            format!("{}: error[unreadable]: this is not a regular file", at("packages/pipe.yaml")),
        ]
    );
    fs::remove_dir_all(&packages).unwrap();
    fs::write(&packages, "").unwrap();
    let said = said(space.path());
    assert!(
        said[0].starts_with(&format!("{}: error[unreadable]: cannot be read", at("packages"))),
        "{said:?}"
    );
}

#[test]
fn shipped_definitions_are_read_from_the_binary() {
    static DIR: Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/tests/data/embedded");
    let (definition, warnings) =
        load(Root::Embedded { name: "small", dir: &DIR }).map_err(|p| p.diagnostics).unwrap();
    assert_eq!((definition.name.as_str(), warnings.len(), definition.recipes.len()), ("small", 0, 1));
    assert_eq!(
        definition.files.locate(&Spot::Node(definition.recipes[0].place.clone())),
        "small/packages/a.yaml:1:1"
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    let space = tempfile::tempdir().unwrap();
    fs::write(space.path().join("kiln.yaml"), format!("\u{feff}{KILN}")).unwrap();
    assert_eq!(definition(space.path()).files.get(FileId(0)).text, KILN);
}
