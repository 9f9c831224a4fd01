//! Follows the Auto Scaling group and EC2: one controller that looks, keeps hooks alive and completes them. Core makes the
//! decisions, and the engine does the work.

mod cloud;
mod hooks;
mod look;
mod notices;
mod prefetch;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostler_aws::fault::Fault;
use hostler_core::config::settings::AutoScalingSettings;
use hostler_core::ids::InstanceId;
use hostler_core::lifecycle::{
    Action, Change, Clocks, Decided, InstanceState, Lifecycle, LifecycleState, Next, Passage, TargetLifecycleState,
    decide, flush_ms, wants_flush,
};
use hostler_core::machine::Event;
use hostler_core::retry::jittered_ms;
use hostler_host::clock;
use tokio::time::Instant;

pub use cloud::check;

use crate::controller::{Controller, LogOnce, Retries, View, Wake};
use crate::engine::{AskError, Handle};
use crate::health::HealthWatch;
use crate::setup::SetupWatch;
use crate::shipping::ShippingHandle;
use cloud::{Aws, Cloud};
use notices::Announced;
use prefetch::Prefetch;

/// The most journal changes of one look.
const MOST_CHANGES: usize = 16;
/// The time between two questions about a group of which nothing is known.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(15);

/// The controller that follows the group. Everything that must survive is in the engine's journal. It looks at intervals
/// alone: what it does in between is the engine's work, of which the next look sees how far it came.
pub struct LifecycleController<C = Aws> {
    setup_watch: SetupWatch,
    handle: Handle,
    health_watch: HealthWatch,
    instance: InstanceId,
    shipping: Option<ShippingHandle>,
    cloud: C,
    /// Whether there are ways to the cloud, be they of the configuration before.
    is_reached: bool,
    /// The group's last answer, and the target state for which it was asked.
    last: Option<(Option<TargetLifecycleState>, LifecycleState)>,
    asked: Option<Instant>,
    announced: Announced,
    clocks: Option<Clocks>,
    prefetch: Option<Prefetch>,
    /// The last heartbeat of each hook.
    beaten_ms: BTreeMap<String, u64>,
    completions: Retries,
    problem_log: LogOnce,
    /// Of hooks: the group may answer every other question meanwhile.
    hook_problem: LogOnce,
    imds_problem: LogOnce,
    imds_retries: Retries,
}

impl LifecycleController {
    /// A controller of the real group that has asked nothing yet. `shipping`: the logs that are shipped before a hook is
    /// completed.
    pub fn new(
        setup_watch: SetupWatch,
        handle: Handle,
        health_watch: HealthWatch,
        instance: InstanceId,
        shipping: Option<ShippingHandle>,
    ) -> Self {
        Self::of(Aws::default(), setup_watch, handle, health_watch, instance, shipping)
    }
}

impl<C: Cloud> Controller for LifecycleController<C> {
    const NAME: &'static str = "lifecycle";

    async fn reconcile(&mut self, View { setup, .. }: &View) -> Wake {
        let Some(settings) = &setup.settings.auto_scaling else {
            self.forget().await;
            return Wake::on_reload();
        };
        self.turn(settings).await;
        let pause = jittered_ms(settings.poll_seconds.saturating_mul(1000), clock::random());
        Wake::on_reload().after(Duration::from_millis(pause))
    }
}

impl<C: Cloud> LifecycleController<C> {
    fn of(
        cloud: C,
        setup_watch: SetupWatch,
        handle: Handle,
        health_watch: HealthWatch,
        instance: InstanceId,
        shipping: Option<ShippingHandle>,
    ) -> Self {
        Self {
            setup_watch,
            handle,
            health_watch,
            instance,
            shipping,
            cloud,
            is_reached: false,
            last: None,
            asked: None,
            announced: Announced::default(),
            clocks: None,
            prefetch: None,
            beaten_ms: BTreeMap::new(),
            completions: Retries::new(hooks::BETWEEN_COMPLETIONS),
            problem_log: LogOnce::default(),
            hook_problem: LogOnce::default(),
            imds_problem: LogOnce::default(),
            imds_retries: Retries::new(look::AFTER_FAILURES),
        }
    }

    /// Clears the lifecycle journal: when the group is no longer followed, its old wishes must not hold back
    /// deployments.
    async fn forget(&mut self) {
        self.cloud.leave();
        (self.is_reached, self.last, self.prefetch) = (false, None, None);
        let journal = self.journal();
        let close = journal.action.map(|action| Change::Close(action.entry, "auto_scaling was turned off".to_owned()));
        let free = (journal.instance_state != InstanceState::InService)
            .then_some(Change::Found(InstanceState::InService, None));
        let silent = (!journal.announced.is_empty()).then_some(Change::Announced(Vec::new()));
        for change in close.into_iter().chain(free).chain(silent) {
            if !self.change(change).await {
                return;
            }
        }
    }

