//! What a hook sees as the CodeDeploy agent's environment.

use std::path::PathBuf;

use hostler_core::hook::HookRun;

use crate::codedeploy::compat::CodeDeployCompat;
use crate::setup::Setup;

/// The most lines of output in a report to the CodeDeploy service, as far as they fit.
const REPORTED_LINES: usize = 100;

/// Sets the environment and working directory of the CodeDeploy agent's unit for a script.
pub async fn surround(run: &mut HookRun, setup: &Setup, compat: &CodeDeployCompat) {
    let own = compat.environment(&setup.layout).await;
    let facts = std::mem::take(&mut run.environment);
    // The deployment's variables win; the search path is the profile's.
    let is_told = |name: &str| name != "PATH" && facts.iter().any(|(told, _)| told == name);
    let mut environment: Vec<_> = own.iter().filter(|(name, _)| !is_told(name)).cloned().collect();
    let has_path = environment.iter().any(|(name, _)| name == "PATH");
    environment.extend(facts.into_iter().filter(|(name, _)| name != "PATH" || !has_path));
    run.environment = environment;
    if setup.settings.hooks.working_directory.is_none() {
        run.working_directory = PathBuf::from("/");
    }
    if !compat.agent.enable_deployments_log {
        run.deployments_log = None;
    }
    run.tail_lines = REPORTED_LINES;
}
