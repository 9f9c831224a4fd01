//! Obeys the Auto Scaling group and EC2: one task that looks, keeps hooks alive and completes them. The decisions are
//! core's, the work is the engine's.

mod look;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostler_aws::asg::{Answer, AutoScaling};
use hostler_aws::fault::FaultKind;
use hostler_aws::imds::{Imds, ImdsSettings};
use hostler_core::config::settings::AutoScalingSettings;
use hostler_core::ids::InstanceId;
use hostler_core::lifecycle::{
    Action, ActionKind, Change, Current, Hook, Lifecycle, MARGIN_MS, Next, Opening, Posture, Target, decide,
    heartbeat_is_due,
};
use hostler_core::machine::Event;
use hostler_core::retry::{Backoff, jittered_ms};
use hostler_host::clock;
use tokio::time::Instant;

use crate::engine::{AskError, Handle};
use crate::failure::Failure;
use crate::health::Board;
use crate::setup::Live;

/// Changes of the journal that one look may lead to.
const MOST_CHANGES: usize = 16;
/// Between two tries of a completion (specs/asg-lifecycle.md §12).
const BETWEEN_COMPLETIONS: Backoff = Backoff { first_ms: 5000, most_ms: 30_000 };
/// A group that nothing is known of costs one question in so many seconds.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(15);
/// For hooks that may not be looked up: what the shortest hook has, and the longest that any may take.
const UNKNOWN_TIMES: (u64, u64) = (30, 172_800);

/// What obeys. Everything that must survive is in the engine's journal.
pub struct Attendant {
    live: Live,
    handle: Handle,
    board: Board,
    instance: InstanceId,
    imds: Option<Imds>,
    group: AutoScaling,
    /// The last answer of the group, and the target that it was asked for.
    last: Option<(Option<Target>, Current)>,
    asked: Option<Instant>,
    /// By hook, when it was kept alive last.
    beaten_ms: BTreeMap<String, u64>,
    completions: u32,
    complete_after: Option<Instant>,
    told: Option<String>,
    imds_failures: u32,
    imds_rests_until: Option<Instant>,
}

impl Attendant {
    /// Finds out how AWS is reached; `None` where the configuration does not ask for it.
    ///
    /// # Errors
    /// When certificates, proxy or metadata address cannot be used.
    pub async fn new(live: Live, handle: Handle, board: Board, instance: InstanceId) -> Result<Option<Self>, Failure> {
        let setup = live.now();
        if setup.settings.auto_scaling.is_none() {
            forget(&handle).await;
            return Ok(None);
        }
        let clients = setup.stores.clients()?;
        let group = AutoScaling::of_clients(&clients).await;
        let variable = |name: &str| std::env::var(name).ok();
        let imds = match ImdsSettings::from_environment(variable).and_then(Imds::new) {
            Ok(imds) => Some(imds),
            Err(fault) => {
                log::warn!("the group's wishes are seen late, by its own API alone: {fault}");
                None
            }
        };
        Ok(Some(Self {
            live,
            handle,
            board,
            instance,
            imds,
            group,
            last: None,
            asked: None,
            beaten_ms: BTreeMap::new(),
            completions: 0,
            complete_after: None,
            told: None,
            imds_failures: 0,
            imds_rests_until: None,
        }))
    }

