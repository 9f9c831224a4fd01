//! The results of effects: the event continues, ends or fails, and so does the deployment.

use crate::event_order::LifecycleEvent;
use crate::history::{DeploymentOutcome, EventOutcome, Kind};
use crate::hook::{HookOutcome, HookResult};
use crate::lifecycle::ends_deployments;
use crate::machine::NoRollback;
use crate::machine::checks;
use crate::machine::event::{Effect, Prepared, Progress, Work, WorkFailure, WorkResult};
use crate::machine::rollback;
use crate::machine::room;
use crate::machine::sequence::new_deployment;
use crate::machine::state::{Deployment, Failure, Group, Installed, Outcome, Purpose, Script, StepStatus};
use crate::machine_events::About;
use crate::text::bounded;

use super::{Turn, requester};

/// How many times a script is started before interruptions fail its event.
const MOST_ATTEMPTS: u32 = 5;

/// The exit status with which a script asks for a reboot, as in Run Command
/// (<https://docs.aws.amazon.com/systems-manager/latest/userguide/send-commands-reboot.html>).
const REBOOT_STATUS: i32 = 194;

impl Turn<'_> {
    /// A result that no deployment waits for was handled already; it changes nothing.
    pub(super) fn finished(&mut self, number: u64, result: WorkResult) {
        if self.is_put_back(number) {
            return self.put_back_ended(result);
        }
        let waiting = |g: &&mut Group| {
            g.active.as_ref().and_then(|d| d.in_flight.as_ref()).is_some_and(|effect| effect.number == number)
        };
        let Some(key) = self.state.groups.values_mut().find(waiting).map(|g| g.key.id()) else { return };
        let Some((group, mut deployment)) = self.take_active(&key) else { return };
        let Some(effect) = deployment.in_flight.take() else { return };
        match (effect.work, result) {
            (Work::Prepare, WorkResult::Prepared(result)) => self.prepared(&group, &mut deployment, result),
            (Work::CheckBundle, WorkResult::Checked { fault, warnings }) => {
                self.checked(&mut deployment, fault, warnings);
            }
            (Work::RunHook { index, .. }, WorkResult::Hook(result)) => self.hook_ended(&mut deployment, index, result),
            (Work::Install, WorkResult::Installed(result)) => self.installed(&group, &mut deployment, result),
            (work @ Work::Install, WorkResult::NotUndone(open)) => {
                self.not_undone(&mut deployment, Effect { work, ..effect }, open);
            }
            (Work::Probe { .. }, WorkResult::Probed(Ok(()))) => {
                self.end_step(&mut deployment, StepStatus::Succeeded, None);
            }
            (Work::Probe { .. }, WorkResult::Probed(Err(failure))) => {
                self.fail(&mut deployment, None, failure, Vec::new());
            }
            (Work::Traffic { .. }, WorkResult::TrafficFound(result)) => self.traffic_found(&mut deployment, result),
            (Work::Traffic { phase }, WorkResult::TrafficMoved(result)) => {
                self.traffic_moved(&mut deployment, phase, result);
            }
            (Work::Reboot, WorkResult::Rebooted(result)) => self.rebooted(&mut deployment, result),
            (Work::Finish { .. }, WorkResult::Finished { warnings }) => {
                self.warn(&mut deployment, warnings);
                return self.conclude(&key, deployment);
            }
            // The shell answers each kind of work with its own kind of result; for any other the agent repeats the
            // work.
            (work, _) => deployment.in_flight = Some(Effect { work, ..effect }),
        }
        if let Some(group) = self.state.groups.get_mut(&key) {
            group.active = Some(deployment);
        }
    }

    fn prepared(&mut self, group: &Group, deployment: &mut Deployment, result: Result<Prepared, WorkFailure>) {
        let prepared = match result {
            Ok(prepared) => prepared,
            Err(failure) => return self.fail(deployment, None, failure, Vec::new()),
        };
        self.warn(deployment, prepared.warnings);
        deployment.request.revision = prepared.revision;
        checks::plan(deployment, prepared.health);
        let new_archive = deployment.archive().clone();
        let old_archive = group.installed.as_ref().map(|i| i.archive.clone());
        // A host that serves nothing any more stays out.
        let leaves = prepared.takes_out && deployment.step(LifecycleEvent::BlockTraffic).is_some();
        let returns = (leaves || self.is_withdrawn(deployment)) && deployment.request.purpose != Purpose::Remove;
        for step in &mut deployment.steps {
            let (hooks, archive) = if step.event.runs_old_revision() {
                (&prepared.old_hooks, old_archive.as_ref())
            } else {
                (&prepared.hooks, Some(&new_archive))
            };
            if let (true, Some(archive)) = (step.event.has_scripts(), archive) {
                let scripts = hooks.iter().find(|h| h.event == step.event.name()).map_or(&[][..], |h| &h.scripts);
                step.scripts = scripts.iter().map(|hook| Script::new(archive.clone(), hook)).collect();
            }
            let nothing_to_do = match step.event {
                LifecycleEvent::Install => false,
                LifecycleEvent::BlockTraffic => !prepared.takes_out,
                LifecycleEvent::AllowTraffic => !returns,
                _ => step.scripts.is_empty() && step.probe.is_none(),
            };
            if step.status == StepStatus::Pending && nothing_to_do {
                step.status = StepStatus::Skipped;
            }
        }
        if let Err(failure) = room::admit_revision(&self.state, deployment, self.context.room) {
            deployment.steps.iter_mut().for_each(|step| step.scripts = Vec::new());
            deployment.health = Vec::new();
            return self.fail(deployment, None, failure, Vec::new());
        }
        self.end_step(deployment, StepStatus::Succeeded, None);
    }

    fn hook_ended(&mut self, deployment: &mut Deployment, index: usize, result: HookResult) {
        let id = deployment.id.clone();
        let result = HookResult { outcome: result.outcome.bounded(), ..result };
        let Some(step) = deployment.current_mut() else { return };
        let (event, last) = (step.event, index + 1 == step.scripts.len());
        let Some(script) = step.scripts.get_mut(index) else { return };
        let (location, how) = (script.location.clone(), script.result_text(&result));
        let may_run_again = match result.outcome {
            // The script did not run: the agent went down between requesting its supervisor and its start.
            HookOutcome::Cancelled => true,
            HookOutcome::Interrupted => script.repeatable,
            _ => false,
        };
        let again = may_run_again && script.attempts < MOST_ATTEMPTS;
        script.outcome = (!again).then(|| result.outcome.clone());
        self.record(Kind::HookFinished {
            deployment: id,
            event: event.name().to_owned(),
            location: location.clone(),
            outcome: result.outcome.clone(),
            started_ms: result.started_ms,
            finished_ms: result.finished_ms,
            output_digest: result.output_digest,
        });
        if result.outcome.is_success() {
            if last && step.probe.is_none() {
                self.end_step(deployment, StepStatus::Succeeded, None);
            }
        } else if result.outcome == (HookOutcome::Exited { code: REBOOT_STATUS }) && deployment.commanded.is_none() {
            // The event continues in the next boot, after this script. The CodeDeploy agent treats it as any other
            // failure.
            deployment.rebooting = true;
        } else if !again {
            let failure = WorkFailure::of_script(&location, &result.outcome, &how);
            if event.failure_may_be_ignored() && deployment.request.policy.ignore_application_stop_failures {
                self.warn(deployment, vec![format!("{event} failed and the failure is ignored: {}", failure.message)]);
                self.end_step(deployment, StepStatus::Ignored, Some(failure.message));
            } else {
                self.fail(deployment, Some(location), failure, result.tail);
            }
        }
    }

    fn rebooted(&mut self, deployment: &mut Deployment, result: Result<(), WorkFailure>) {
        deployment.rebooting = false;
        if let Err(failure) = result {
            return self.fail(deployment, None, failure, Vec::new());
        }
        let done = deployment.current().is_some_and(|step| step.probe.is_none() && checks::scripts_are_done(step));
        if done {
            self.end_step(deployment, StepStatus::Succeeded, None);
        }
    }

    pub(super) fn warn(&mut self, deployment: &mut Deployment, warnings: Vec<String>) {
        let messages: Vec<String> = warnings.iter().map(|text| bounded(text, room::MESSAGE_BYTES, "")).collect();
        room::keep_warnings(deployment, &messages);
        let told = |message| Progress::Warning { deployment: deployment.id.clone(), message };
        self.progress.extend(messages.into_iter().map(told));
    }

    /// Ends the current event.
    pub(super) fn end_step(&mut self, deployment: &mut Deployment, status: StepStatus, message: Option<String>) {
        let now = self.context.now_ms;
        let id = deployment.id.clone();
        let Some(step) = deployment.current_mut() else { return };
        step.status = status;
        step.finished_ms = Some(now);
        let begun = step.begun.take();
        let milliseconds = self.context.boot_time().lasted_ms(begun.as_ref(), step.started_ms.unwrap_or(now), now);
        step.lasted_ms = Some(milliseconds);
        let event = step.event;
        self.progress.push(Progress::EventFinished { deployment: id.clone(), event, status, milliseconds });
        let message = message.map(|message| bounded(&message, room::MESSAGE_BYTES, ""));
        self.record(Kind::EventFinished {
            deployment: id,
            event: event.name().to_owned(),
            outcome: match status {
                StepStatus::Ignored => EventOutcome::FailedAndIgnored,
                StepStatus::Failed => EventOutcome::Failed,
                StepStatus::Skipped => EventOutcome::Skipped,
                StepStatus::Succeeded | StepStatus::Pending | StepStatus::Running => EventOutcome::Succeeded,
            },
            message,
        });
        self.end_command(deployment, event, status);
    }

    pub(super) fn fail(
        &mut self,
        deployment: &mut Deployment,
        script: Option<String>,
        why: WorkFailure,
        tail: Vec<String>,
    ) {
        let Some(event) = deployment.current().map(|s| s.event) else { return };
        let WorkFailure { message, kind } = room::failure(why);
        let tail = room::tail(tail);
        deployment.failure = Some(Failure { event, script, message: message.clone(), tail, kind });
        self.end_step(deployment, StepStatus::Failed, Some(message));
        for step in deployment.steps.iter_mut().filter(|s| !s.status.is_final()) {
            step.status = StepStatus::Skipped;
        }
    }

    /// Ends the deployment and begins the automatic rollback, if any.
    fn conclude(&mut self, key: &str, mut deployment: Deployment) {
        let now = self.context.now_ms;
        let outcome = if deployment.failure.is_some() { Outcome::Failed } else { Outcome::Succeeded };
        deployment.finished_ms = Some(now);
        let milliseconds = self.context.boot_time().lasted_ms(deployment.begun.as_ref(), deployment.started_ms, now);
        deployment.lasted_ms = Some(milliseconds);
        deployment.outcome = Some(outcome);
        self.record(Kind::DeploymentFinished {
            deployment: deployment.id.clone(),
            outcome: match outcome {
                Outcome::Succeeded => DeploymentOutcome::Succeeded,
                Outcome::Failed => DeploymentOutcome::Failed,
            },
            // The record of the event has the full text.
            message: deployment.failure.as_ref().map(|f| room::note(&format!("{}: {}", f.event, f.message))),
        });
        let succeeded = outcome == Outcome::Succeeded;
        let removed = succeeded && deployment.request.purpose == Purpose::Remove;
        // A stopping deployment puts nothing on the host and takes nothing off it.
        if succeeded && deployment.request.purpose.stop().is_none() {
            self.state.machine_events.deployed(about(&deployment), removed, now);
        }
        if removed {
            let requested = requester(&deployment.request);
            self.record(Kind::Removed { group: deployment.request.key.clone(), requested });
        }
        let good =
            (succeeded && deployment.installed && !removed).then(|| deployment.to_installed(self.context.now_ms));
        let Some(group) = self.state.groups.get_mut(key) else { return };
        if good.is_some() || removed {
            group.last_good = good;
        }
        let leaving = ends_deployments(&self.state.lifecycle);
        let failed_in = deployment.failure.as_ref().map(|failure| failure.event);
        let (rollback, no_rollback) = match failed_in.map(|event| rollback::after_failure(group, &deployment, event)) {
            None => (None, None),
            Some(Ok(_)) if leaving => (None, Some(NoRollback::OutOfService)),
            Some(Ok(request)) => (Some(new_deployment(self.context.fresh.clone(), request, now)), None),
            Some(Err(why)) => (None, Some(why)),
        };
        self.progress.push(Progress::Finished {
            deployment: deployment.id.clone(),
            outcome,
            failure: deployment.failure.clone(),
            milliseconds,
            rollback: rollback.as_ref().map(|d| d.id.clone()),
            no_rollback,
            installed: group.installed.as_ref().map(Installed::name),
        });
        group.remember(deployment);
        if let Some(rollback) = rollback {
            self.start(rollback);
        }
    }
}

/// The deployment's data for the scripts of machine events.
fn about(deployment: &Deployment) -> About {
    let revision = &deployment.request.revision;
    About {
        deployment: deployment.id.clone(),
        key: deployment.request.key.clone(),
        revision: revision.digest.map_or_else(|| revision.location.clone(), |digest| digest.to_string()),
    }
}
