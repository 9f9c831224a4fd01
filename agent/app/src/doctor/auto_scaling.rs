//! The permissions for lifecycle hooks. Each call is made as the daemon makes it, and none of them changes anything.

use hostler_aws::asg::{Answer, AutoScaling, GroupHook};
use hostler_aws::fault::{Fault, FaultKind};
use hostler_core::config::settings::AutoScalingSettings;
use hostler_core::doctor::{Code, Finding};
use hostler_core::ids::InstanceId;
use hostler_core::lifecycle::HookOutcome;

use super::{clients, refused};
use crate::setup::Setup;

/// No group has a hook of this name, so no hook receives the call. AWS checks the permission first.
const NO_HOOK: &str = "hostler-doctor/no-such-hook";

pub(super) async fn examine(
    setup: &Setup,
    settings: &AutoScalingSettings,
    instance: &InstanceId,
    findings: &mut Vec<Finding>,
) {
    let Some(clients) = clients(setup, Code::AutoScaling, findings) else { return };
    let service = AutoScaling::of_clients(&clients).await;
    let member = match service.describe(instance.as_str()).await {
        Ok(Some(member)) => member,
        Ok(None) => {
            let message = "this instance is in no Auto Scaling group; its hooks are completed once it is";
            return findings.push(Finding::info(Code::AutoScaling, message));
        }
        Err(fault) => return findings.push(problem("where this instance is cannot be asked", &fault)),
    };
    let place = format!("{} has this instance in {}", member.group, member.state);
    findings.push(Finding::ok(Code::AutoScaling, place));
    match service.hooks(&member.group).await {
        Ok(found) => findings.extend(missing(settings, &member.group, &found)),
        Err(fault) if matches!(fault.kind, FaultKind::Denied(_)) => {
            let remedy = fault.advice().unwrap_or_default();
            let message = format!("hooks are completed, and kept alive more often than needed: {fault}");
            findings.push(Finding::warning(Code::AutoScaling, message, remedy));
        }
        Err(fault) => findings.push(problem("the group's hooks cannot be read", &fault)),
    }
    let (group, instance) = (member.group.as_str(), instance.as_str());
    let heartbeat = service.heartbeat(group, NO_HOOK, instance).await;
    findings.push(may("hooks may be kept alive", "hooks cannot be kept alive", heartbeat));
    let completion = service.complete(group, NO_HOOK, instance, HookOutcome::Continue.word()).await;
    findings.push(may("hooks may be completed", "hooks cannot be completed", completion));
}

/// Hooks that the configuration names and the group lacks; usually a spelling mistake. The agent never waits for them.
fn missing(settings: &AutoScalingSettings, group: &str, found: &[GroupHook]) -> Vec<Finding> {
    let named = settings.launch_hooks.iter().map(|name| (name, true));
    let named = named.chain(settings.terminate_hooks.iter().map(|name| (name, false)));
    let absent = named.filter(|(name, launching)| !found.iter().any(|h| h.name == **name && h.launching == *launching));
    let finding = |(name, launching): (&String, bool)| {
        let transition = if launching { "launch" } else { "termination" };
        let message = format!("{group} has no {transition} hook named {name}");
        let remedy = "add it to the group, or correct auto_scaling: in the configuration";
        Finding::warning(Code::AutoScaling, message, remedy)
    };
    absent.map(finding).collect()
}

/// The service says that the action does not exist only to callers with the permission.
fn may(allowed: &str, forbidden: &str, answer: Result<Answer, Fault>) -> Finding {
    match answer {
        Ok(_) => Finding::ok(Code::AutoScaling, allowed),
        Err(fault) if fault.code.as_deref() == Some("ValidationError") => Finding::ok(Code::AutoScaling, allowed),
        Err(fault) => problem(forbidden, &fault),
    }
}

fn problem(what: &str, fault: &Fault) -> Finding {
    refused(Code::AutoScaling, format!("{what}: {fault}"), fault)
}
