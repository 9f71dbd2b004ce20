//! Parse, run, map to an exit code.

use std::process::ExitCode;

use kiln::driver::spawn;

fn main() -> ExitCode {
    // The same binary serves as process 1 of the tasks' pid namespace, and tries whether there can be one.
    match std::env::args_os().nth(1) {
        Some(argument) if argument == spawn::INIT_ARGUMENT => spawn::init_main(),
        Some(argument) if argument == spawn::PROBE_ARGUMENT => spawn::probe_main(),
        Some(_) | None => {}
    }
    if let Err(error) = spawn::prepare_process() {
        // Nothing is set up that could say it better.
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "kiln: cannot prepare the process: {error}");
        return ExitCode::FAILURE;
    }
    kiln::cli::main().into()
}
