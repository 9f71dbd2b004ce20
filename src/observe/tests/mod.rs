//! Observed runs: the engine runs a sketched plan in virtual time (`story`), and what it records is folded.

mod documents;
mod events;
mod exposition;
mod figures;
mod forecast;
#[expect(clippy::duplicate_mod, reason = "the engine's tests keep it to themselves")]
#[path = "../../engine/tests/sketch.rs"]
mod sketch;
pub(crate) mod story;
