//! The CodeDeploy agent's tracking files: scripts read them to see whether a deployment is in progress. A CodeDeploy
//! agent that replaces hostler reports their deployments as failed.

use std::collections::BTreeMap;
use std::path::Path;

use hostler_core::ids::DeploymentId;
use hostler_host::codedeploy_agent::{remove_tracking_file, write_tracking_file};

use super::Follower;

/// Keeps a file for each deployment with a command in progress.
pub async fn track(follower: &Follower) {
    let directory = follower.setup.layout.codedeploy(&follower.compat.agent.ongoing_deployment_tracking);
    let mut state = follower.handle.state();
    let mut written = BTreeMap::new();
    loop {
        let going_on = state.borrow_and_update().service.going_on();
        write_changes(&directory, &written, &going_on);
        written = going_on;
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Writes two or three small files. No decision depends on them, so a failure is only logged.
fn write_changes(directory: &Path, before: &BTreeMap<DeploymentId, String>, now: &BTreeMap<DeploymentId, String>) {
    for deployment in before.keys().filter(|deployment| !now.contains_key(*deployment)) {
        if let Err(error) = remove_tracking_file(directory, deployment.as_str()) {
            log::warn!(deployment = deployment.as_str(); "{deployment}: the CodeDeploy agent's tracking file cannot be deleted: {error}");
        }
    }
    for (deployment, command) in now.iter().filter(|(deployment, command)| before.get(*deployment) != Some(*command)) {
        if let Err(error) = write_tracking_file(directory, deployment.as_str(), command) {
            log::warn!(deployment = deployment.as_str(); "{deployment}: the CodeDeploy agent's tracking file cannot be written: {error}");
        }
    }
}
