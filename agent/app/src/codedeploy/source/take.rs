//! From a new command to a command that is in the ledger and acknowledged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostler_aws::codedeploy::{OpenedEnvelope, is_refused_for_good, open, verify_chain};
use hostler_aws::fault::Fault;
use hostler_core::codedeploy::diagnostics::Report;
use hostler_core::codedeploy::events::event_of;
use hostler_core::codedeploy::specification::{RevisionLocation, Specification};
use hostler_core::codedeploy::wire::{CommandStatus, HostCommand};
use hostler_core::config::settings::ChangedSigner;
use hostler_core::ids::DeploymentId;
use hostler_core::machine::Event;
use hostler_core::machine::command::{CommandStage, Order};
use hostler_core::machine::state::Source;
use hostler_host::{clock, codedeploy_agent, regular};

use super::{BETWEEN_TRIES, Follower, InHand, order};
use crate::controller::Retries;
use crate::failure::chain;

/// Tries of a specification before the agent waits for the command to come again.
const TRIES: u32 = 8;
/// Older tracking files of the CodeDeploy agent are ignored (docs/protocols/codedeploy.md#interrupted-commands).
pub const TRACKING_AGE: Duration = Duration::from_secs(24 * 3600);

/// A specification that was verified, with the execution that it is for. It is the same for each event of a deployment, and the
/// service is asked and its signature checked once.
#[derive(Default)]
pub struct Verified(Mutex<Option<(String, Specification)>>);

impl Verified {
    fn get(&self, execution: &str) -> Option<Specification> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(known, _)| known == execution).map(|(_, specification)| specification.clone())
    }

    /// Keeps the specification, unless it has a token: a token may change from event to event.
    fn keep(&self, execution: &str, specification: &Specification) {
        if specification.github_token.is_none() {
            let kept = (execution.to_owned(), specification.clone());
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
    }
}

/// Takes a command in; a known command is acknowledged or reported again.
pub async fn take(in_hand: InHand, command: HostCommand) {
    take_unless_known(&in_hand.follower, command).await;
}

async fn take_unless_known(follower: &Follower, command: HostCommand) {
    if let Err(problem) = command.check(follower.service.host_identifier()) {
        log::error!(command = command.command_name.as_str(); "the CodeDeploy service's command {} is not carried out: {problem}", command.command_name);
        return;
    }
    let identifier = command.host_command_identifier.as_str();
    let known = follower.handle.state().borrow().service.command(identifier).map(|known| known.stage.clone());
    match known {
        None => {
            log::info!(command = command.command_name.as_str(), execution = command.deployment_execution_id.as_str(); "the CodeDeploy service commands {} of {}", command.command_name, command.deployment_execution_id);
            let Some(order) = order_of(follower, &command).await else { return };
            let noop = order.as_ref().ok().map(|order| order.is_noop());
            commanded(follower, &command, order).await;
            if let Some(noop) = noop {
                acknowledge(follower, identifier, noop).await;
            }
        }
        Some(CommandStage::Received(order)) => acknowledge(follower, identifier, order.is_noop()).await,
        Some(CommandStage::Accepted(_) | CommandStage::CarriedOut(_)) => acknowledge(follower, identifier, false).await,
        // Its report is being sent.
        Some(CommandStage::Ended(_)) => {}
        Some(CommandStage::Reported(report)) => commanded(follower, &command, Err(report)).await,
    }
}

async fn commanded(follower: &Follower, command: &HostCommand, order: Result<Box<Order>, Report>) {
    let identifier = command.host_command_identifier.clone();
    let event = Event::Commanded { identifier, execution: command.deployment_execution_id.clone(), order };
    // Without an engine the agent is stopping, and the command comes again.
    let _ = follower.handle.ask(event).await;
}

