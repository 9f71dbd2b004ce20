//! kiln builds Linux systems from source and lets Prometheus watch.
//!
//! ```text
//! kiln.yaml, packages/*.yaml                                   ┌─> /metrics, status, page
//!         │                                                    │
//!       config ──> graph ──> plan ──> engine <══events══> driver ──> processes, files, kernel
//!                                       │ └──effects──────^
//!                                       └─records─> ledger ──> observe (folds records) ─┘
//! ```
//!
//! # Map
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`config`] | definitions and host settings, and what is wrong with them at which line and column |
//! | [`graph`] | who needs whom, cycles, exports |
//! | [`plan`] | the immutable, ordered DAG, and the keys of archives |
//! | [`engine`] | every decision about a run; pure |
//! | [`failure`] | what went wrong, in the framework's words |
//! | [`driver`] | the loop around the engine; processes, files, sources, the sysroot |
//! | [`doctor`] | which permissions kiln has here, how it is granted what it lacks, what phases require |
//! | [`ledger`] | records on disk: their chain, when they are there for good, what is saved of damaged ones; the runner's lock, where everything of a state directory is |
//! | [`observe`] | what records mean to those who watch: progress, metrics, documents, estimates, messages; the ledger of a runner elsewhere, followed |
//! | [`web`] | the server in front of that; the control socket, through which a person or a program says what to do; Alertmanager, both ways |
//! | [`cli`] | the command line |
//! | [`host`] | cores, memory and disk of this machine |
//! | `parallel` | the same work on many items, on all cores |
//! | [`words`] | a noun that goes with its number, sizes |
//!
//! # Flow of a run
//!
//! 1. `cli` loads a definition (`config`), resolves it (`graph`) and orders it (`plan`); `doctor` refuses a run that lacks a
//!    permission which it needs.
//! 2. `driver` takes the state directory's lock and replays the ledger: the engine's `State` and the observers
//!    are folds over the same records, by the same functions as live.
//! 3. A turn of the driver's loop: drain what has happened, `Engine::handle` each event, commit the records that
//!    come out in one transaction, then act on the effects (start, kill, measure).
//! 4. Committed records are brought to the disk beside the loop (`ledger::writer`) and only then go to the observers, which
//!    never talk back.
//! 5. A failed attempt is explained (`failure`), its recovery procedure is gone through (`engine::recovery` decides,
//!    `driver::recover` acts), and what only a person can decide opens a gate (`engine::gate`). An answer comes through
//!    `web::control` to the loop or, where there is no runner, through `driver::answer` into the ledger; so do pause, resume, stop
//!    and the rest of the Command System (`web::command` reads it, `engine::command` does it).
//! 6. Now and then, and at each phase's end, a checkpoint is taken beside the build (`engine::checkpoint` decides,
//!    `driver::checkpoint` writes and reads back); `driver::look` says at the next start what is trusted, and `driver::restore` goes
//!    back to one.
//! 7. Who watches from another process (`cli::serve`, the sidecar; `kiln status`) folds the same records (`observe::follow`) and asks
//!    the runner, through its control socket, for what is in none (`observe::facts`). Messages wait in a queue (`cli::logging`).
//!
//! # Invariants
//!
//! - **Imports run one way**: config → graph → plan → engine → driver. `observe` imports plan, engine state and
//!   ledger, never the driver: what it shows can be shown by another process that reads the same ledger. (The driver names
//!   `MESSAGE_ID`s, which are all in `observe::events`.) `doctor` tries what
//!   `driver` and `web` would do, and stands above both.
//! - **Nothing is done before the record that says so is written**, and nothing is recorded as complete before
//!   its files are on disk.
//! - **Nothing is shown that a power cut could take back**: no record before it is on disk.
//! - **The engine has no clock, no I/O, no randomness and no hash order.** Time is an argument.
//! - **A state changes only through `State::apply`**, with a record; replaying the records gives the same state.
//! - **A task's failure is data**; an `Err` means that kiln itself cannot go on.
//! - **Nothing that kiln started outlives it**, and no task's descendants outlive the task.
//! - Deliberately absent: global state, a daemon, a plug-in interface, a second crate.
//!
//! # Reading order
//!
//! `engine/message.rs` (everything that can be said), a few stories in `engine/tests/building.rs`,
//! `engine/state.rs`, `driver/run.rs`; then whatever you came for.

pub mod cli;
pub mod config;
pub mod doctor;
pub mod driver;
pub mod engine;
pub mod failure;
pub mod graph;
pub mod host;
pub mod ledger;
pub mod observe;
mod parallel;
pub mod plan;
pub mod web;
pub mod words;
