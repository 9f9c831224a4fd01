//! The commands of the CodeDeploy service: how they arrive, take their turn and end.

use crate::bundle::BundleType;
use crate::codedeploy::diagnostics::{FailedScript, Report};
use crate::codedeploy::events::ends_deployment;
use crate::codedeploy::wire::CommandStatus;
use crate::event_order::LifecycleEvent;
use crate::ids::DeploymentId;
use crate::machine::command::{Command, CommandStage, Commanded, Order, REMEMBERED_COMMANDS};
use crate::machine::event::WorkFailure;
use crate::machine::room;
use crate::machine::sequence::new_deployment;
use crate::machine::state::{Deployment, Request, Source, Step, StepStatus};

use super::Turn;

impl Turn<'_> {
    /// The agent accepts a command once. When a reported command comes again, the agent repeats the report, because the
    /// service did not get it.
    pub(super) fn commanded(&mut self, identifier: String, execution: String, order: Result<Box<Order>, Report>) {
        if let Some(known) = self.command_mut(&identifier) {
            if let CommandStage::Reported(report) = &known.stage {
                known.stage = CommandStage::Ended(report.clone());
            }
            return;
        }
        let stage = match order {
            Ok(order) => CommandStage::Received(order),
            Err(report) => CommandStage::Ended(report),
        };
        self.state.service.commands.push(Command { identifier, execution, stage });
        self.refuse_without_room();
    }

    /// A command that the state has no room for fails with a message. When the message does not fit either, the agent
    /// does not accept the command, and the service sends it again.
    fn refuse_without_room(&mut self) {
        let Some(command) = self.state.service.commands.last() else { return };
        let CommandStage::Received(order) = &command.stage else { return };
        let admitted = room::admit_order(order).map_err(|failure| failure.message);
        let admitted = admitted
            .and_then(|()| room::leaves_room(&self.state, self.context.room).map_err(|refusal| refusal.to_string()));
        let Err(message) = admitted else { return };
        if let Some(command) = self.state.service.commands.last_mut() {
            command.stage = CommandStage::Ended(Report::failed(&message));
        }
        if room::bytes(&self.state) > self.context.room {
            self.state.service.commands.pop();
        }
    }

    /// The service's answer decides: the agent does not run a command that the service considers ended.
    pub(super) fn acknowledged(&mut self, identifier: &str, answer: CommandStatus) {
        let Some(command) = self.command_mut(identifier) else { return };
        let CommandStage::Received(order) = &command.stage else { return };
        let order = order.clone();
        command.stage = match (answer, order.is_noop()) {
            (CommandStatus::Failed, true) => CommandStage::Ended(Report::succeeded("CompletedNoopCommand")),
            (CommandStatus::Succeeded | CommandStatus::Failed, _) => CommandStage::Reported(Report::succeeded("")),
            (CommandStatus::Pending | CommandStatus::InProgress, true) if order.event.is_none() => {
                let message =
                    format!("Unsupported command {}: this agent knows CodeDeploy's lifecycle events", order.name);
                CommandStage::Ended(Report::failed(&message))
            }
            (CommandStatus::Pending | CommandStatus::InProgress, true) => CommandStage::Ended(Report::succeeded("")),
            (CommandStatus::Pending | CommandStatus::InProgress, false) => CommandStage::Accepted(order.clone()),
        };
        if order.is_noop() && order.event.is_some_and(ends_deployment) {
            self.expect_no_more(&order.deployment);
        }
        self.forget_old_commands();
    }

    pub(super) fn reported(&mut self, identifier: &str) {
        if let Some(command) = self.command_mut(identifier)
            && let CommandStage::Ended(report) = &command.stage
        {
            command.stage = CommandStage::Reported(report.clone());
        }
        self.forget_old_commands();
    }

    fn forget_old_commands(&mut self) {
        let commands = &mut self.state.service.commands;
        let reported = |command: &Command| matches!(command.stage, CommandStage::Reported(_));
        let mut surplus = commands.iter().filter(|c| reported(c)).count().saturating_sub(REMEMBERED_COMMANDS);
        commands.retain(|command| {
            let goes = surplus > 0 && reported(command);
            surplus -= usize::from(goes);
            !goes
        });
    }

    fn command_mut(&mut self, identifier: &str) -> Option<&mut Command> {
        self.state.service.commands.iter_mut().find(|command| command.identifier == identifier)
    }

    /// Ends a deployment that waits for a command, without one.
    fn expect_no_more(&mut self, deployment: &DeploymentId) {
        let waiting = self.state.groups.values_mut().filter_map(|group| group.active.as_mut());
        for active in waiting.filter(|active| &active.id == deployment && active.waits_for_command()) {
            if let Some(commanded) = &mut active.commanded {
                commanded.over = true;
            }
        }
    }

    /// Gives each command whose group is free its turn, in the order of arrival.
    pub(super) fn admit_commands(&mut self) {
        let accepted = self.state.service.commands.iter().filter_map(|command| match &command.stage {
            CommandStage::Accepted(order) => Some((command.identifier.clone(), order.clone())),
            _ => None,
        });
        for (identifier, order) in accepted.collect::<Vec<_>>() {
            if let Some(message) = self.waits_in_vain(&order) {
                if let Some(command) = self.command_mut(&identifier) {
                    command.stage = CommandStage::Ended(Report::failed(&message));
                }
            } else if self.has_its_turn(&order) {
                self.admit(identifier, *order);
            }
        }
    }

    /// Why the command may wait indefinitely for its turn: its group's Install cannot be undone yet.
    fn waits_in_vain(&self, order: &Order) -> Option<String> {
        let group = self.state.groups.get(&order.request.key.id())?;
        let not_undone = group.active.as_ref()?.waits_to_be_undone()?;
        Some(format!("{not_undone}; {}", not_undone.remedy()))
    }

    /// Whether the command's deployment is the group's waiting one, or can begin. Another waiting deployment of the
    /// service is over: the service has moved on to the next one.
    fn has_its_turn(&mut self, order: &Order) -> bool {
        let group = self.group(&order.request.key);
        match &mut group.active {
            Some(active) if active.id == order.deployment => active.waits_for_command(),
            Some(active) => {
                if active.waits_for_command()
                    && let Some(commanded) = &mut active.commanded
                {
                    commanded.over = true;
                }
                false
            }
            None => {
                let known = group.finished.iter().position(|d| d.id == order.deployment && d.commanded.is_some());
                match known {
                    // The agent took it for over, and it is not.
                    Some(at) => {
                        let deployment = group.finished.remove(at);
                        group.active = Some(taken_up_again(deployment));
                    }
                    None => {
                        let deployment =
                            new_deployment(order.deployment.clone(), order.request.clone(), self.context.now_ms);
                        self.start(deployment);
                    }
                }
                true
            }
        }
    }

    fn admit(&mut self, identifier: String, order: Order) {
        let Some(event) = order.event else { return };
        let key = order.request.key.id();
        let Some((_, mut deployment)) = self.take_active(&key) else { return };
        let mut step = Step { scripts: order.scripts, ..Step::new(event) };
        // An event that the service asks for again runs its scripts again, each in its own run directory.
        if let Some(at) = deployment.steps.iter().position(|s| s.event == event) {
            let before = deployment.steps.remove(at);
            for (script, earlier) in step.scripts.iter_mut().zip(before.scripts) {
                script.attempts = earlier.attempts;
            }
        }
        deployment.steps.push(step);
        let unpacked = deployment.is_unpacked();
        let commanded = deployment.commanded.get_or_insert_default();
        commanded.command = Some(identifier.clone());
        let old_revisions = event.runs_old_revision() && !unpacked;
        commanded.checks_bundle_first = old_revisions && order.checks_bundle_first && !commanded.bundle_was_checked;
        let leave_out = old_revisions && commanded.fault.is_some();
        if let Some(command) = self.command_mut(&identifier) {
            command.stage = CommandStage::CarriedOut(deployment.id.clone());
        }
        if leave_out {
            self.end_step(&mut deployment, StepStatus::Skipped, Some(LEFT_OUT.to_owned()));
        }
        if let Some(group) = self.state.groups.get_mut(&key) {
            group.active = Some(deployment);
        }
    }

    /// The bundle was checked before the old revision's scripts. With a fault the agent skips them, because
    /// DownloadBundle will fail for it, and the application keeps serving.
    pub(super) fn checked(&mut self, deployment: &mut Deployment, fault: Option<WorkFailure>, warnings: Vec<String>) {
        self.warn(deployment, warnings);
        let Some(commanded) = &mut deployment.commanded else { return };
        commanded.checks_bundle_first = false;
        commanded.bundle_was_checked = true;
        commanded.fault = fault.map(room::failure);
        if let Some(fault) = &commanded.fault {
            let message = format!("{LEFT_OUT}: {}", fault.message);
            self.warn(deployment, vec![message.clone()]);
            self.end_step(deployment, StepStatus::Skipped, Some(message));
        }
    }

    /// Ends the command that asked for this event.
    pub(super) fn end_command(&mut self, deployment: &mut Deployment, event: LifecycleEvent, status: StepStatus) {
        let Some(identifier) = deployment.commanded.as_mut().and_then(|c| c.command.take()) else { return };
        let report = report(deployment, event, status);
        if let Some(commanded) = &mut deployment.commanded {
            commanded.over = ends_deployment(event);
        }
        if let Some(command) = self.command_mut(&identifier) {
            command.stage = CommandStage::Ended(report);
        }
    }
}

