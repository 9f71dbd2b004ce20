//! Parse, run, map to an exit code.

use std::process::ExitCode;

use kiln::driver::spawn;

fn main() -> ExitCode {
    // The same binary serves as process 1 of the tasks' pid namespace.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == spawn::INIT_ARGUMENT) {
        spawn::init_main();
    }
    kiln::cli::main().into()
}
