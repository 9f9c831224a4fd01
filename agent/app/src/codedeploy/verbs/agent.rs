//! `codedeploy-agent start|stop|restart|status`: hostler's service under the CodeDeploy agent's name, so that scripts
//! and image recipes keep working.

use std::process::{Command, Output};

use hostler_core::codes::ExitCode;

use crate::cli::{AgentVerb, CodeDeployAgent};
use crate::failure::{Failure, Outcome};
use crate::output;

const SERVICE: &str = "hostler.service";

/// Runs the command.
///
/// # Errors
/// Without systemd, when the service cannot be started or stopped, and for `status` when it does not run.
pub fn run(arguments: &CodeDeployAgent) -> Outcome {
    match arguments.verb {
        AgentVerb::Start => systemctl(&["start", SERVICE]).map(|_| ExitCode::Ok),
        AgentVerb::Stop => systemctl(&["stop", SERVICE]).map(|_| ExitCode::Ok),
        AgentVerb::Restart => systemctl(&["restart", SERVICE]).map(|_| ExitCode::Ok),
        AgentVerb::Status => {
            let pid = systemctl(&["show", "--property=MainPID", "--value", SERVICE])?;
            match pid.trim() {
                "" | "0" => Err(Failure::say(ExitCode::Refused, "No AWS CodeDeploy agent running")
                    .hint("hostler is in its place on this host: systemctl status hostler")),
                pid => {
                    output::text(&format!("The AWS CodeDeploy agent is running as PID {pid}\n"))?;
                    Ok(ExitCode::Ok)
                }
            }
        }
    }
}

/// Runs systemctl, and returns its output.
///
/// # Errors
/// When systemctl cannot be run, or fails.
pub fn systemctl(arguments: &[&str]) -> Result<String, Failure> {
    let made = ask(arguments)?;
    if made.status.success() {
        return Ok(String::from_utf8_lossy(&made.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&made.stderr);
    Err(Failure::say(ExitCode::Failed, format!("systemctl {}: {}", arguments.join(" "), said.trim())))
}

/// Asks systemd for a unit's state. systemctl prints it, and repeats it in its exit code, which is ignored.
///
/// # Errors
/// When systemctl cannot be run.
pub fn systemctl_word(arguments: &[&str]) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&ask(arguments)?.stdout).trim().to_owned())
}

fn ask(arguments: &[&str]) -> Result<Output, Failure> {
    Command::new("systemctl").args(arguments).output().map_err(|error| {
        Failure::say(ExitCode::Failed, format!("systemctl cannot be started: {error}"))
            .hint("without systemd, start hostler by hand: hostler run")
    })
}
