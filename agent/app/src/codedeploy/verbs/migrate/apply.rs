//! `hostler migrate --apply`: step by step, with the result of each.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hostler_core::codedeploy::exposure::{Exposed, Rule};
use hostler_core::codes::ExitCode;
use hostler_host::{atomic, users};

use super::Findings;
use crate::codedeploy::compat::CodeDeployCompat;
use crate::codedeploy::exposure;
use crate::codedeploy::source::other_agent;
use crate::codedeploy::verbs::agent::{systemctl, systemctl_word};
use crate::failure::Failure;
use crate::failure::chain;
use crate::setup::Setup;

/// The configuration that a migration writes.
const CONFIGURATION: &str = "# Written by `hostler migrate`: hostler is in the CodeDeploy agent's place.\n\
                             codedeploy:\n  enabled: true\n  running_agent: wait\n";

/// Its second part, where deployments use ways that are otherwise refused.
const UNSAFE_PATHS: &str = "# Deployments here go by ways that a user could lead elsewhere (hostler migrate names them). The next\n\
                            # deployment of each group notes its places; take this out once deployments warn of none any more.\n\
                            unsafe_paths: warn\n";

const HOSTLER: &str = "hostler.service";
const AGENT: &str = "codedeploy-agent.service";

/// The units and scripts that start the CodeDeploy agent at boot: its packages' unit, or the script that systemd turns
/// into a unit.
const STARTS_IT: [&str; 4] = [
    "etc/systemd/system/codedeploy-agent.service",
    "usr/lib/systemd/system/codedeploy-agent.service",
    "lib/systemd/system/codedeploy-agent.service",
    "etc/init.d/codedeploy-agent",
];

/// The answers of `systemctl is-enabled` for a unit that the next boot starts (systemctl(1)); `generated` is a script
/// that only its links in /etc/rc*.d start.
const STARTED_AT_BOOT: [&str; 4] = ["enabled", "enabled-runtime", "alias", "generated"];

/// How long a stopped process may take to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// The unit or script that starts the CodeDeploy agent on this host, if its package is installed.
pub fn starts_the_agent(setup: &Setup) -> Option<PathBuf> {
    STARTS_IT.iter().map(|path| setup.layout.root().join(path)).find(|path| path.exists())
}

/// Applies the migration. The findings record the steps taken, also when a later step fails.
///
/// # Errors
/// The first step that fails; or, after all steps, that the CodeDeploy agent still runs or starts at the next boot.
pub fn apply(setup: &Setup, compat: &CodeDeployCompat, findings: &mut Findings) -> Result<(), Failure> {
    mend(setup, compat, findings)?;
    write(findings)?;
    systemctl(&["enable", HOSTLER])?;
    findings.done.push("hostler is enabled".to_owned());
    // It may already run, for channels.
    systemctl(&["restart", HOSTLER])?;
    findings.done.push("hostler runs".to_owned());
    end_the_agent(setup, compat, findings)?;
    findings.applied = true;
    Ok(())
}

/// Gives the agent's directories to root. First stops the CodeDeploy agent, which could not continue there as another
/// user. The service keeps commands from that time.
fn mend(setup: &Setup, compat: &CodeDeployCompat, findings: &mut Findings) -> Result<(), Failure> {
    let exposed = exposure::exposed(setup, compat)?;
    let foreign: Vec<Exposed> = exposed.iter().filter(|found| found.rule != Rule::Own).cloned().collect();
    if !foreign.is_empty() {
        let message = format!("nothing was changed: {}", exposure::texts(&foreign).join("; "));
        return Err(Failure::say(ExitCode::Refused, message).hint(exposure::remedy(&foreign)));
    }
    if !exposed.is_empty() && findings.running.is_some() {
        systemctl(&["stop", AGENT])?;
        findings.done.push("the CodeDeploy agent was told to stop".to_owned());
    }
    findings.mended = exposure::mend(setup, compat, &exposed)?;
    exposure::refuse_exposed(setup, compat)
}

fn write(findings: &mut Findings) -> Result<(), Failure> {
    let path = findings.writes.clone();
    if let Some(directory) = path.parent() {
        atomic::create_directories(directory, 0o755)?;
    }
    let cannot = |why: String| Failure::say(ExitCode::Failed, format!("cannot write {}: {why}", path.display()));
    let unsafe_paths = if findings.needs_unsafe_paths() { UNSAFE_PATHS } else { "" };
    let configuration = format!("{CONFIGURATION}{unsafe_paths}");
    atomic::replace(&path, configuration.as_bytes(), 0o640).map_err(|e| cannot(chain(&e)))?;
    if let (Some(group), 0) = (users::service_group(), users::own_uid()) {
        std::os::unix::fs::chown(&path, None, Some(group)).map_err(|e| cannot(e.to_string()))?;
    }
    findings.done.push(format!("{} is written", path.display()));
    Ok(())
}

/// Stops the CodeDeploy agent, keeps the next boot from starting it, and checks both. Does so even if it does not run
/// now: the next boot would start it beside hostler.
fn end_the_agent(setup: &Setup, compat: &CodeDeployCompat, findings: &mut Findings) -> Result<(), Failure> {
    if findings.running.is_none() && starts_the_agent(setup).is_none() {
        findings.done.push("no CodeDeploy agent is installed".to_owned());
        return Ok(());
    }
    // Two commands: for a script in /etc/init.d, `disable --now` only disables.
    let disabled = systemctl(&["disable", AGENT]).err();
    let stopped = systemctl(&["stop", AGENT]).err();
    let mut problems = Vec::new();
    match runs_on(setup, compat) {
        None => findings.done.push("the CodeDeploy agent is stopped".to_owned()),
        Some(pid) => problems.push(format!(
            "the CodeDeploy agent still runs (process {pid}){}; end it (/opt/codedeploy-agent/bin/codedeploy-agent stop), \
             hostler waits for that",
            because(stopped)
        )),
    }
    let word = systemctl_word(&["is-enabled", AGENT])?;
    if STARTED_AT_BOOT.contains(&word.as_str()) {
        problems.push(format!(
            "the next boot still starts the CodeDeploy agent (systemctl is-enabled says {word}){}; remove its package, or \
             its links in /etc/rc*.d",
            because(disabled)
        ));
    } else {
        findings.done.push("the CodeDeploy agent is disabled".to_owned());
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::say(ExitCode::Failed, problems.join("\n"))) }
}

fn because(failure: Option<Failure>) -> String {
    failure.map_or_else(String::new, |failure| format!(": {}", failure.one_line()))
}

/// The CodeDeploy agent, if it has not ended after a moment.
fn runs_on(setup: &Setup, compat: &CodeDeployCompat) -> Option<u32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let agent = other_agent(setup, compat)?;
        if Instant::now() > deadline {
            return Some(agent.pid);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