    async fn turn(&mut self, settings: &AutoScalingSettings) {
        if !self.reach().await {
            return;
        }
        self.read_clocks().await;
        let look = self.look(settings).await;
        for _ in 0..MOST_CHANGES {
            let journal = self.journal();
            match decide(&journal, &look) {
                Next::Nothing => return,
                Next::Change(change) => {
                    if !self.change(change).await {
                        return;
                    }
                }
                Next::OpenForHooks(kind) => {
                    let Some(opening) = self.opening(kind, look.group.as_deref(), settings).await else { return };
                    if !self.change(Change::Open(opening)).await {
                        return;
                    }
                }
                Next::Work => {
                    let Some(action) = journal.action else { return };
                    self.keep_alive(&action).await;
                    let Some(decided) = self.work(&action, settings).await else { return };
                    log::info!(action = action.kind.words(), result = decided.result.word(); "{} is decided: {}, {}", action.kind.words(), decided.result.word(), decided.why);
                    self.ship_logs(&action, &decided).await;
                    if !self.change(Change::Decide(action.entry, decided)).await {
                        return;
                    }
                }
                Next::Complete => {
                    let Some(action) = journal.action else { return };
                    return self.complete(&action).await;
                }
            }
        }
    }

    fn journal(&self) -> Lifecycle {
        self.handle.state().borrow().lifecycle.clone()
    }

    /// Persists a change. Returns false when the agent is stopping: the caller then does nothing more.
    async fn change(&mut self, change: Change) -> bool {
        match &change {
            Change::Open(opening) => {
                self.beaten_ms.clear();
                self.completions.succeeded();
                let hooks: Vec<&str> = opening.hooks.iter().map(|hook| hook.name.as_str()).collect();
                let (action, hooks) = (opening.kind.words(), hooks.join(", "));
                log::info!(action, hooks = hooks.as_str(); "the host's lifecycle: {action} began (hooks: {hooks})");
            }
            Change::Close(_, how) => log::info!("the host's lifecycle: ended: {how}"),
            Change::Found(instance_state, _) => {
                log::info!(instance_state:?; "the host's lifecycle: the instance is {}", instance_state.words());
            }
            Change::Handled(id) => log::warn!(notice = id.as_str(); "EC2 takes this instance away (notice {id})"),
            Change::Announced(notices) => notices::tell(&self.journal().announced, notices),
            Change::ClockSet(by_ms) => {
                log::warn!(milliseconds = *by_ms; "the clock was set by {} seconds", *by_ms / 1000)
            }
            Change::Hurry(_) | Change::Decide(..) | Change::Completed(..) | Change::UnknownToGroup(..) => {}
        }
        self.handle.ask(Event::Lifecycle(change)).await.is_ok()
    }

    /// Makes the clients if the configuration has changed. Returns false when there are none.
    async fn reach(&mut self) -> bool {
        let setup = self.setup_watch.now();
        if !self.cloud.is_of(&setup) {
            match self.cloud.reach(&setup).await {
                Ok(cloud) => (self.cloud, self.is_reached) = (cloud, true),
                Err(failure) => self.tell(&format!("the Auto Scaling group is not obeyed: {}", failure.one_line())),
            }
        }
        self.is_reached
    }

    /// After hibernation the host asks again where it is; after a clock was set, times in the journal move with it.
    async fn read_clocks(&mut self) {
        let now = clock::clocks();
        let passage = now.zip(self.clocks).map(|(now, before)| now.since(before)).unwrap_or_default();
        self.clocks = now;
        if passage.slept_ms > 0 {
            log::info!(milliseconds = passage.slept_ms; "the host slept for {} seconds; the group and the metadata service are asked anew", passage.slept_ms / 1000);
        }
        if passage != Passage::default() {
            (self.last, self.asked) = (None, None);
            self.imds_retries.hurry();
            self.completions.hurry();
            self.announced = Announced::default();
            self.beaten_ms.clear();
        }
        if passage.stepped_ms != 0 {
            self.change(Change::ClockSet(passage.stepped_ms)).await;
        }
    }

    /// Ships the logs, so that they are not lost with the instance; a service that is away delays the hook only
    /// briefly.
    async fn ship_logs(&self, action: &Action, decided: &Decided) {
        if let Some(shipping) = self.shipping.as_ref().filter(|_| wants_flush(action, decided)) {
            shipping.flush(Duration::from_millis(flush_ms(action, clock::now_ms()))).await;
        }
    }

    fn tell(&mut self, problem: &str) {
        if self.problem_log.differs(problem) {
            log::warn!("{problem}");
        }
    }

    async fn ask(&self, event: Event) -> Result<(), AskError> {
        self.handle.ask(event).await
    }
}

/// Logs a fault of the group, unless it is the last one again.
fn tell_fault(log: &mut LogOnce, what: &str, fault: &Fault) {
    if log.differs(&format!("{what}: {}", fault.without_request_ids())) {
        log::warn!("{what}: {fault}");
    }
}

/// The setup as the work needs it.
type Setup = Arc<crate::setup::Setup>;

#[cfg(test)]
mod tests;