/// Why scripts of the old revision did not run.
const LEFT_OUT: &str = "the old revision's scripts are left out, because the new bundle cannot be deployed";

fn taken_up_again(deployment: Deployment) -> Deployment {
    let commanded = deployment.commanded.map(|c| Commanded { over: false, ..c });
    Deployment { finished_ms: None, lasted_ms: None, outcome: None, failure: None, commanded, ..deployment }
}

fn report(deployment: &Deployment, event: LifecycleEvent, status: StepStatus) -> Report {
    match (&deployment.failure, status) {
        (Some(failure), StepStatus::Failed) => {
            let scripts = deployment.step(event).map_or(&[][..], |step| &step.scripts);
            let failed = scripts.iter().find_map(|s| s.outcome.as_ref().filter(|o| !o.is_success()).map(|o| (s, o)));
            match (failed, &failure.script) {
                (Some((script, outcome)), Some(_)) => Report::script_failed(
                    event,
                    &FailedScript {
                        location: &script.location,
                        runas: script.runas.as_deref(),
                        timeout_seconds: script.timeout_seconds,
                        outcome,
                        tail: &failure.tail,
                    },
                ),
                _ => Report::failed(&failure.message),
            }
        }
        (_, StepStatus::Skipped) => Report::succeeded(LEFT_OUT),
        _ if event == LifecycleEvent::DownloadBundle => Report::succeeded(&how_the_bundle_came(&deployment.request)),
        _ => Report::succeeded(""),
    }
}

/// Whether the deployment reused another deployment's bundle, if the specification asks for that, in the words of the
/// CodeDeploy agent 2.1. A reused bundle was a directory already.
fn how_the_bundle_came(request: &Request) -> String {
    match (&request.source, request.revision.bundle_type) {
        (Source::CodeDeploy { reuse: Some(other), .. }, Some(BundleType::Directory)) => {
            format!("the bundle of {other} is used again")
        }
        (Source::CodeDeploy { reuse: Some(_), .. }, _) => "the bundle was downloaded".to_owned(),
        _ => String::new(),
    }
}
