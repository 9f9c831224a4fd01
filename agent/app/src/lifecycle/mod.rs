//! Follows the Auto Scaling group and EC2: one task that looks, keeps hooks alive and completes them. Core makes the
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

use crate::engine::{AskError, Handle};
use crate::health::HealthWatch;
use crate::setup::SetupWatch;
use crate::shipping::ShippingHandle;
use cloud::Cloud;
use notices::Announced;
use prefetch::Prefetch;

/// The most journal changes of one look.
const MOST_CHANGES: usize = 16;
/// The time between two questions about a group of which nothing is known.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(15);

/// The last logged problem: a repeated problem is logged once.
#[derive(Debug, Default)]
struct LogOnce(Option<String>);

impl LogOnce {
    fn tell(&mut self, problem: &str) {
        if self.0.as_deref() != Some(problem) {
            log::warn!("{problem}");
        }
        self.0 = Some(problem.to_owned());
    }

    /// The problem is over.
    fn forget(&mut self) {
        self.0 = None;
    }
}

/// The task that follows the group. Everything that must survive is in the engine's journal.
pub struct LifecycleController {
    setup_watch: SetupWatch,
    handle: Handle,
    health_watch: HealthWatch,
    instance: InstanceId,
    shipping: Option<ShippingHandle>,
    cloud: Option<Arc<Cloud>>,
    /// The group's last answer, and the target state for which it was asked.
    last: Option<(Option<TargetLifecycleState>, LifecycleState)>,
    asked: Option<Instant>,
    announced: Announced,
    clocks: Option<Clocks>,
    prefetch: Option<Prefetch>,
    /// The last heartbeat of each hook.
    beaten_ms: BTreeMap<String, u64>,
    completions: u32,
    complete_after: Option<Instant>,
    problem_log: LogOnce,
    imds_problem: LogOnce,
    imds_failures: u32,
    imds_rests_until: Option<Instant>,
}

impl LifecycleController {
    /// A controller that has asked nothing yet. `shipping`: the logs that are shipped before a hook is completed.
    pub fn new(
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
            cloud: None,
            last: None,
            asked: None,
            announced: Announced::default(),
            clocks: None,
            prefetch: None,
            beaten_ms: BTreeMap::new(),
            completions: 0,
            complete_after: None,
            problem_log: LogOnce::default(),
            imds_problem: LogOnce::default(),
            imds_failures: 0,
            imds_rests_until: None,
        }
    }

    /// Follows the group until it is dropped, while the configuration asks for it.
    pub async fn run(mut self) {
        loop {
            match self.setup_watch.now().settings.auto_scaling.clone() {
                Some(settings) => {
                    self.turn(&settings).await;
                    let pause = jittered_ms(settings.poll_seconds.saturating_mul(1000), clock::random());
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(pause)) => {}
                        () = self.setup_watch.changed() => {}
                    }
                }
                None => {
                    self.forget().await;
                    self.setup_watch.changed().await;
                }
            }
        }
    }

    /// Takes one look and acts on it. The first look comes before any deployment: a host in the warm pool must not
    /// start anything.
    pub async fn first_turn(&mut self) {
        match self.setup_watch.now().settings.auto_scaling.clone() {
            Some(settings) => self.turn(&settings).await,
            None => self.forget().await,
        }
    }

    /// Clears the lifecycle journal: when the group is no longer followed, its old wishes must not hold back
    /// deployments.
    async fn forget(&mut self) {
        (self.cloud, self.last, self.prefetch) = (None, None, None);
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
                    log::info!(action = action.kind.words(), result = decided.result.word(); "decided: {}", decided.why);
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
                (self.completions, self.complete_after) = (0, None);
                let hooks: Vec<&str> = opening.hooks.iter().map(|hook| hook.name.as_str()).collect();
                log::info!(action = opening.kind.words(), hooks = hooks.join(",").as_str(); "the host's lifecycle: begun");
            }
            Change::Close(_, how) => log::info!("the host's lifecycle: ended: {how}"),
            Change::Found(instance_state, _) => {
                log::info!(instance_state:?; "the host's lifecycle: the instance state changed")
            }
            Change::Handled(id) => log::warn!(notice = id.as_str(); "EC2 takes this instance away"),
            Change::Announced(notices) => notices::tell(&self.journal().announced, notices),
            Change::ClockSet(by_ms) => log::warn!(milliseconds = *by_ms; "the clock was set"),
            Change::Hurry(_) | Change::Decide(..) | Change::Completed(..) | Change::UnknownToGroup(..) => {}
        }
        self.handle.ask(Event::Lifecycle(change)).await.is_ok()
    }

    /// Makes the clients if the configuration has changed. Returns false when there are none.
    async fn reach(&mut self) -> bool {
        let setup = self.setup_watch.now();
        if self.cloud.as_ref().is_some_and(|cloud| cloud.is_of(&setup)) {
            return true;
        }
        match Cloud::reach(&setup).await {
            Ok(cloud) => self.cloud = Some(Arc::new(cloud)),
            Err(failure) => self.tell(&format!("the Auto Scaling group is not obeyed: {}", failure.one_line())),
        }
        self.cloud.is_some()
    }

    /// After hibernation the host asks again where it is; after a clock was set, times in the journal move with it.
    async fn read_clocks(&mut self) {
        let now = clock::clocks();
        let passage = now.zip(self.clocks).map(|(now, before)| now.since(before)).unwrap_or_default();
        self.clocks = now;
        if passage.slept_ms > 0 {
            log::info!(milliseconds = passage.slept_ms; "the host slept; the group and the metadata service are asked anew");
        }
        if passage != Passage::default() {
            (self.last, self.asked, self.imds_rests_until, self.complete_after) = (None, None, None, None);
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
        self.problem_log.tell(problem);
    }

    async fn ask(&self, event: Event) -> Result<(), AskError> {
        self.handle.ask(event).await
    }
}

/// The setup as the work needs it.
type Setup = Arc<crate::setup::Setup>;
