//! Texts about the work that a process leaves unfinished, and that the next process finds.

use std::sync::Arc;

use hostler_core::codes::ExitCode;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::state::{Deployment, Outcome as DeploymentOutcome};
use hostler_core::machine::{State, Work};
use hostler_host::ignored::is_ignored;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Failure, Outcome};
use crate::output;
use crate::progress::failure_text;

/// The signals that end a command: ^C, `kill`, a closed terminal. A signal that was ignored when the process started
/// stays ignored: with `nohup` the command outlives its terminal.
pub struct Interrupts([Option<Signal>; 3]);

impl Interrupts {
    /// From now on none of these signals ends the process by itself.
    ///
    /// # Errors
    /// When the system does not let the process receive signals.
    pub fn new() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] =
            kinds.map(|kind| (!is_ignored(kind.as_raw_value())).then(|| signal(kind)).transpose());
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Waits for the next signal. Dropping the future loses none.
    pub async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            () = received(interrupt) => {}
            () = received(terminate) => {}
            () = received(hangup) => {}
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    let heard = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

/// The deployments that were in progress when the previous process ended.
#[derive(Debug, Clone)]
pub struct Found(Vec<(GroupKey, DeploymentId)>);

impl Found {
    /// The active deployments of a state that do not wait for another command of the CodeDeploy service.
    pub fn of(state: &State) -> Self {
        let active = state.all_active().filter(|(_, deployment)| !deployment.waits_for_command());
        Self(active.map(|(group, deployment)| (group.key.clone(), deployment.id.clone())).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps those of one group.
    pub fn of_group(mut self, key: &GroupKey) -> Self {
        self.0.retain(|(group, _)| group == key);
        self
    }

    /// Keeps those that are also in `others`.
    pub fn and(mut self, others: &Self) -> Self {
        self.0.retain(|found| others.0.contains(found));
        self
    }

    /// Prints that the command waits for them first.
    pub fn say_first(&self) {
        for (key, id) in &self.0 {
            output::notice(&format!("{id} of {key} was interrupted; it is brought to its end first"));
        }
    }

    /// Prints that they go on, and that the command ends with them.
    pub fn say_waits(&self) {
        for (key, id) in &self.0 {
            output::notice(&format!("{id} of {key} goes on, and this command ends with it"));
        }
    }

    /// Prints how they ended; failed if one of them failed.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn tell(&self, state: &State, json: bool) -> Outcome {
        self.tell_as(" was interrupted; taken up again, it", state, json)
    }

    fn tell_as(&self, how: &str, state: &State, json: bool) -> Outcome {
        let mut code = ExitCode::Ok;
        for (key, id) in &self.0 {
            let finished = state.groups.get(&key.id()).and_then(|g| g.finished.iter().find(|d| &d.id == id));
            if let Some(not_undone) = state.active(id).and_then(|(_, active)| active.waits_to_be_undone()) {
                Failure::say(ExitCode::Failed, format!("{key}: {not_undone}")).hint(not_undone.remedy()).print();
                code = ExitCode::Failed;
            }
            let Some(deployment) = finished else { continue };
            if !json {
                output::text(&end_text(deployment, how))?;
            }
            code = if deployment.outcome == Some(DeploymentOutcome::Failed) { ExitCode::Failed } else { code };
        }
        Ok(code)
    }
}

fn end_text(deployment: &Deployment, how: &str) -> String {
    let word = match deployment.outcome {
        Some(DeploymentOutcome::Succeeded) => "succeeded",
        Some(DeploymentOutcome::Failed) | None => "failed",
    };
    let mut text = format!("{} of {}{how} {word}\n", deployment.id, deployment.request.key);
    if let Some(failure) = &deployment.failure {
        text.push_str(&failure_text(failure));
    }
    text
}

/// Ends a command that was interrupted: prints which deployments have ended since `before`, which are unfinished, and
/// which process continues them.
///
/// # Errors
/// Always failed: the command's own work may not have begun.
pub fn leave_off(before: &State, state: &Arc<State>, json: bool) -> Outcome {
    let left: Vec<String> = state.all_active().map(|(group, deployment)| left_text(&group.key, deployment)).collect();
    if left.is_empty() {
        Found::of(before).tell_as("", state, json)?;
        return Err(Failure::say(ExitCode::Failed, "told to end; no deployment is left in the middle"));
    }
    Err(Failure::say(ExitCode::Failed, left.join("; ")).hint("`hostler run --once` or the daemon goes on with it"))
}

fn left_text(key: &GroupKey, deployment: &Deployment) -> String {
    let place = deployment.current().map_or_else(|| "its end".to_owned(), |step| step.event.to_string());
    let script = match &deployment.in_flight {
        Some(effect) if matches!(effect.work, Work::RunHook { .. }) => ", which goes on meanwhile",
        _ => "",
    };
    format!("{} of {key} is interrupted in {place}{script}", deployment.id)
}
