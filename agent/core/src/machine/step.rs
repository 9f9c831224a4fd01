//! The one function that changes the state.

mod commands;
mod traffic;

use crate::event_order::LifecycleEvent;
use crate::history::{self, DeploymentOutcome, EventOutcome, Kind, Requester, RequesterKind};
use crate::hook::{HookOutcome, HookResult};
use crate::ids::{DeploymentId, InstanceId};
use crate::lifecycle::{Posture, ends_deployments};
use crate::machine::checks;
use crate::machine::course::{new_deployment, next_work};
use crate::machine::event::{Effect, Event, InstallReport, Prepared, Progress, Refusal, Work, WorkFailure, WorkResult};
use crate::machine::rollback;
use crate::machine::service;
use crate::machine::state::{Creator, Deployment, Failure, Group, Outcome, Request, Script, Source, State, StepStatus};
use crate::release::PublicKey;

/// How often a script is begun before interruptions fail its event.
const MOST_ATTEMPTS: u32 = 5;

/// The exit status with which a script asks for a reboot, as in Run Command
/// (<https://docs.aws.amazon.com/systems-manager/latest/userguide/send-commands-reboot.html>).
const REBOOT_STATUS: i32 = 194;

/// What the outside contributes to a step.
#[derive(Debug, Clone)]
pub struct Context {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// An unused deployment id, for a deployment that follows by itself.
    pub fresh: DeploymentId,
    /// This host.
    pub host: InstanceId,
    /// The kernel's boot id.
    pub boot_id: String,
    /// The agent's version.
    pub agent_version: String,
    /// The agent is stopping: nothing new begins.
    pub draining: bool,
}

/// What a step leads to. The state is persisted before an effect is started or a word of progress is passed on.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped {
    /// The new state.
    pub state: State,
    /// Effects that begin now.
    pub effects: Vec<Effect>,
    /// What watchers are told.
    pub progress: Vec<Progress>,
    /// Whether the request was accepted.
    pub reply: Result<(), Refusal>,
}

/// Takes one event into the state.
pub fn step(state: State, event: Event, context: &Context) -> Stepped {
    let mut turn = Turn { state, context, effects: Vec::new(), progress: Vec::new() };
    let reply = turn.take(event);
    if !context.draining {
        turn.begin_what_can_begin();
    }
    Stepped { state: turn.state, effects: turn.effects, progress: turn.progress, reply }
}

struct Turn<'a> {
    state: State,
    context: &'a Context,
    effects: Vec<Effect>,
    progress: Vec<Progress>,
}

