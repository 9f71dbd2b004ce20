//! The engine's tests: stories told as scripts (`script`), and thousands of random ones (`simulation`).
//! Both make their plans from a `sketch`.

mod script;
mod simulation;
pub(crate) mod sketch;
