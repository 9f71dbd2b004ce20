//! Writes config/schema/*.json anew from the types: `cargo run --example schemas`.

use std::path::Path;
use std::{fs, io};

use kiln::config::schema;

fn main() -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema");
    fs::create_dir_all(&directory)?;
    for (name, text) in schema::shipped() {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}
