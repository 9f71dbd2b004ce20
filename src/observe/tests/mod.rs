//! Observed runs: the engine runs a sketched plan in virtual time (`story`), and what it records is folded.

mod catalog;
mod documents;
mod events;
mod exposition;
mod figures;
mod forecast;
mod foreign;
mod heard;
pub(crate) mod story;
mod table;
