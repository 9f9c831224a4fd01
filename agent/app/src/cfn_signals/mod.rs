//! Signals CloudFormation once this host is proven healthy, in one task. The engine's journal records each signal
//! before it is sent; the agent resends it until CloudFormation accepts it, also after a restart.

pub mod send;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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
use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::Handle;
use crate::failure::Failure;
use crate::health::check_count;
use crate::identity;
use crate::setup::{Setup, SetupWatch};
use send::{Sender, Target};

/// Short at first, because a stack waits. A role that gets its policy late is noticed within minutes.
const AFTER_FAILURES: Backoff = Backoff { first_ms: 1000, most_ms: 300_000 };

const TAGS: (&str, &str) = ("aws:cloudformation:stack-name", "aws:cloudformation:logical-id");

/// The task that signals. Everything that must survive is in the engine's journal.
pub struct Signaller {
    setup_watch: SetupWatch,
    handle: Handle,
    instance: InstanceId,
    /// The target that `from_tags` stands for, once it is known.
    of_tags: Option<Target>,
    waits: BTreeMap<String, Wait>,
}

/// The wait after failed tries.
struct Wait {
    failures: u32,
    until: Instant,
}

impl Signaller {
    /// Nothing is signalled yet.
    pub fn new(setup_watch: SetupWatch, handle: Handle, instance: InstanceId) -> Self {
        Self { setup_watch, handle, instance, of_tags: None, waits: BTreeMap::new() }
    }

    /// Sends the signals that are due, until it is dropped.
    pub async fn attend(mut self, mut health: watch::Receiver<Health>) {
        let mut state = self.handle.state();
        let mut setup_watch = self.setup_watch.clone();
        loop {
            let setup = self.setup_watch.now();
            if setup.settings.signals.is_none() {
                self.waits.clear();
            }
            if let Some(settings) = &setup.settings.signals {
                let checks = health.borrow_and_update().clone();
                state.mark_unchanged();
                self.turn(&setup, settings, &checks).await;
            }
            let next = self.waits.values().map(|wait| wait.until).min();
            let changed = tokio::select! {
                changed = state.changed() => changed,
                changed = health.changed() => changed,
                () = setup_watch.changed() => Ok(()),
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    async fn turn(&mut self, setup: &Setup, settings: &SignalSettings, health: &Health) {
        let named = settings.resource.iter().map(Wanted::Resource);
        let wanted: Vec<Wanted> = named.chain(settings.wait_condition.iter().map(Wanted::WaitCondition)).collect();
        // A target that is no longer wanted must not wake up this task.
        self.waits.retain(|key, _| wanted.iter().any(|wanted| wanted.key() == *key));
        for wanted in wanted {
            let key = wanted.key();
            if self.waits.get(&key).is_some_and(|wait| Instant::now() < wait.until) {
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
        let failures = self.waits.get(&key).map_or(0, |wait| wait.failures).saturating_add(1);
        // Logged once: a stack that refuses for a day must not fill the log.
        if failures == 1 {
            log::warn!(hostler_event = "signal-not-taken"; "CloudFormation is not signalled yet, it is tried again: {}", failure.one_line());
        }
        let pause = Duration::from_millis(AFTER_FAILURES.wait_ms(failures, clock::random()));
        self.waits.insert(key, Wait { failures, until: Instant::now() + pause });
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
            log::info!(target = name.as_str(), status = said.word(); "CloudFormation is signalled: {}", said.reason);
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
        let sender = Sender::new(&setup.stores, target).await?;
        let end = match sender.send(&signal).await {
            Ok(cfn::Signalled::Taken) => End::Taken,
            Ok(cfn::Signalled::NobodyWaits(message)) => End::NobodyWaits { message },
            Err(fault) if signalled.is_over(clock::now_ms()) => End::GivenUp { message: fault.to_string() },
            Err(fault) => {
                let error = anyhow::Error::new(fault).context(format!("the signal to {} was not taken", target.name()));
                return Err(error.into());
            }
        };
        log::info!(target = target.name().as_str(); "the signal to CloudFormation has ended: {end}");
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
                    self.of_tags = Some(of_tags(setup).await?);
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

/// The tags that CloudFormation puts on the instances of its stacks, an Auto Scaling group's too.
async fn of_tags(setup: &Setup) -> Result<Target, Failure> {
    let Some(imds) = identity::metadata(setup)? else {
        return Err(Failure::say(ExitCode::Failed, "signals: from_tags needs the instance metadata service"));
    };
    let (Some(stack), Some(resource)) = (imds.tag(TAGS.0).await?, imds.tag(TAGS.1).await?) else {
        let message = format!(
            "the instance metadata shows no tags {} and {}; turn on InstanceMetadataTags in the launch template, or name \
             stack and resource in signals: cloudformation",
            TAGS.0, TAGS.1
        );
        return Err(Failure::say(ExitCode::Failed, message));
    };
    Ok(Target::Resource { stack, resource, region: None })
}
