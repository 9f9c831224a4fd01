//! Auto Scaling: where this instance is in its group, and the hooks that wait for it
//! (<https://docs.aws.amazon.com/autoscaling/ec2/APIReference/>). No token is needed: group, hook and instance are
//! enough.

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::error::ProvideErrorMetadata;
use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleHook};

use hostler_core::traffic::GroupFacts;

use crate::clients::Clients;
use crate::fault::{Fault, FaultKind};

/// An instance's membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The group.
    pub group: String,
    /// `LifecycleState`, as the group writes it.
    pub state: String,
    /// Whether its `HealthStatus` is not `UNHEALTHY`.
    pub healthy: bool,
}

/// A lifecycle hook of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHook {
    /// Its name.
    pub name: String,
    /// Whether it holds launches; if not, it holds terminations.
    pub launching: bool,
    /// Seconds that one heartbeat buys.
    pub heartbeat_seconds: u64,
    /// Seconds after which no heartbeat helps.
    pub global_seconds: u64,
}

/// The group's answer to a heartbeat or a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The group accepted it.
    Taken,
    /// The hook does not wait for this instance: not yet, no longer, or it never did.
    NoActiveAction,
}

/// The service.
#[derive(Debug, Clone)]
pub struct AutoScaling(Client);

impl AutoScaling {
    /// Uses the SDK's credentials, region and endpoint.
    pub async fn of_clients(clients: &Clients) -> Self {
        Self(Client::new(clients.sdk().await))
    }

    /// The group and state of an instance; `None` when it is in no group.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn describe(&self, instance: &str) -> Result<Option<Member>, Fault> {
        let answer = self.0.describe_auto_scaling_instances().instance_ids(instance).send().await;
        let answer = answer.map_err(|e| Fault::of(e, "autoscaling:DescribeAutoScalingInstances"))?;
        let member = answer.auto_scaling_instances().iter().find(|found| found.instance_id() == Some(instance));
        Ok(member.and_then(|found| {
            let (group, state) = (found.auto_scaling_group_name()?.to_owned(), found.lifecycle_state()?.to_owned());
            let healthy = !found.health_status().is_some_and(|status| status.eq_ignore_ascii_case("unhealthy"));
            Some(Member { group, state, healthy })
        }))
    }

    /// The instances of a group that are in service, each with its availability zone.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn in_service(&self, group: &str) -> Result<Vec<(String, String)>, Fault> {
        let found = self.group(group).await?;
        let instances = found.iter().flat_map(|group| group.instances());
        let serves = instances.filter(|found| found.lifecycle_state().is_some_and(|s| s.as_str() == "InService"));
        let named = serves.filter_map(|found| {
            Some((found.instance_id()?.to_owned(), found.availability_zone().unwrap_or_default().to_owned()))
        });
        Ok(named.collect())
    }

    /// The hooks of a group.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn hooks(&self, group: &str) -> Result<Vec<GroupHook>, Fault> {
        let answer = self.0.describe_lifecycle_hooks().auto_scaling_group_name(group).send().await;
        let answer = answer.map_err(|e| Fault::of(e, "autoscaling:DescribeLifecycleHooks"))?;
        let seconds = |value: Option<i32>, otherwise| value.and_then(|v| u64::try_from(v).ok()).unwrap_or(otherwise);
        let hook = |hook: &LifecycleHook| {
            let heartbeat_seconds = seconds(hook.heartbeat_timeout(), 3600);
            Some(GroupHook {
                name: hook.lifecycle_hook_name()?.to_owned(),
                launching: hook.lifecycle_transition()?.ends_with("INSTANCE_LAUNCHING"),
                heartbeat_seconds,
                global_seconds: seconds(hook.global_timeout(), (heartbeat_seconds * 100).min(172_800)),
            })
        };
        Ok(answer.lifecycle_hooks().iter().filter_map(hook).collect())
    }

    /// Sends a heartbeat, which gives a hook more time.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn heartbeat(&self, group: &str, hook: &str, instance: &str) -> Result<Answer, Fault> {
        let request = self.0.record_lifecycle_action_heartbeat().auto_scaling_group_name(group);
        let sent = request.lifecycle_hook_name(hook).instance_id(instance).send().await;
        answer(sent.map(drop), "autoscaling:RecordLifecycleActionHeartbeat")
    }

    /// Describes a group.
    ///
    /// # Errors
    /// A [`Fault`]; absent where there is no such group.
    pub async fn facts(&self, group: &str) -> Result<GroupFacts, Fault> {
        let found = self.group(group).await?;
        found
            .as_ref()
            .map(facts)
            .ok_or_else(|| Fault::without_answer(FaultKind::Absent, format!("there is no Auto Scaling group {group}")))
    }

    async fn group(&self, name: &str) -> Result<Option<AutoScalingGroup>, Fault> {
        let answer = self.0.describe_auto_scaling_groups().auto_scaling_group_names(name).send().await;
        let answer = answer.map_err(|e| Fault::of(e, "autoscaling:DescribeAutoScalingGroups"))?;
        let groups = answer.auto_scaling_groups.unwrap_or_default();
        Ok(groups.into_iter().find(|found| found.auto_scaling_group_name() == Some(name)))
    }

    /// Begins to put an instance into Standby; `lowers_desired_capacity`: the group wants one instance less from then
    /// on.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn enter_standby(&self, group: &str, instance: &str, lowers_desired_capacity: bool) -> Result<(), Fault> {
        let request = self.0.enter_standby().auto_scaling_group_name(group).instance_ids(instance);
        let sent = request.should_decrement_desired_capacity(lowers_desired_capacity).send().await;
        sent.map(drop).map_err(|e| Fault::of(e, "autoscaling:EnterStandby"))
    }

    /// Begins to put an instance out of Standby, back into service.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn exit_standby(&self, group: &str, instance: &str) -> Result<(), Fault> {
        let sent = self.0.exit_standby().auto_scaling_group_name(group).instance_ids(instance).send().await;
        sent.map(drop).map_err(|e| Fault::of(e, "autoscaling:ExitStandby"))
    }

    /// Reports an instance as unhealthy; the group replaces it once its grace period is over.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn set_unhealthy(&self, instance: &str) -> Result<(), Fault> {
        let request = self.0.set_instance_health().instance_id(instance).health_status("Unhealthy");
        let sent = request.should_respect_grace_period(true).send().await;
        sent.map(drop).map_err(|e| Fault::of(e, "autoscaling:SetInstanceHealth"))
    }

    /// Completes a hook with `CONTINUE` or `ABANDON`.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn complete(&self, group: &str, hook: &str, instance: &str, result: &str) -> Result<Answer, Fault> {
        let request = self.0.complete_lifecycle_action().auto_scaling_group_name(group).lifecycle_hook_name(hook);
        let sent = request.instance_id(instance).lifecycle_action_result(result).send().await;
        answer(sent.map(drop), "autoscaling:CompleteLifecycleAction")
    }
}