/// Acknowledges the command until the service has received it. Only then the command is carried out, unless the service
/// gave it up meanwhile. If the daemon stops, the next start finds the command in the ledger and acknowledges it.
async fn acknowledge(follower: &Follower, identifier: &str, noop: bool) {
    let mut retries = Retries::new(BETWEEN_TRIES);
    let answer = loop {
        if follower.following.is_ending() {
            return;
        }
        match follower.service.acknowledge(identifier, noop).await {
            Ok(answer) => break answer,
            Err(fault) if is_refused_for_good(&fault) => {
                log::warn!(
                    "the CodeDeploy service refuses the acknowledgement of command {identifier}, which is not carried out: {fault}"
                );
                break CommandStatus::Succeeded;
            }
            Err(fault) => {
                log::warn!("the acknowledgement of command {identifier} was not taken and is sent again: {fault}");
                tokio::time::sleep_until(retries.failed()).await;
            }
        }
    };
    let _ = follower.handle.ask(Event::Acknowledged { identifier: identifier.to_owned(), answer }).await;
}

/// The order of a command, or the report why it cannot be carried out; `None` when the service could not be reached,
/// which may succeed when the command comes again.
async fn order_of(follower: &Follower, command: &HostCommand) -> Option<Result<Box<Order>, Report>> {
    let specification = match specification(follower, &command.deployment_execution_id).await {
        Err(problem) => return problem.map(|problem| Err(Report::failed(&problem))),
        Ok(specification) => specification,
    };
    if let Some(token) = &specification.github_token {
        follower.compat.tokens.put(specification.deployment.clone(), token.clone());
    }
    let (setup, compat) = (Arc::clone(&follower.setup), Arc::clone(&follower.compat));
    let (state, name) = (follower.handle.state().borrow().clone(), command.command_name.clone());
    let made = tokio::task::spawn_blocking(move || {
        order::order(&setup, &compat, &state, &name, event_of(&name), specification)
    })
    .await;
    let made = made.unwrap_or_else(|error| Err(format!("a fault in hostler: {error}")));
    Some(made.map(Box::new).map_err(|problem| Report::failed(&problem)))
}

/// The specification of a deployment: requested until there is an answer, opened, and its signer compared with the
/// earlier one. The error is `None` when there was no answer.
async fn specification(follower: &Follower, execution: &str) -> Result<Specification, Option<String>> {
    if let Some(verified) = follower.verified.get(execution) {
        return Ok(verified);
    }
    let mut retries = Retries::new(BETWEEN_TRIES);
    let mut tries = 0;
    let answer = loop {
        match follower.service.specification(execution).await {
            Ok(answer) => break answer,
            Err(fault) if is_refused_for_good(&fault) => return Err(Some(no_specification(&fault))),
            Err(fault) => {
                tries += 1;
                if tries >= TRIES {
                    log::warn!("a command is left to come again: {}", no_specification(&fault));
                    return Err(None);
                }
                tokio::time::sleep_until(retries.failed()).await;
            }
        }
    };
    let envelope = answer.envelope().map_err(|e| Some(e.to_string()))?;
    let opened = open(&envelope).map_err(|e| Some(e.to_string()))?;
    check_signer(follower, &opened).await.map_err(Some)?;
    let specification = Specification::parse(&opened.content).map_err(|e| Some(e.to_string()))?;
    specification.check_execution(execution).map_err(|e| Some(e.to_string()))?;
    follower.verified.keep(execution, &specification);
    Ok(specification)
}

fn no_specification(fault: &Fault) -> String {
    format!("the service does not give the deployment's specification: {fault}")
}

