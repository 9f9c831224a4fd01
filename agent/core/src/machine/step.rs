//! The one function that changes the state.

mod commands;
mod install;
mod keys;
mod results;
mod traffic;

use crate::history::{self, Kind, Requester, RequesterKind};
use crate::ids::{DeploymentId, InstanceId};
use crate::lifecycle::InstanceState;
use crate::machine::admission;
use crate::machine::event::{Effect, Event, Progress, Refusal, Work, WorkFailure};
use crate::machine::release_decision::can_resume;
use crate::machine::rollback;
use crate::machine::room;
use crate::machine::sequence::{new_deployment, next_work};
use crate::machine::state::{BootTime, Creator, Deployment, Group, Request, Source, State, StepStatus};

/// Outside input to a step.
#[derive(Debug, Clone)]
pub struct Context {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// Milliseconds since the boot, on the clock that cannot be set.
    pub since_boot_ms: u64,
    /// An unused deployment id, for an automatic deployment.
    pub fresh: DeploymentId,
    /// This host.
    pub host: InstanceId,
    /// The kernel's boot id.
    pub boot_id: String,
    /// The agent's version.
    pub agent_version: String,
    /// The agent is stopping: nothing new begins.
    pub draining: bool,
    /// Bytes that the ledger has for the state as JSON.
    pub room: usize,
}

impl Context {
    fn boot_time(&self) -> BootTime {
        BootTime { boot_id: self.boot_id.clone(), ms: self.since_boot_ms }
    }
}

/// The result of a step. The shell persists the state before it starts an effect or passes progress on.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped {
    /// The new state.
    pub state: State,
    /// Effects that begin now.
    pub effects: Vec<Effect>,
    /// Progress for watchers.
    pub progress: Vec<Progress>,
    /// Whether the request was accepted.
    pub reply: Result<(), Refusal>,
}

