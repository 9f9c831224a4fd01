//! Signals CloudFormation once this host is proven healthy, in one controller. The engine's journal records each signal
//! before it is sent; the agent resends it until CloudFormation accepts it, also after a restart.

mod cloud;
pub mod send;

use std::collections::BTreeMap;
use std::sync::Arc;

use hostler_aws::cfn::{self, Signal, UNIQUE_ID_BYTES};
use hostler_core::cfn_signals::{Change, End, Signalled};
use hostler_core::codes::ExitCode;
use hostler_core::config::settings::{SignalSettings, StackResource};
use hostler_core::ids::{GroupKey, InstanceId};
use hostler_core::machine::proof::{Proof, proof, verdict};
use hostler_core::machine::{Event, State};
use hostler_core::retry::Backoff;
use hostler_core::status::Health;
use hostler_host::clock;

use crate::controller::{Controller, LogOnce, Retries, View, Wake};
use crate::engine::Handle;
use crate::failure::Failure;
use crate::health::check_count;
use crate::setup::Setup;
use cloud::{Aws, Cloud};
use send::Target;

/// Short at first, because a stack waits. A role that gets its policy late is noticed within minutes.
const AFTER_FAILURES: Backoff = Backoff { first_ms: 1000, most_ms: 300_000 };

/// The controller that signals. Everything that must survive is in the engine's journal.
pub struct Signaller<C = Aws> {
    cloud: C,
    handle: Handle,
    instance: InstanceId,
    /// The target that `from_tags` stands for, once it is known.
    of_tags: Option<Target>,
    waits: BTreeMap<String, Wait>,
}

/// The wait after failed tries.
struct Wait {
    retries: Retries,
    log: LogOnce,
}

impl Signaller {
    /// Nothing is signalled yet.
    pub fn new(handle: Handle, instance: InstanceId) -> Self {
        Self::to(Aws, handle, instance)
    }
}

impl<C: Cloud> Controller for Signaller<C> {
    const NAME: &'static str = "signals";

    async fn reconcile(&mut self, view: &View) -> Wake {
        let Some(settings) = &view.setup.settings.signals else {
            self.waits.clear();
            return Wake::on_reload();
        };
        self.signal_all(&view.setup, settings, &view.health).await;
        Wake::on_change().at(self.waits.values().filter_map(|wait| wait.retries.next()).min())
    }
}

impl<C: Cloud> Signaller<C> {
    fn to(cloud: C, handle: Handle, instance: InstanceId) -> Self {
        Self { cloud, handle, instance, of_tags: None, waits: BTreeMap::new() }
    }

    async fn signal_all(&mut self, setup: &Setup, settings: &SignalSettings, health: &Health) {
        let named = settings.resource.iter().map(Wanted::Resource);
        let wanted: Vec<Wanted> = named.chain(settings.wait_condition.iter().map(Wanted::WaitCondition)).collect();
        // A target that is no longer wanted must not wake up this task.
        self.waits.retain(|key, _| wanted.iter().any(|wanted| wanted.key() == *key));
        for wanted in wanted {
            let key = wanted.key();
            if self.waits.get(&key).is_some_and(|wait| !wait.retries.is_due()) {
                continue;
            }
            match self.signal(setup, settings, health, wanted).await {
                Ok(()) => {
                    self.waits.remove(&key);
                }
                Err(failure) => self.wait(key, &failure),
            }
        }
    }

    fn wait(&mut self, key: String, failure: &Failure) {
        let new = || Wait { retries: Retries::new(AFTER_FAILURES), log: LogOnce::default() };
        let wait = self.waits.entry(key).or_insert_with(new);
        wait.retries.failed();
        if wait.log.begins() {
            log::warn!(hostler_event = "signal-not-taken"; "CloudFormation is not signalled yet, it is tried again: {}", failure.one_line());
        }
    }

