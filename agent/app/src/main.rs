//! hostler: deploys revision bundles on this host. See ARCHITECTURE.md for the rooms.

mod cli;
mod config_files;
mod daemon;
mod door;
mod drop_in;
mod engine;
mod failure;
mod log_output;
mod output;
mod ports;
mod progress;
mod session;
mod setup;
mod sources;
mod verbs;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    // A hook's supervisor is this same program; it must start nothing else.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|a| a == "hook-supervisor") {
        let directory = arguments.next().unwrap_or_default();
        return hostler_host::hooks::supervise(std::path::Path::new(&directory));
    }
    match verbs::run(<cli::Cli as clap::Parser>::parse()) {
        Ok(code) => ExitCode::from(code as u8),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code as u8)
        }
    }
}
