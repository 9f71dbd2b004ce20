//! The engine's tests: stories (`building`, `failing`, `recovering`, `asking`, `going_on`, `verifying`, `checkpointing`, `admitting`) told as
//! scripts (`script`), and thousands of random ones (`simulation`). All make their plans from a `sketch`.

mod admitting;
mod asking;
mod building;
mod checkpointing;
mod failing;
mod going_on;
mod pausing;
mod random;
mod reckoning;
mod recovering;
mod script;
mod simulation;
pub(crate) mod sketch;
mod verifying;
