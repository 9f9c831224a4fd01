//! The lifecycle hooks that wait: opened, kept alive, completed.

use hostler_aws::asg::Answer;
use hostler_aws::fault::FaultKind;
use hostler_core::config::settings::AutoScalingSettings;
use hostler_core::lifecycle::{Action, ActionKind, Change, Hook, Opening, heartbeat_is_due};
use hostler_core::retry::Backoff;
use hostler_host::clock;

use super::cloud::Cloud;
use super::{LifecycleController, tell_fault};

/// Between two tries of a completion (docs/protocols/auto-scaling.md#completion).
pub(super) const BETWEEN_COMPLETIONS: Backoff = Backoff { first_ms: 5000, most_ms: 30_000 };
/// For hooks that the agent may not look up: the shortest timeout of a hook, and the longest possible wait, in seconds.
const UNKNOWN_TIMES: (u64, u64) = (30, 172_800);

impl<C: Cloud> LifecycleController<C> {
    /// The hooks to open: the group's hooks that the configuration names.
    pub(super) async fn opening(
        &mut self,
        kind: ActionKind,
        group: Option<&str>,
        settings: &AutoScalingSettings,
    ) -> Option<Opening> {
        let launching = kind.launches();
        let named = if launching { &settings.launch_hooks } else { &settings.terminate_hooks };
        let group = group?.to_owned();
        let hook = |name: &String, heartbeat_seconds, global_seconds| Hook {
            name: name.clone(),
            heartbeat_seconds,
            global_seconds,
            completed: false,
            unknown_answers: 0,
        };
        let hooks: Vec<Hook> = match self.cloud.hooks(&group).await {
            Ok(found) => {
                let found = found.iter().filter(|h| h.launching == launching && named.contains(&h.name));
                found.map(|h| hook(&h.name, h.heartbeat_seconds, h.global_seconds)).collect()
            }
            Err(fault) if matches!(fault.kind, FaultKind::Denied(_)) => {
                tell_fault(&mut self.hook_problem, "the hooks' times are not known", &fault);
                named.iter().map(|name| hook(name, UNKNOWN_TIMES.0, UNKNOWN_TIMES.1)).collect()
            }
            Err(fault) => {
                tell_fault(&mut self.hook_problem, "the group's hooks cannot be read", &fault);
                return None;
            }
        };
        Some(Opening::for_hooks(kind, group, hooks, settings.launch_timeout_seconds, clock::now_ms()))
    }

    pub(super) async fn keep_alive(&mut self, action: &Action) {
        let Some(group) = &action.group else { return };
        let now_ms = clock::now_ms();
        for hook in &action.hooks {
            let last_ms = self.beaten_ms.get(&hook.name).copied();
            if !heartbeat_is_due(action, hook, last_ms, now_ms, clock::random()) {
                continue;
            }
            match self.cloud.heartbeat(group, &hook.name, self.instance.as_str()).await {
                // The action has not begun or is over: the next look shows which.
                Ok(Answer::Taken | Answer::NoActiveAction) => {
                    self.hook_problem.ends();
                    self.beaten_ms.insert(hook.name.clone(), now_ms);
                }
                Err(fault) => {
                    return tell_fault(
                        &mut self.hook_problem,
                        &format!("the hook {} was not kept alive", hook.name),
                        &fault,
                    );
                }
            }
        }
    }

    /// Completes the open hooks. The journal has the result already, so that a restart sends the same one.
    pub(super) async fn complete(&mut self, action: &Action) {
        let (Some(decided), Some(group)) = (&action.decided, &action.group) else { return };
        if !self.completions.is_due() {
            return;
        }
        for hook in action.hooks.iter().filter(|hook| hook.is_open()) {
            let (name, word) = (hook.name.as_str(), decided.result.word());
            let change = match self.cloud.complete(group, name, self.instance.as_str(), word).await {
                Ok(Answer::Taken) => {
                    self.hook_problem.ends();
                    log::info!(hook = name, result = word; "the lifecycle hook {name} is completed with {word}: {}", decided.why);
                    Change::Completed(action.entry, name.to_owned())
                }
                Ok(Answer::NoActiveAction) => Change::UnknownToGroup(action.entry, name.to_owned()),
                Err(fault) => {
                    tell_fault(&mut self.hook_problem, &format!("the hook {name} was not completed"), &fault);
                    self.completions.failed();
                    return;
                }
            };
            if !self.change(change).await {
                return;
            }
        }
        // The next look shows whether the group has taken it.
        self.completions.failed();
    }
}
