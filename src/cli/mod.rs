//! The command line.
//!
//! Owns: arguments, what is printed where, exit codes. The answer goes to standard output, progress and
//! diagnostics to standard error. Does not know: how anything is done. One file a subcommand.

mod beside;
mod brief;
mod check;
mod checkpoint;
mod classify;
mod clean;
mod display;
mod doctor;
mod exit;
mod fetch;
mod gates;
mod graph;
mod history;
mod log;
mod logging;
mod output;
mod own;
mod pause;
mod plan;
mod resolve;
mod restore;
mod run;
mod serve;
mod signals;
mod speak;
mod status;
mod tame;
mod target;
mod watch;
mod why;

use clap::{Parser, Subcommand};

use crate::web::command::Operation;

pub use exit::Exit;

/// Builds Linux systems from source, and lets Prometheus watch.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look for everything that is wrong with a definition
    Check(check::Check),
    /// Show what would be built, in which order, and why
    Plan(plan::PlanCommand),
    /// Show the dependency graph
    Graph(graph::GraphCommand),
    /// Get all sources ahead of a build
    Fetch(fetch::Fetch),
    /// Build
    Run(run::Run),
    /// Serve /metrics and the API for runners in other processes, and after their end
    ///
    /// The sidecar follows the ledger of the state directory: metrics stay when a runner ends, and say so when it has
    /// died. One a state directory.
    Serve(serve::Serve),
    /// Say how far the run is
    Status(status::StatusCommand),
    /// Show what tasks printed
    ///
    /// On a terminal everything but lines, tabs and colours is shown as text, so that no output acts there; a pipe
    /// or a file gets the bytes as they were printed.
    Log(log::Log),
    /// Say why a package is built or not, and who needs it
    Why(why::Why),
    /// Start nothing more; what runs goes on to its end
    ///
    /// The run stays alive, and paused: until `kiln resume`, or until it is ended.
    Pause(pause::Live),
    /// Let a paused run go on
    Resume(pause::Live),
    /// End the run in good order, as Ctrl-C does; `kiln run` goes on with it
    Stop(pause::Live),
    /// Show what only a person can decide
    #[command(args_conflicts_with_subcommands = true)]
    Gates(gates::Gates),
    /// Answer a gate
    ///
    /// A run that is alive goes on at once; one that is paused goes on with `kiln run`.
    Resolve(resolve::Resolve),
    /// Show what happened: runs, failures, what was done about them, who was asked and answered
    History(history::History),
    /// List, verify and restore checkpoints
    Checkpoint(checkpoint::Checkpoint),
    /// Delete what is not needed any more: without options work directories, and archives that are not in the sysroot
    Clean(clean::Clean),
    /// Say which permissions are missing here, how they are granted, and what kiln does without; and what phases require
    ///
    /// Everything is tried, as a run would do it, and nothing is left of that; it may be done beside a live run. Ask as the
    /// user that builds, in the unit in which kiln runs. Exit status: 0 all that is needed is granted and met, 5 it is not, 3 the
    /// definition is invalid.
    #[command(after_long_help = doctor::SHAPE)]
    Doctor(doctor::Doctor),
    /// Say why a build failed, from any tool's log
    ///
    /// Of what went wrong it shows the line that the rest follows from. Without --exit or --signal it also judges whether
    /// anything failed.
    Classify(classify::Classify),
}

/// Runs the command line.
pub fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, and no failure.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Completed };
        }
    };
    let result = match arguments.command {
        Command::Check(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Graph(command) => command.run(),
        Command::Fetch(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Serve(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Log(command) => command.run(),
        Command::Why(command) => command.run(),
        Command::Pause(command) => command.run(Operation::Pause),
        Command::Resume(command) => command.run(Operation::Resume),
        Command::Stop(command) => command.run(Operation::Stop),
        Command::Gates(command) => command.run(),
        Command::Resolve(command) => command.run(),
        Command::History(command) => command.run(),
        Command::Checkpoint(command) => command.run(),
        Command::Clean(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Classify(command) => command.run(),
    };
    result.unwrap_or_else(|error| output::failed(&error))
}
