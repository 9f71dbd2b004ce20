//! Observed runs: the engine runs a sketched plan in virtual time (`story`), and what it records is folded.

mod documents;
mod events;
mod exposition;
mod figures;
mod forecast;
pub(crate) mod story;
mod table;