/// Applies one event to the state.
pub fn step(state: State, event: Event, context: &Context) -> Stepped {
    let before = matches!(event, Event::Deploy { .. }).then(|| state.clone());
    let mut turn = Turn { state, context, effects: Vec::new(), progress: Vec::new() };
    let mut reply = turn.take(event);
    if let (Ok(()), Some(before)) = (&reply, before)
        && let Err(refusal) = room::leaves_room(&turn.state, context.room)
    {
        (turn.state, turn.progress, reply) = (before, Vec::new(), Err(refusal));
    }
    if reply.is_err() {
        // Only a refused request names this group, usually by mistake: it does not belong on the host.
        turn.state.groups.retain(|_, group| *group != Group::new(group.key.clone()));
    }
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
                admission::admit(&self.state, request.purpose.creator())?;
                room::admit_request(&request)?;
                let group = self.group(&request.key);
                refuse_while_active(group)?;
                if let Some(release) = request.purpose.release().copied() {
                    group.following.highest = Some(release);
                    group.following.tried_sequence = release.sequence;
                    group.following.held = None;
                }
                self.start(new_deployment(id, *request, self.context.now_ms));
                Ok(())
            }
            Event::Rollback { id, key, to, force, asked_by, policy } => {
                admission::admit(&self.state, Creator::Rollback)?;
                let asked_by = room::asked_by(&asked_by);
                self.refuse_unknown(&key)?;
                let group = self.group(&key);
                refuse_while_active(group)?;
                let request = rollback::by_hand(group, to.map(|to| (to, force)), &asked_by, *policy)?;
                room::admit_request(&request)?;
                if let Some(sequence) = group.following.hold_because(format!("{asked_by} rolled back")) {
                    let requested = Requester { by: RequesterKind::Cli, name: Some(asked_by) };
                    self.record(Kind::Hold { group: key, sequence, requested });
                }
                self.start(new_deployment(id, request, self.context.now_ms));
                Ok(())
            }
            Event::RollbackAgain { id, key } => {
                admission::admit(&self.state, Creator::Rollback)?;
                let group = self.group(&key);
                let again = rollback::waiting(group).zip(rollback::again(group));
                let (before, request) = again.ok_or(Refusal::NothingWaits { key })?;
                // It replaces the previous try: the list shows what users asked for.
                group.finished.remove(before);
                self.start(new_deployment(id, request, self.context.now_ms));
                Ok(())
            }
            Event::Remove { id, key, asked_by, policy } => {
                let asked_by = room::asked_by(&asked_by);
                let group = self.group(&key);
                refuse_while_active(group)?;
                let request = rollback::removal(group, asked_by.clone(), *policy)?;
                room::admit_request(&request)?;
                group.following.hold_because(format!("{asked_by} removed it"));
                self.start(new_deployment(id, request, self.context.now_ms));
                Ok(())
            }
            Event::Resume { key, asked_by } => {
                let group = self.group(&key);
                if !can_resume(group) {
                    let follows = group.following.highest.is_some();
                    return Err(Refusal::NotHeld { key, follows });
                }
                group.following.held = None;
                group.following.tried_sequence = 0;
                let requested = Requester { by: RequesterKind::Cli, name: Some(room::asked_by(&asked_by)) };
                self.record(Kind::Resume { group: key, requested });
                Ok(())
            }
            Event::Stop { id, key, policy } => {
                let lifecycle = self.state.lifecycle.clone();
                let group = self.group(&key);
                refuse_while_active(group)?;
                let request = admission::stop(&lifecycle, group, *policy);
                let request = request.ok_or_else(|| Refusal::NotInstalled { key: key.clone() })?;
                self.start(new_deployment(id, request, self.context.now_ms));
                Ok(())
            }
            Event::Lifecycle(change) => {
                admission::take(&mut self.state, change, self.context.now_ms);
                Ok(())
            }
            Event::Machine(change) => {
                let leaving = self.state.lifecycle.instance_state == InstanceState::Terminating;
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
            Event::TrustSigner { certificate, left_sha1 } => {
                self.state.service.signer = Some(certificate);
                self.state.service.signer_left_sha1 = left_sha1;
                Ok(())
            }
            Event::KeysAccepted { key, keys } => {
                self.keys_accepted(key, *keys);
                Ok(())
            }
            Event::SignedAgain { key, release, trust } => {
                self.signed_again(&key, release, trust);
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

    /// # Errors
    /// No deployment of the group is known.
    fn refuse_unknown(&self, key: &crate::ids::GroupKey) -> Result<(), Refusal> {
        let is_known =
            |group: &&Group| group.active.is_some() || group.installed.is_some() || !group.finished.is_empty();
        if self.state.groups.get(&key.id()).is_some_and(|group| is_known(&group)) {
            return Ok(());
        }
        let known = self.state.groups.values().filter(is_known).map(|group| group.key.clone());
        Err(Refusal::NeverDeployed { key: key.clone(), known: known.collect() })
    }

    fn record(&mut self, kind: Kind) {
        let context = history::Context {
            host: self.context.host.clone(),
            boot_id: self.context.boot_id.clone(),
            time_ms: self.context.now_ms,
            agent_version: self.context.agent_version.clone(),
        };
        // A record consists of texts and numbers, which always serialize: the result needs no check.
        let _ = self.state.history.note(&context, kind);
    }

    fn start(&mut self, mut deployment: Deployment) {
        deployment.begun = Some(self.context.boot_time());
        let request = &deployment.request;
        let requested = requester(request);
        let purpose = request.purpose.named();
        let returns_to = match &request.source {
            Source::Kept { deployment: to } if request.purpose.is_rollback() => Some(to.clone()),
            _ => None,
        };
        if let Some(to) = &returns_to {
            self.record(Kind::Rollback {
                failed: request.purpose.rolls_back().map(|r| r.deployment.clone()),
                group: request.key.clone(),
                to: to.clone(),
                revision: request.revision.digest,
                requested: requested.clone(),
            });
        }
        self.record(Kind::DeploymentStarted {
            deployment: deployment.id.clone(),
            group: request.key.clone(),
            purpose: Some(purpose),
            revision: request.revision.digest,
            label: request.revision.label.clone(),
            location: request.revision.location.clone(),
            sequence: request.sequence(),
            release_digest: request.purpose.release().and_then(|release| release.digest),
            signature: request.trust.clone(),
            requested,
        });
        self.progress.push(Progress::Started {
            deployment: deployment.id.clone(),
            group: request.key.clone(),
            revision: request.revision.clone(),
            asked_by: request.asked_by.clone(),
            rolls_back: request.purpose.rolls_back().map(|r| r.deployment.clone()),
            purpose,
            returns_to,
        });
        let id = request.key.id();
        if let Some(group) = self.state.groups.get_mut(&id) {
            group.active = Some(deployment);
        }
    }

    /// Takes the active deployment of a group out for a change, with the group as it was.
    fn take_active(&mut self, key: &str) -> Option<(Group, Deployment)> {
        let group = self.state.groups.get_mut(key)?;
        let deployment = group.active.take()?;
        Some((group.clone(), deployment))
    }

    fn begin_what_can_begin(&mut self) {
        self.admit_commands();
        self.undo_again_if_due();
        let mut exclusive = self.is_exclusive_going_on();
        let keys: Vec<String> = self.state.groups.keys().cloned().collect();
        for key in keys {
            let Some((group, mut deployment)) = self.take_active(&key) else { continue };
            if deployment.in_flight.is_none() {
                // A deployment that the CodeDeploy service commands ends at the service's command.
                if deployment.commanded.is_none() && admission::shall_end(&self.state.lifecycle, &deployment) {
                    let failure = WorkFailure::other("the host is on its way out of service");
                    self.fail(&mut deployment, None, failure, Vec::new());
                }
                self.end_if_keys_are_outdated(&mut deployment);
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
                step.begun = Some(self.context.boot_time());
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
    let by = match request.purpose.creator() {
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
        Some(Deployment { not_undone: Some(not_undone), .. }) => {
            Err(Refusal::NotUndone { key: group.key.clone(), not_undone: Box::new(not_undone.clone()) })
        }
        Some(active) => Err(Refusal::DeploymentActive {
            active: active.id.clone(),
            key: group.key.clone(),
            event: active.current().map_or_else(|| "finishing".to_owned(), |s| s.event.to_string()),
        }),
    }
}