    /// Advances one target as far as possible now.
    async fn signal(
        &mut self,
        setup: &Setup,
        settings: &SignalSettings,
        health: &Health,
        wanted: Wanted<'_>,
    ) -> Result<(), Failure> {
        let state = self.state();
        let found = || verdict(&proofs(setup, &state, health), settings.failure);
        let Some(said) = decided(&state).or_else(found) else { return Ok(()) };
        let target = self.target(setup, wanted).await?;
        let name = target.name();
        if state.signals.get(&name).is_none() {
            log::info!(target = name.as_str(), status = said.word(); "CloudFormation is signalled {} for {name}: {}", said.word(), said.reason);
            if !self.change(Change::Decide(name.clone(), said)).await {
                return Ok(());
            }
        }
        match self.state().signals.get(&name) {
            Some(signalled) if signalled.end.is_none() => self.send(setup, &target, signalled).await,
            _ => Ok(()),
        }
    }

    async fn send(&mut self, setup: &Setup, target: &Target, signalled: &Signalled) -> Result<(), Failure> {
        let signal = Signal {
            status: signalled.verdict.word(),
            unique_id: self.unique_id()?,
            data: String::new(),
            reason: signalled.verdict.reason.clone(),
        };
        let end = match self.cloud.send(setup, target, &signal).await? {
            Ok(cfn::Signalled::Taken) => End::Taken,
            Ok(cfn::Signalled::NobodyWaits(message)) => End::NobodyWaits { message },
            Err(fault) if signalled.is_over(clock::now_ms()) => End::GivenUp { message: fault.to_string() },
            Err(fault) => {
                let error = anyhow::Error::new(fault).context(format!("the signal to {} was not taken", target.name()));
                return Err(error.into());
            }
        };
        let name = target.name();
        log::info!(target = name.as_str(); "the signal to CloudFormation has ended: {end} ({name})");
        self.change(Change::End(target.name(), end)).await;
        Ok(())
    }

    fn unique_id(&self) -> Result<String, Failure> {
        let id = self.instance.as_str();
        if id.len() > UNIQUE_ID_BYTES {
            let message = format!("the host's name {id} has more than {UNIQUE_ID_BYTES} bytes and cannot signal");
            return Err(Failure::say(ExitCode::Failed, message));
        }
        Ok(id.to_owned())
    }

    async fn target(&mut self, setup: &Setup, wanted: Wanted<'_>) -> Result<Target, Failure> {
        match wanted {
            Wanted::WaitCondition(url) => Ok(Target::WaitCondition { url: url.clone() }),
            Wanted::Resource(StackResource::Named { stack, resource, region }) => {
                Ok(Target::Resource { stack: stack.clone(), resource: resource.clone(), region: region.clone() })
            }
            Wanted::Resource(StackResource::OfTags) => {
                if self.of_tags.is_none() {
                    self.of_tags = Some(self.cloud.target_of_tags(setup).await?);
                }
                self.of_tags.clone().ok_or_else(|| Failure::say(ExitCode::Failed, "the tags are not known"))
            }
        }
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.handle.state().borrow())
    }

    /// Persists a change. Returns false when the agent is stopping.
    async fn change(&self, change: Change) -> bool {
        self.handle.ask(Event::Signals(change)).await.is_ok()
    }
}

/// A target that the configuration asks for.
#[derive(Debug, Clone, Copy)]
enum Wanted<'s> {
    Resource(&'s StackResource),
    WaitCondition(&'s String),
}

impl Wanted<'_> {
    /// Identifies the target's wait. A changed configuration starts without a wait.
    fn key(self) -> String {
        format!("{self:?}")
    }
}

/// A signal that has been decided is sent, whatever happens to the groups meanwhile.
fn decided(state: &State) -> Option<hostler_core::cfn_signals::Verdict> {
    state.signals.iter().find(|(_, signalled)| signalled.end.is_none()).map(|(_, signalled)| signalled.verdict.clone())
}

/// The proof of each group: the configured groups, and those that the CodeDeploy service deployed to.
fn proofs(setup: &Setup, state: &State, health: &Health) -> Vec<(GroupKey, Proof)> {
    let configured = setup.settings.groups.iter().map(|group| group.key.clone());
    let mut keys: Vec<GroupKey> = configured.collect();
    keys.extend(state.groups.values().map(|group| group.key.clone()).filter(|key| key.codedeploy_group_id.is_some()));
    let proofs = keys.into_iter().map(|key| {
        let group = state.groups.get(&key.id());
        let installed = group.and_then(|group| group.installed.as_ref());
        let checks = check_count(setup, &key, installed);
        let found = proof(group, checks, health.get(&key.id()));
        (key, found)
    });
    proofs.collect()
}

#[cfg(test)]
mod tests;