/// Checks the chain to the configured authorities, and the signer against the first one seen on this host.
async fn check_signer(follower: &Follower, opened: &OpenedEnvelope) -> Result<(), String> {
    let settings = &follower.setup.settings.codedeploy;
    if let Some(path) = &settings.signer_authorities {
        let path = follower.setup.layout.beneath_root(path);
        let authorities = regular::read(&path, regular::MOST_PEM_BYTES)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        verify_chain(opened, &authorities, Duration::from_millis(clock::now_ms())).map_err(|e| chain(&e))?;
    }
    let state = follower.handle.state();
    let (pinned, left_sha1) = (state.borrow().service.signer, state.borrow().service.signer_left_sha1);
    match pinned {
        Some(pinned) if pinned == opened.signer && left_sha1 && opened.uses_sha1 => {
            return Err(format!(
                "the specification is signed over a SHA-1 digest, and the same key ({pinned}) has signed over stronger ones \
                 before on this host: the content may be another one than was signed"
            ));
        }
        Some(pinned) if pinned == opened.signer && (left_sha1 || opened.uses_sha1) => return Ok(()),
        // The signer stays from now on.
        Some(pinned) if pinned == opened.signer => {}
        Some(pinned) if settings.changed_signer == ChangedSigner::Refuse => {
            return Err(format!(
                "the specification is signed with the certificate {} and not with {pinned}, as before on this host; if \
                 that is right, set `codedeploy: {{changed_signer: report}}` for one deployment",
                opened.signer
            ));
        }
        Some(pinned) => {
            log::warn!("specifications are now signed with the certificate {}, no longer with {pinned}", opened.signer);
        }
        None => log::info!("specifications are signed with the certificate {}", opened.signer),
    }
    let _ = follower.handle.ask(Event::TrustSigner { certificate: opened.signer, left_sha1: !opened.uses_sha1 }).await;
    Ok(())
}

/// Reports as failed the commands that a CodeDeploy agent was carrying out when it went down, as that agent would have
/// done. This agent's own unfinished commands are in the ledger and go on.
pub async fn report_commands_of_the_agent(follower: &Follower) {
    let directory = follower.setup.layout.codedeploy(&follower.compat.agent.ongoing_deployment_tracking);
    let commands = codedeploy_agent::interrupted_commands(&directory, TRACKING_AGE).unwrap_or_else(|error| {
        log::warn!("cannot read {}: {error}", directory.display());
        Vec::new()
    });
    let known = follower.handle.state().borrow().clone();
    for identifier in commands.into_iter().filter(|command| known.service.command(command).is_none()) {
        log::warn!(command = identifier.as_str(); "command {identifier}, which the CodeDeploy agent left unfinished, is reported as failed");
        let order = Err(Report::failed_after_restart());
        let _ = follower.handle.ask(Event::Commanded { identifier, execution: String::new(), order }).await;
    }
    let ours: Vec<DeploymentId> = known.service.going_on().into_keys().collect();
    if let Err(error) = codedeploy_agent::forget_interrupted_commands(&directory, &ours) {
        log::warn!("cannot delete what is in {}: {error}", directory.display());
    }
}

/// After a start: acknowledges commands that may not have been acknowledged, and requests the tokens that are needed.
pub fn go_on(follower: &Arc<Follower>) {
    let state = follower.handle.state().borrow().clone();
    for command in &state.service.commands {
        if let CommandStage::Received(order) = &command.stage
            && let Some(in_hand) = follower.take_in_hand(&command.identifier)
        {
            let noop = order.is_noop();
            tokio::spawn(async move { acknowledge(&in_hand.follower, &in_hand.what, noop).await });
        }
        let source = match &command.stage {
            CommandStage::Received(order) | CommandStage::Accepted(order) => Some(&order.request.source),
            CommandStage::CarriedOut(id) => state.active(id).map(|(_, deployment)| &deployment.request.source),
            CommandStage::Ended(_) | CommandStage::Reported(_) => None,
        };
        if let Some(Source::CodeDeploy { location: RevisionLocation::GitHub { private: true, .. }, .. }) = source {
            let (follower, execution) = (Arc::clone(follower), command.execution.clone());
            tokio::spawn(async move {
                if let Ok(Specification { github_token: Some(token), deployment, .. }) =
                    specification(&follower, &execution).await
                {
                    follower.compat.tokens.put(deployment, token);
                }
            });
        }
    }
}
