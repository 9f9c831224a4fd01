//! Whether this host can be taken out of service as configured, and whether it is out of service now. The calls that
//! read are tried, those that change something are not.

use std::sync::Arc;

use hostler_aws::asg::AutoScaling;
use hostler_aws::clients::Clients;
use hostler_aws::elb::LoadBalancing;
use hostler_aws::fault::Fault;
use hostler_core::config::settings::GroupSettings;
use hostler_core::doctor::{Code, Finding};
use hostler_core::ids::InstanceId;
use hostler_core::lifecycle::LifecycleState;
use hostler_core::traffic::{GroupFacts, TrafficMode, Way, choose, common_misfit};
use hostler_host::{clock, ledger};

use super::{aws_misconfigured, clients, refused};
use crate::failure::chain;
use crate::setup::Setup;
use crate::state_file::read_state;

/// Checks the traffic settings. `instance` is this host, if it is known.
pub async fn examine(setup: &Setup, instance: Option<&InstanceId>, findings: &mut Vec<Finding>) {
    findings.extend(out_of_service(setup));
    let obeys = setup.settings.auto_scaling.is_some();
    let groups: Vec<&GroupSettings> =
        setup.settings.groups.iter().filter(|group| group.traffic.acts() || obeys).collect();
    let (Some(instance), false) = (instance, groups.is_empty()) else { return };
    let Some(clients) = clients(setup, Code::Traffic, findings) else { return };
    let facts = match facts(&clients, instance).await {
        Ok(Ok(facts)) => Some(facts),
        Ok(Err(why)) => {
            findings.push(Finding::info(Code::Traffic, why));
            None
        }
        Err(fault) => return findings.push(denied(&fault)),
    };
    for group in groups {
        of_group(group, facts.as_ref(), &clients, instance, findings).await;
    }
}

fn out_of_service(setup: &Setup) -> Option<Finding> {
    let snapshot = ledger::peek(setup.layout.state(), &setup.limits).ok().flatten()?;
    let state = read_state(&snapshot.state).ok()?;
    let Some(withdrawal) = state.traffic.as_ref().filter(|withdrawal| withdrawal.is_out_of_service()) else {
        return Some(Finding::ok(Code::OutOfService, "no deployment has left this host out of service"));
    };
    let message = format!("since {}: {withdrawal}", clock::local_time(withdrawal.since_ms));
    if state.groups.get(&withdrawal.group.id()).is_some_and(|group| group.active.is_some()) {
        return Some(Finding::info(Code::OutOfService, format!("{message}; the deployment goes on")));
    }
    let remedy = match withdrawal.may_return() {
        true => "hostler tries again by itself while it runs",
        false => "deploy what works: a release with a higher sequence, hostler deploy, or hostler rollback",
    };
    Some(Finding::warning(Code::OutOfService, message, remedy))
}

fn denied(fault: &Fault) -> Finding {
    refused(Code::Traffic, fault.to_string(), fault)
}

/// The host's Auto Scaling group, or the reason why there is none.
async fn facts(clients: &Arc<Clients>, instance: &InstanceId) -> Result<Result<GroupFacts, String>, Fault> {
    let service = AutoScaling::of_clients(clients).await;
    let Some(member) = service.describe(instance.as_str()).await? else {
        return Ok(Err("this host is in no Auto Scaling group".to_owned()));
    };
    let mut facts = service.facts(&member.group).await?;
    if LifecycleState::read(&member.state) == LifecycleState::Standby {
        // The numbers as they are while the host serves.
        facts.desired = facts.desired.saturating_add(1);
    }
    Ok(Ok(facts))
}

async fn of_group(
    group: &GroupSettings,
    facts: Option<&GroupFacts>,
    clients: &Clients,
    instance: &InstanceId,
    findings: &mut Vec<Finding>,
) {
    let (settings, key) = (&group.traffic, &group.key);
    let way = match choose(settings, facts) {
        Ok(way) => way,
        Err(misfit) => {
            let message = format!("{key}: {}", misfit.problem);
            return findings.push(Finding::error(Code::Traffic, message, misfit.remedy));
        }
    };
    let common = facts.and_then(common_misfit).filter(|_| settings.mode == TrafficMode::None);
    if let Some(misfit) = common {
        findings.push(Finding::warning(Code::Traffic, format!("{key}: {}", misfit.problem), misfit.remedy));
    }
    findings.push(match way {
        Way::Nothing => Finding::info(Code::Traffic, format!("{key}: deployments leave traffic to their scripts")),
        Way::InPlace => Finding::ok(Code::Traffic, format!("{key}: only the application status checks are suppressed")),
        Way::Standby { .. } => Finding::ok(Code::Traffic, format!("{key}: deployments can go through Standby")),
        Way::TargetGroups(arns) => match registrations(clients, instance, &arns).await {
            Ok(0) => {
                let message = format!("{key}: this host is in none of its target groups ({})", arns.join(", "));
                Finding::warning(
                    Code::Traffic,
                    message,
                    "name the right ones in traffic: target_groups, or register it",
                )
            }
            Ok(count) => Finding::ok(Code::Traffic, format!("{key}: registrations in target groups: {count}")),
            Err(finding) => finding,
        },
    });
}

async fn registrations(clients: &Clients, instance: &InstanceId, arns: &[String]) -> Result<usize, Finding> {
    let service =
        LoadBalancing::of_clients(clients).await.map_err(|error| aws_misconfigured(Code::Traffic, chain(&error)))?;
    let mut count = 0;
    for arn in arns {
        let found = service.registrations(arn, instance.as_str()).await.map_err(|fault| denied(&fault))?;
        count += found.iter().filter(|(_, health)| health.is_registered()).count();
        service.deregistration_delay(arn).await.map_err(|fault| denied(&fault))?;
    }
    Ok(count)
}