impl Turn<'_> {
    fn take(&mut self, event: Event) -> Result<(), Refusal> {
        match event {
            Event::Deploy { id, request } => {
                service::admit(&self.state, request.creator)?;
                let group = self.group(&request.key);
                refuse_while_active(group)?;
                if let Some(release) = request.release {
                    group.following.highest = Some(release);
                    group.following.tried_sequence = release.sequence;
                    group.following.held = None;
                }
                self.start(new_deployment(id, *request, self.context.now_ms));
                Ok(())
            }
            Event::Rollback { id, key, to, asked_by, policy } => {
                service::admit(&self.state, Creator::Rollback)?;
                let group = self.group(&key);
                refuse_while_active(group)?;
                let request = rollback::by_hand(group, to, &asked_by, *policy)?;
                group.following.held = Some(format!("{asked_by} rolled back"));
                let sequence = group.following.highest.map_or(0, |highest| highest.sequence);
                let requested = Requester { by: RequesterKind::Cli, name: Some(asked_by) };
                self.record(Kind::Hold { group: key, sequence, requested });
                self.start(new_deployment(id, request, self.context.now_ms));
                Ok(())
            }
            Event::Remove { id, key, asked_by, policy } => {
                let group = self.group(&key);
                refuse_while_active(group)?;
                let request = rollback::removal(group, asked_by.clone(), *policy)?;
                group.following.held = Some(format!("{asked_by} removed it"));
                self.start(new_deployment(id, request, self.context.now_ms));
                Ok(())
            }
            Event::Resume { key, asked_by } => {
                let group = self.group(&key);
                if group.following.held.is_none() && group.following.tried_sequence == 0 {
                    return Err(Refusal::NotHeld { key });
                }
                group.following.held = None;
                group.following.tried_sequence = 0;
                let requested = Requester { by: RequesterKind::Cli, name: Some(asked_by) };
                self.record(Kind::Resume { group: key, requested });
                Ok(())
            }
            Event::Stop { id, key, policy } => {
                let lifecycle = self.state.lifecycle.clone();
                let group = self.group(&key);
                refuse_while_active(group)?;
                let request = service::stop(&lifecycle, group, *policy);
                let request = request.ok_or_else(|| Refusal::NotInstalled { key: key.clone() })?;
                self.start(new_deployment(id, request, self.context.now_ms));
                Ok(())
            }
            Event::Lifecycle(change) => {
                service::take(&mut self.state, change, self.context.now_ms);
                Ok(())
            }
            Event::Machine(change) => {
                let leaving = self.state.lifecycle.posture == Posture::Leaving;
                self.state.machine_events.take(change, leaving, self.context.now_ms);
                Ok(())
            }
            Event::Signals(change) => {
                self.state.signals.take(change, self.context.now_ms);
                Ok(())
            }
            Event::Commanded { identifier, execution, order } => {
                self.commanded(identifier, execution, order);
                Ok(())
            }
            Event::Acknowledged { identifier, answer } => {
                self.acknowledged(&identifier, answer);
                Ok(())
            }
            Event::Reported { identifier } => {
                self.reported(&identifier);
                Ok(())
            }
            Event::TrustSigner { certificate } => {
                self.state.service.signer = Some(certificate);
                Ok(())
            }
            Event::KeysAccepted { key, keys } => {
                self.group(&key).following.keys = Some((*keys).clone());
                let policy = keys.policy;
                let key_ids = policy.keys.iter().map(PublicKey::id).collect();
                self.record(Kind::KeysAccepted {
                    group: key,
                    version: policy.version,
                    threshold: policy.threshold,
                    key_ids,
                });
                Ok(())
            }
            Event::Finished { effect, result } => {
                self.finished(effect, *result);
                Ok(())
            }
            Event::Proceed => Ok(()),
        }
    }

    fn group(&mut self, key: &crate::ids::GroupKey) -> &mut Group {
        self.state.groups.entry(key.id()).or_insert_with(|| Group::new(key.clone()))
    }

    fn record(&mut self, kind: Kind) {
        let context = history::Context {
            host: self.context.host.clone(),
            boot_id: self.context.boot_id.clone(),
            time_ms: self.context.now_ms,
            agent_version: self.context.agent_version.clone(),
        };
        // A record is texts and numbers, which JSON always takes; nothing is lost by not looking.
        let _ = self.state.history.append(&context, kind);
    }

    fn start(&mut self, deployment: Deployment) {
        let request = &deployment.request;
        let requested = requester(request);
        if let (Source::Kept { deployment: to }, false) = (&request.source, request.removes || request.stops.is_some())
        {
            self.record(Kind::Rollback {
                failed: request.rolls_back.as_ref().map(|r| r.deployment.clone()),
                group: request.key.clone(),
                to: to.clone(),
                revision: request.revision.digest,
                requested: requested.clone(),
            });
        }
        self.record(Kind::DeploymentStarted {
            deployment: deployment.id.clone(),
            group: request.key.clone(),
            revision: request.revision.digest,
            location: request.revision.location.clone(),
            sequence: request.sequence(),
            release_digest: request.release.and_then(|release| release.digest),
            signature: request.trust.clone(),
            requested,
        });
        self.progress.push(Progress::Started {
            deployment: deployment.id.clone(),
            group: request.key.clone(),
            revision: request.revision.clone(),
            asked_by: request.asked_by.clone(),
            rolls_back: request.rolls_back.as_ref().map(|r| r.deployment.clone()),
        });
        let id = request.key.id();
        if let Some(group) = self.state.groups.get_mut(&id) {
            group.active = Some(deployment);
        }
    }

    /// A result that no deployment waits for is one that was taken up already; it changes nothing.
    fn finished(&mut self, number: u64, result: WorkResult) {
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
            // The shell answers each kind of work with its own kind of result; anything else is asked for again.
            (work, _) => deployment.in_flight = Some(Effect { work, ..effect }),
        }
        if let Some(group) = self.state.groups.get_mut(&key) {
            group.active = Some(deployment);
        }
    }

    /// The active deployment of a group, taken out to be changed, and the group as it was.
    fn take_active(&mut self, key: &str) -> Option<(Group, Deployment)> {
        let group = self.state.groups.get_mut(key)?;
        let deployment = group.active.take()?;
        Some((group.clone(), deployment))
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
        // What serves nothing any more stays out.
        let leaves = prepared.takes_out && deployment.step(LifecycleEvent::BlockTraffic).is_some();
        let returns = (leaves || self.is_withdrawn(deployment)) && !deployment.request.removes;
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
        self.end_step(deployment, StepStatus::Succeeded, None);
    }

    fn installed(&mut self, group: &Group, deployment: &mut Deployment, result: Result<InstallReport, WorkFailure>) {
        match result {
            Ok(report) => {
                deployment.installed = true;
                let installed = (!deployment.request.removes).then(|| deployment.to_installed(self.context.now_ms));
                if let Some(group) = self.state.groups.get_mut(&group.key.id()) {
                    group.installed_before = std::mem::replace(&mut group.installed, installed);
                }
                self.record(Kind::InstallFinished {
                    deployment: deployment.id.clone(),
                    entries: report.entries,
                    entries_digest: report.entries_digest,
                });
                self.end_step(deployment, StepStatus::Succeeded, None);
            }
            Err(failure) => self.fail(deployment, None, failure, Vec::new()),
        }
    }

    fn hook_ended(&mut self, deployment: &mut Deployment, index: usize, result: HookResult) {
        let id = deployment.id.clone();
        let Some(step) = deployment.current_mut() else { return };
        let (event, last) = (step.event, index + 1 == step.scripts.len());
        let Some(script) = step.scripts.get_mut(index) else { return };
        let location = script.location.clone();
        let may_run_again = match result.outcome {
            // It certainly did not run: the agent went down between asking for its supervisor and its start.
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
            // The event goes on in the next boot, after this script. To the CodeDeploy agent it is a failure as any other.
            deployment.rebooting = true;
        } else if !again {
            let message = format!("{location}: {}", result.outcome);
            if event.failure_may_be_ignored() && deployment.request.policy.ignore_application_stop_failures {
                self.warn(deployment, vec![format!("{event} failed and the failure is ignored: {message}")]);
                self.end_step(deployment, StepStatus::Ignored, Some(message));
            } else {
                self.fail(
                    deployment,
                    Some(location),
                    WorkFailure { message, verification: false, absent: false },
                    result.tail,
                );
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

    fn warn(&mut self, deployment: &mut Deployment, warnings: Vec<String>) {
        for message in warnings {
            self.progress.push(Progress::Warning { deployment: deployment.id.clone(), message: message.clone() });
            deployment.warnings.push(message);
        }
    }

    /// Ends the event that is going on.
    fn end_step(&mut self, deployment: &mut Deployment, status: StepStatus, message: Option<String>) {
        let now = self.context.now_ms;
        let id = deployment.id.clone();
        let Some(step) = deployment.current_mut() else { return };
        step.status = status;
        step.finished_ms = Some(now);
        let milliseconds = now.saturating_sub(step.started_ms.unwrap_or(now));
        let event = step.event;
        self.progress.push(Progress::EventFinished { deployment: id.clone(), event, status, milliseconds });
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

    fn fail(&mut self, deployment: &mut Deployment, script: Option<String>, why: WorkFailure, tail: Vec<String>) {
        let Some(event) = deployment.current().map(|s| s.event) else { return };
        let message = Some(why.message.clone());
        let WorkFailure { message: what, verification, absent } = why;
        deployment.failure = Some(Failure { event, script, message: what, tail, verification, absent });
        self.end_step(deployment, StepStatus::Failed, message);
        for step in deployment.steps.iter_mut().filter(|s| !s.status.is_final()) {
            step.status = StepStatus::Skipped;
        }
    }

    /// Ends the deployment and begins the rollback that follows by itself, if any.
    fn conclude(&mut self, key: &str, mut deployment: Deployment) {
        let now = self.context.now_ms;
        let outcome = if deployment.failure.is_some() { Outcome::Failed } else { Outcome::Succeeded };
        deployment.finished_ms = Some(now);
        deployment.outcome = Some(outcome);
        self.record(Kind::DeploymentFinished {
            deployment: deployment.id.clone(),
            outcome: match outcome {
                Outcome::Succeeded => DeploymentOutcome::Succeeded,
                Outcome::Failed => DeploymentOutcome::Failed,
            },
            message: deployment.failure.as_ref().map(|f| format!("{}: {}", f.event, f.message)),
        });
        let succeeded = outcome == Outcome::Succeeded;
        let removed = succeeded && deployment.request.removes;
        if succeeded {
            self.state.machine_events.deployed(&deployment, now);
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
        let rollback = rollback::after_failure(group, &deployment)
            .filter(|_| !leaving)
            .map(|request| new_deployment(self.context.fresh.clone(), request, now));
        self.progress.push(Progress::Finished {
            deployment: deployment.id.clone(),
            outcome,
            failure: deployment.failure.clone(),
            milliseconds: now.saturating_sub(deployment.started_ms),
            rollback: rollback.as_ref().map(|d| d.id.clone()),
        });
        group.remember(deployment);
        if let Some(rollback) = rollback {
            self.start(rollback);
        }
    }

    fn begin_what_can_begin(&mut self) {
        self.admit_commands();
        let mut exclusive = self.is_exclusive_going_on();
        let keys: Vec<String> = self.state.groups.keys().cloned().collect();
        for key in keys {
            let Some((group, mut deployment)) = self.take_active(&key) else { continue };
            if deployment.in_flight.is_none() {
                // What the CodeDeploy service commands ends by its word.
                if deployment.commanded.is_none() && service::shall_end(&self.state.lifecycle, &deployment) {
                    let message = "the host is on its way out of service".to_owned();
                    self.fail(
                        &mut deployment,
                        None,
                        WorkFailure { message, verification: false, absent: false },
                        Vec::new(),
                    );
                }
                if let Some(work) = next_work(&group, &deployment, self.is_withdrawn(&deployment))
                    && !(exclusive && work.is_exclusive())
                    && !self.waits_for_another(&deployment, &work)
                {
                    exclusive |= work.is_exclusive();
                    self.begin(&mut deployment, work);
                }
            }
            if let Some(group) = self.state.groups.get_mut(&key) {
                group.active = Some(deployment);
            }
        }
        if !exclusive {
            self.put_back_if_due();
        }
    }

    fn begin(&mut self, deployment: &mut Deployment, work: Work) {
        let now = self.context.now_ms;
        let id = deployment.id.clone();
        if !matches!(work, Work::Finish { .. })
            && let Some(step) = deployment.current_mut()
        {
            if step.status == StepStatus::Pending {
                step.status = StepStatus::Running;
                step.started_ms = Some(now);
                self.progress.push(Progress::EventStarted { deployment: id, event: step.event });
            }
            if let Work::RunHook { index, attempt, .. } = work
                && let Some(script) = step.scripts.get_mut(index)
            {
                script.attempts = attempt;
            }
        }
        self.note_touched(deployment);
        deployment.in_flight = Some(self.effect(work));
    }

    /// An effect that begins once the state that names it is durable.
    fn effect(&mut self, work: Work) -> Effect {
        let (number, boot_id) = (self.state.next_effect, self.context.boot_id.clone());
        let effect = Effect { number, work, begun_ms: self.context.now_ms, boot_id };
        self.state.next_effect += 1;
        self.effects.push(effect.clone());
        effect
    }
}

fn requester(request: &Request) -> Requester {
    let by = match request.creator {
        Creator::Channel => RequesterKind::Channel,
        Creator::Cli => RequesterKind::Cli,
        Creator::CodeDeploy => RequesterKind::Service,
        Creator::Rollback => RequesterKind::Rollback,
        Creator::Lifecycle => RequesterKind::Lifecycle,
    };
    Requester { by, name: Some(request.asked_by.clone()) }
}

fn refuse_while_active(group: &Group) -> Result<(), Refusal> {
    match &group.active {
        None => Ok(()),
        Some(active) => Err(Refusal::DeploymentActive {
            active: active.id.clone(),
            key: group.key.clone(),
            event: active.current().map_or_else(|| "finishing".to_owned(), |s| s.event.to_string()),
        }),
    }
}
