//! The definitions that kiln ships.

use std::path::Path;

use kiln::config::load::{Root, load};
use kiln::config::render;
use kiln::plan::build::plan;

#[test]
fn every_shipped_definition_is_sound_and_nothing_is_to_be_said_of_it() {
    let mut count = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap() {
        let directory = entry.unwrap().path();
        if !directory.join("kiln.yaml").exists() {
            continue;
        }
        count += 1;
        let (definition, mut warnings) = load(Root::Directory(directory)).unwrap_or_else(|problems| {
            panic!("{}", render::text(&problems.files.render_all(&problems.diagnostics), false))
        });
        match plan(&definition) {
            Ok(planned) => warnings.extend(planned.warnings),
            Err(problems) => warnings.extend(problems),
        }
        let said = definition.files.render_all(&warnings);
        assert!(said.is_empty(), "{}", render::text(&said, false));
    }
    assert!(count >= 3);
}
