//! hostler: deploys revision bundles on this host. See ARCHITECTURE.md for the contents of the rooms.
//!
//! ```text
//! terminal                                   colours, and a line that is rewritten
//! cli failure output progress log_output     the command line, and everything that people see
//! tasks threads                              how work is run, and what a panic does
//!      ^
//! config_files codedeploy/compat             flags and files -> the setup in force
//! stores setup
//! controller                                 how the tasks beside the engine are called
//!      ^
//! transfers                                  the bytes of the transfers that go on
//! ports engine state_store                   the one writer of state, what it needs, where it keeps it
//! state_file access                          the state held or read; who reaches what is on the disk
//! identity interrupted                       which host this is; what a process leaves in the middle
//! signatures signing requests publication    whose signatures are needed; deployments by hand; a release on its way
//! labels past_releases                       what bundles are called; what was released before
//!      ^
//! health work shipping cfn_signals           what effects do, and the tasks beside the engine
//! host_report machine_events backups rollback_retry
//!      ^
//! codedeploy/exposure codedeploy/records     what of an effect is CodeDeploy's own: who else may change what is on the
//! codedeploy/revisions codedeploy/bundle     disk, the files for that agent, which revisions are kept, bundles, what
//! codedeploy/environment codedeploy/place    scripts see; its ports
//! wings                                      which ports a deployment has
//!      ^
//! sources codedeploy/source lifecycle        wishes, from channels to the Auto Scaling group
//! seal control                               a state that came with an image; the local socket
//!      ^
//! session doctor                             an engine in this process; what is wrong with a host
//!      ^
//! daemon verbs codedeploy/verbs              what the program is started for
//! ```
//!
//! The map goes from the lowest floor to the highest. A room imports only from floors below its own, and from its own
//! floor where no circle arises; `tests/architecture` reads this map and the imports. `codedeploy` is a wing: its rooms
//! have their own places, and the plain path does without them.

// The futures of the daemon's tasks are nested deeper than rustc's 128 levels.
#![recursion_limit = "256"]

mod access;
mod backups;
mod cfn_signals;
mod cli;
mod codedeploy;
mod config_files;
mod control;
mod controller;
mod daemon;
mod doctor;
mod engine;
mod failure;
mod health;
mod host_report;
mod identity;
mod interrupted;
mod labels;
mod lifecycle;
mod log_output;
mod machine_events;
mod output;
mod past_releases;
mod ports;
mod progress;
mod publication;
mod requests;
mod rollback_retry;
mod seal;
mod session;
mod setup;
mod shipping;
mod signatures;
mod signing;
mod sources;
mod state_file;
mod state_store;
mod stores;
mod tasks;
mod terminal;
#[cfg(test)]
mod test_support;
mod threads;
mod transfers;
mod verbs;
mod wings;
mod work;

use std::process::ExitCode;

use failure::{Failure, Outcome};

fn main() -> ExitCode {
    hostler_host::memory::keep_little_free();
    // The process that runs the scripts of checks is this same program, and so is a hook's supervisor where it has no program of
    // its own; they must start nothing else.
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(verb), path) = (arguments.next(), arguments.next().unwrap_or_default()) {
        let path = std::path::Path::new(&path);
        if verb == hostler_host::hooks::SUPERVISOR_VERB {
            return hostler_host::hooks::supervise(path, &arguments.next().unwrap_or_default());
        }
        if verb == hostler_host::probe::CHECK_RUNNER_VERB {
            return ended(
                hostler_host::probe::run_checks(path)
                    .map(|()| hostler_core::codes::ExitCode::Ok)
                    .map_err(Failure::from),
            );
        }
    }
    if hostler_host::init::is_init() {
        return match hostler_host::init::run() {
            Ok(status) => ExitCode::from(status),
            Err(error) => {
                Failure::from(anyhow::Error::new(error).context("cannot be process 1")).print();
                ExitCode::FAILURE
            }
        };
    }
    let outcome = match called_as().as_deref() {
        Some("codedeploy-local") => match <cli::CodeDeployLocal as clap::Parser>::try_parse() {
            Ok(arguments) => codedeploy::verbs::local::run(arguments),
            // The CodeDeploy agent's program exits with 1 after every error.
            Err(error) if error.use_stderr() && error.print().is_ok() => Ok(hostler_core::codes::ExitCode::Failed),
            Err(help) => help.exit(),
        },
        Some("codedeploy-agent") => codedeploy::verbs::agent::run(&<cli::CodeDeployAgent as clap::Parser>::parse()),
        _ => verbs::run(cli::parse()),
    };
    ended(outcome)
}

fn ended(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code as u8),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code as u8)
        }
    }
}

/// The name by which it was called: the CodeDeploy agent's programs are links to this one.
fn called_as() -> Option<String> {
    let name = std::env::args_os().next()?;
    Some(std::path::Path::new(&name).file_name()?.to_str()?.to_owned())
}