    /// Obeys until it is dropped.
    pub async fn attend(mut self) {
        loop {
            let Some(settings) = self.live.now().settings.auto_scaling.clone() else {
                // Turned off by a reload.
                self.live.changed().await;
                continue;
            };
            self.turn(&settings).await;
            let pause = jittered_ms(settings.poll_seconds.saturating_mul(1000), clock::random());
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One look and what follows from it. The first one comes before anything is deployed: a host in the warm pool must
    /// not start anything.
    pub async fn first_turn(&mut self) {
        if let Some(settings) = self.live.now().settings.auto_scaling.clone() {
            self.turn(&settings).await;
        }
    }

    async fn turn(&mut self, settings: &AutoScalingSettings) {
        let look = self.look().await;
        for _ in 0..MOST_CHANGES {
            let journal = self.journal();
            match decide(&journal, &look) {
                Next::Rest => return,
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

    /// Persists a change. False when the agent is stopping: nothing more is done then.
    async fn change(&mut self, change: Change) -> bool {
        match &change {
            Change::Open(opening) => {
                self.beaten_ms.clear();
                (self.completions, self.complete_after) = (0, None);
                let hooks: Vec<&str> = opening.hooks.iter().map(|hook| hook.name.as_str()).collect();
                log::info!(action = opening.kind.words(), hooks = hooks.join(",").as_str(); "the host's lifecycle: begun");
            }
            Change::Close(_, how) => log::info!("the host's lifecycle: ended: {how}"),
            Change::Found(posture, _) => log::info!(posture:?; "the host's lifecycle: another posture"),
            Change::Handled(id) => log::warn!(notice = id.as_str(); "EC2 takes this instance away"),
            Change::Hurry(_) | Change::Decide(..) | Change::Completed(..) | Change::UnknownToGroup(..) => {}
        }
        self.handle.ask(Event::Lifecycle(change)).await.is_ok()
    }

    /// What is opened for a hook that waits: those of the group's hooks that the configuration names.
    async fn opening(
        &mut self,
        kind: ActionKind,
        group: Option<&str>,
        settings: &AutoScalingSettings,
    ) -> Option<Opening> {
        let launching = matches!(kind, ActionKind::Launch | ActionKind::Prepare);
        let named = if launching { &settings.launch_hooks } else { &settings.terminate_hooks };
        let group = group?.to_owned();
        let hook = |name: &String, heartbeat_seconds, global_seconds| Hook {
            name: name.clone(),
            heartbeat_seconds,
            global_seconds,
            completed: false,
            unknown_answers: 0,
        };
        let hooks: Vec<Hook> = match self.group.hooks(&group).await {
            Ok(found) => {
                let found = found.iter().filter(|h| h.launching == launching && named.contains(&h.name));
                found.map(|h| hook(&h.name, h.heartbeat_seconds, h.global_seconds)).collect()
            }
            Err(fault) if matches!(fault.kind, FaultKind::Denied(_)) => {
                self.tell(&format!("the hooks' times are not known: {fault}"));
                named.iter().map(|name| hook(name, UNKNOWN_TIMES.0, UNKNOWN_TIMES.1)).collect()
            }
            Err(fault) => {
                self.tell(&format!("the group's hooks cannot be read: {fault}"));
                return None;
            }
        };
        let now_ms = clock::now_ms();
        let global_ms = hooks.iter().map(|hook| hook.global_seconds.saturating_mul(1000)).min();
        let wished_ms = launching.then_some(settings.launch_timeout_seconds.saturating_mul(1000));
        let most_ms = [global_ms, wished_ms].into_iter().flatten().min();
        let deadline_ms = most_ms.map(|most| now_ms.saturating_add(most.saturating_sub(MARGIN_MS)));
        Some(Opening { kind, group: Some(group), hooks, deadline_ms })
    }

    async fn keep_alive(&mut self, action: &Action) {
        let Some(group) = &action.group else { return };
        let now_ms = clock::now_ms();
        for hook in &action.hooks {
            let last_ms = self.beaten_ms.get(&hook.name).copied();
            if !heartbeat_is_due(action, hook, last_ms, now_ms, clock::random()) {
                continue;
            }
            match self.group.heartbeat(group, &hook.name, self.instance.as_str()).await {
                // Not there yet, or over: the next look says which.
                Ok(Answer::Taken | Answer::NoActiveAction) => {
                    self.beaten_ms.insert(hook.name.clone(), now_ms);
                }
                Err(fault) => {
                    let text = format!("the hook {} was not kept alive: {fault}", hook.name);
                    return self.tell(&text);
                }
            }
        }
    }

    /// Completes what is open. The result is in the journal already, so that a restart says the same.
    async fn complete(&mut self, action: &Action) {
        let (Some(decided), Some(group)) = (&action.decided, &action.group) else { return };
        if self.complete_after.is_some_and(|at| Instant::now() < at) {
            return;
        }
        for hook in action.hooks.iter().filter(|hook| hook.is_open()) {
            let (name, word) = (hook.name.as_str(), decided.result.word());
            let change = match self.group.complete(group, name, self.instance.as_str(), word).await {
                Ok(Answer::Taken) => {
                    log::info!(hook = name, result = word; "completed a hook: {}", decided.why);
                    Change::Completed(action.entry, name.to_owned())
                }
                Ok(Answer::NoActiveAction) => Change::UnknownToGroup(action.entry, name.to_owned()),
                Err(fault) => {
                    self.tell(&format!("the hook {name} was not completed: {fault}"));
                    self.completions += 1;
                    let wait = BETWEEN_COMPLETIONS.wait_ms(self.completions, clock::random());
                    self.complete_after = Some(Instant::now() + Duration::from_millis(wait));
                    return;
                }
            };
            if !self.change(change).await {
                return;
            }
        }
        self.completions += 1;
        let wait = BETWEEN_COMPLETIONS.wait_ms(self.completions, clock::random());
        self.complete_after = Some(Instant::now() + Duration::from_millis(wait));
    }

    /// Each problem once in a row.
    fn tell(&mut self, problem: &str) {
        if self.told.as_deref() != Some(problem) {
            log::warn!("{problem}");
        }
        self.told = Some(problem.to_owned());
    }

    async fn ask(&self, event: Event) -> Result<(), AskError> {
        self.handle.ask(event).await
    }
}

/// What a group wanted once holds nobody back when it is not obeyed any more.
async fn forget(handle: &Handle) {
    let journal = handle.state().borrow().lifecycle.clone();
    let close = journal.action.map(|action| Change::Close(action.entry, "auto_scaling was turned off".to_owned()));
    let free = (journal.posture != Posture::Free).then_some(Change::Found(Posture::Free, None));
    for change in close.into_iter().chain(free) {
        // An engine that is gone asks again at its next start.
        let _ = handle.ask(Event::Lifecycle(change)).await;
    }
}

/// The setup as the work needs it.
type Setup = Arc<crate::setup::Setup>;
