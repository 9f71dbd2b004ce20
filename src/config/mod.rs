//! Definitions and settings: from files to types, with every problem at its line and column.
//!
//! Owns: design section 3. Reading order: [`document`] and [`recipe`] (what may be written), [`load`] (the
//! files), [`check`] (what types cannot say), then, only for what is wrong, [`tree`] (positions), `walk`
//! (a tree against the schema of the types), [`render`] (what is shown), and [`layers`] (host settings).
//! Does not know: the graph; whether a step or a dependency exists is asked there.

mod bounds;
pub mod check;
pub mod diagnostic;
pub mod document;
pub mod files;
pub mod layers;
pub mod load;
pub mod map;
pub mod name;
mod parse;
pub mod permission;
pub mod place;
mod read;
pub mod recipe;
pub mod render;
mod repair;
pub mod scalar;
pub mod schema;
pub mod settings;
pub mod suggest;
mod text;
pub mod tree;
pub mod version;
mod walk;
mod yaml;
