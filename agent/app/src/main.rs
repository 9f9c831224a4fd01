//! hostler: deploys revision bundles on this host.

use std::path::Path;
use std::process::ExitCode;

use hostler_host::hooks;

fn main() -> ExitCode {
    // Before anything else: a supervisor must stay small, so it sees neither the argument parser nor the runtime.
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let [verb, run_directory] = &arguments[..]
        && verb == hooks::SUPERVISOR_VERB
    {
        return hooks::supervise(Path::new(run_directory));
    }
    ExitCode::SUCCESS
}
