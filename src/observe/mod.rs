//! What can be seen of a run: folded from the plan and the ledger's records, plus live samples of the host.
//!
//! Owns: progress, expected durations, every metric, the framework's documents, events for the log. Does not
//! know: the driver, how a task is run, who asks.
//!
//! **Invariant**: what is counted depends on records alone, not on the plan at hand, so that a replay by
//! another kiln, with another definition, comes to the same counters, and none ever goes back.
//!
//! Reading order: `progress` (the fold), `snapshot` (what everybody looks at), then what is made of it:
//! `metrics`, `status`, `updates`; `events` is beside them.

pub mod counters;
pub mod durations;
pub mod events;
pub mod facts;
pub mod failures;
pub mod families;
pub mod follow;
pub mod forecast;
pub mod histogram;
pub mod human;
pub mod live;
pub mod metrics;
pub mod notices;
pub mod observer;
pub mod progress;
pub mod snapshot;
pub mod status;
pub mod updates;

pub use observer::Observer;
pub use progress::Progress;
pub use snapshot::Snapshot;

#[cfg(test)]
pub(crate) mod tests;
