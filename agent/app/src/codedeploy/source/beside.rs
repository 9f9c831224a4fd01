//! The CodeDeploy agent beside hostler: only one of the two serves a host, whichever started first.

use std::path::Path;
use std::time::Duration;

use hostler_core::codes::ExitCode;
use hostler_core::config::settings::RunningAgent;
use hostler_host::codedeploy_agent::{self, running};
use hostler_host::users;

use super::Following;
use crate::codedeploy::compat::CodeDeployCompat;
use crate::failure::Failure;
use crate::setup::Setup;

/// Time between two checks whether the CodeDeploy agent has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Refuses to serve this host now if the configuration does not allow it.
///
/// # Errors
/// Refused when the CodeDeploy agent runs and the configuration says not to wait for it.
pub fn refuse_beside_the_agent(setup: &Setup, compat: &CodeDeployCompat) -> Result<(), Failure> {
    match other_agent(setup, compat) {
        Some(agent) if setup.settings.codedeploy.running_agent == RunningAgent::Refuse => {
            let message = format!("the CodeDeploy agent runs on this host (process {})", agent.pid);
            Err(Failure::say(ExitCode::Refused, message)
                .hint("systemctl disable --now codedeploy-agent, or `codedeploy: {running_agent: wait}`"))
        }
        _ => Ok(()),
    }
}

/// The CodeDeploy agent that runs on this host.
pub fn other_agent(setup: &Setup, compat: &CodeDeployCompat) -> Option<codedeploy_agent::RunningAgent> {
    // Under another root only its own pid file counts: the process list is the machine's.
    let users = if setup.layout.root() == Path::new("/") { users_of_the_agent(compat) } else { Vec::new() };
    running(&compat.pid_file(&setup.layout), &users)
}

/// The users whose processes can be the CodeDeploy agent: root, and the user in its configuration.
fn users_of_the_agent(compat: &CodeDeployCompat) -> Vec<u32> {
    let named = compat.agent.user.as_ref().and_then(|name| users::lookup(name).ok());
    [0, users::own_uid()].into_iter().chain(named.map(|user| user.uid)).collect()
}

/// The CodeDeploy agent, if it keeps running: a verb of its program (`codedeploy-agent status`) has the same name for a
/// moment.
pub async fn agent_that_stays(setup: &Setup, compat: &CodeDeployCompat) -> Option<codedeploy_agent::RunningAgent> {
    other_agent(setup, compat)?;
    tokio::time::sleep(LOOK_AGAIN).await;
    other_agent(setup, compat)
}

/// Waits until no CodeDeploy agent runs, and reports the wait; returns whether one ran.
pub async fn wait_for_the_agents_end(setup: &Setup, compat: &CodeDeployCompat, following: &Following) -> bool {
    let Some(agent) = agent_that_stays(setup, compat).await else { return false };
    log::warn!(
        pid = agent.pid;
        "the CodeDeploy agent runs on this host; its service is followed when that has ended (process {}; systemctl \
         disable --now codedeploy-agent)",
        agent.pid
    );
    following.say_why_not(Some(format!(
        "the CodeDeploy service is not followed while the CodeDeploy agent runs on this host (process {}): systemctl \
         disable --now codedeploy-agent",
        agent.pid
    )));
    while other_agent(setup, compat).is_some() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    log::info!("the CodeDeploy agent has ended");
    following.say_why_not(None);
    true
}
