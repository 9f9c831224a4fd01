//! The work of an action, advanced at each look. Only the engine's state records the progress.

use hostler_core::config::settings::{AutoScalingSettings, GroupSettings};
use hostler_core::health::Colour;
use hostler_core::ids::GroupKey;
use hostler_core::lifecycle::{self, Action, ActionKind, Decided, Launched};
use hostler_core::machine::Event;
use hostler_core::machine::release_decision::Follow;
use hostler_core::machine::state::{Group, Policy};
use hostler_core::machine::stopping::{Stopping, stopping};
use hostler_core::machine_events;
use hostler_host::clock;

use super::cloud::Cloud;
use super::{LifecycleController, Setup};
use crate::health::check_count;
use crate::sources::channel::{self, LookForKeys, PollResult};

impl<C: Cloud> LifecycleController<C> {
    /// Advances the work; returns the result once there is one.
    pub(super) async fn work(&mut self, action: &Action, settings: &AutoScalingSettings) -> Option<Decided> {
        match action.kind {
            ActionKind::Launch => self.launch(action, settings).await,
            ActionKind::Shutdown | ActionKind::ReturnToPool => self.stop(action, settings).await,
            ActionKind::Prepare => {
                let stopped = self.stop(action, settings).await?;
                let why = format!("{}; {}", stopped.why, self.prefetched(action).await?);
                Some(Decided { why, ..stopped })
            }
        }
    }

    async fn stop(&mut self, action: &Action, settings: &AutoScalingSettings) -> Option<Decided> {
        let state = self.handle.state().borrow().clone();
        match stopping(action, &state, settings.abandon_failed_shutdown) {
            Stopping::Ended(decided) if action.kind == ActionKind::Shutdown => {
                self.shut_down(action, decided, settings.abandon_failed_shutdown).await
            }
            Stopping::Ended(decided) => Some(decided),
            Stopping::Waiting => None,
            Stopping::Begin(groups) => {
                let setup = self.setup_watch.now();
                for key in groups {
                    // All other scripts run even if one fails: there is no second chance.
                    let policy = Policy { ignore_application_stop_failures: true, ..setup.settings.policy(&key) };
                    let id = clock::fresh_deployment_id().ok()?;
                    let event = Event::Stop { id, key: key.clone(), policy: Box::new(policy) };
                    if let Err(error) = self.ask(event).await {
                        self.tell(&format!("{key} is not stopped: {error}"));
                    }
                }
                None
            }
        }
    }

    /// Runs the scripts of the machine event Shutdown, once the applications have stopped.
    async fn shut_down(&self, action: &Action, decided: Decided, abandon_failed: bool) -> Option<Decided> {
        let change = machine_events::Change::ShutDown(action.entry, action.deadline_ms);
        if self.handle.state().borrow().machine_events.shut_down != Some(action.entry) {
            self.ask(Event::Machine(change)).await.ok()?;
        }
        let state = self.handle.state().borrow().clone();
        let failures = state.machine_events.shutdown(action.entry)?;
        Some(machine_events::after_shutdown(decided, failures, abandon_failed))
    }

    async fn launch(&mut self, action: &Action, settings: &AutoScalingSettings) -> Option<Decided> {
        let setup = self.setup_watch.now();
        let mut found = Vec::new();
        for group in &setup.settings.groups {
            found.push((group.key.clone(), self.launched(&setup, group).await));
        }
        let late = action.deadline_ms.is_some_and(|at| clock::now_ms() >= at);
        lifecycle::launch(&found, settings.without_release, late)
    }

    async fn launched(&mut self, setup: &Setup, group: &GroupSettings) -> Launched {
        let state = self.handle.state().borrow().clone();
        let known = state.groups.get(&group.key.id());
        if known.is_some_and(|known| known.active.is_some()) {
            return Launched::Waiting;
        }
        let Some(channel) = &group.channel else { return self.healthy(setup, known) };
        let follow = match channel::look(setup, group, channel, &self.handle, None, LookForKeys::ForRelease).await {
            Ok(PollResult::Release { follow: Follow::Deploy, request, .. }) => {
                let Ok(id) = clock::fresh_deployment_id() else { return Launched::Waiting };
                if let Err(error) = self.ask(Event::Deploy { id, request }).await {
                    self.tell(&format!("{} is not deployed: {error}", group.key));
                }
                return Launched::Waiting;
            }
            Ok(PollResult::Release { follow, .. }) => follow,
            Ok(PollResult::Empty | PollResult::Unchanged) => return Launched::NoRelease,
            Err(error) => {
                self.tell(&format!("{channel} cannot be followed: {}", error.into_failure().one_line()));
                return Launched::Waiting;
            }
        };
        match follow {
            Follow::UpToDate | Follow::ByHand(_) => self.healthy(setup, known),
            Follow::Held(_) => Launched::Held,
            Follow::Failed => Launched::Bad(known.map_or_else(String::new, failure)),
            Follow::Deploy | Follow::Busy => Launched::Waiting,
        }
    }

    /// Whether the installed revision is healthy, as far as it has checks.
    fn healthy(&self, setup: &Setup, known: Option<&Group>) -> Launched {
        let Some(installed) = known.and_then(|known| known.installed.as_ref().map(|i| (&known.key, i))) else {
            return Launched::Good;
        };
        let (key, installed): (&GroupKey, _) = installed;
        let checks = check_count(setup, key, Some(installed));
        match self.health_watch.watch().borrow().get(&key.id()) {
            Some(report) if report.colour == Colour::Red => Launched::Bad(report.causes.join("; ")),
            Some(report) if report.is_healthy() => Launched::Good,
            None if checks == 0 => Launched::Good,
            Some(_) | None => Launched::Waiting,
        }
    }
}

fn failure(group: &Group) -> String {
    let failed = group.finished.iter().rev().find_map(|deployment| deployment.failure.as_ref());
    failed.map_or_else(|| "its deployment failed".to_owned(), |f| format!("{} failed: {}", f.event, f.message))
}