fn facts(group: &AutoScalingGroup) -> GroupFacts {
    let number = |value: Option<i32>| value.and_then(|v| u64::try_from(v).ok()).unwrap_or_default();
    let mut facts = GroupFacts {
        name: group.auto_scaling_group_name().unwrap_or_default().to_owned(),
        min: number(group.min_size()),
        max: number(group.max_size()),
        desired: number(group.desired_capacity()),
        // A list, because the type may name several: `EC2,ELB`.
        elb_health_checks: group.health_check_type().is_some_and(|kinds| kinds.split(',').any(|kind| kind == "ELB")),
        launch_suspended: group.suspended_processes().iter().any(|found| found.process_name() == Some("Launch")),
        target_groups: group.target_group_arns().to_vec(),
        classic_load_balancers: group.load_balancer_names().to_vec(),
        other_sources: Vec::new(),
    };
    for source in group.traffic_sources() {
        let Some(identifier) = source.identifier() else { continue };
        let list = match source.r#type() {
            Some("elb") => &mut facts.classic_load_balancers,
            Some("elbv2") => &mut facts.target_groups,
            _ if identifier.contains(":elasticloadbalancing:") => &mut facts.target_groups,
            _ => &mut facts.other_sources,
        };
        if !list.iter().any(|known| known == identifier) {
            list.push(identifier.to_owned());
        }
    }
    facts
}

type SdkError<E> =
    aws_smithy_runtime_api::client::result::SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>;

/// "No active Lifecycle Action found" comes as a ValidationError and says nothing else about the request.
fn answer<E>(sent: Result<(), SdkError<E>>, action: &'static str) -> Result<Answer, Fault>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let Err(error) = sent else { return Ok(Answer::Taken) };
    let unknown = error.message().is_some_and(|text| text.to_ascii_lowercase().contains("no active lifecycle action"));
    if unknown { Ok(Answer::NoActiveAction) } else { Err(Fault::of(error, action)) }
}
