//! Out of target groups and back: this instance's own registrations, each with its port.

use std::time::Duration;

use hostler_aws::elb::LoadBalancing;
use hostler_aws::fault::Fault;
use hostler_core::machine::event::WorkFailure;
use hostler_core::traffic::{Next, Target, TargetHealth, deregistered, drained, registered};

use super::patience::{Patience, Seen};
use super::{QUESTION, Services};

/// The longest deregistration delay that a target group can have, in seconds.
const LONGEST_DELAY: u64 = 3600;
/// The extra wait after that delay for connections to drain, in seconds.
const MARGIN: u64 = 60;

#[derive(Debug, Clone, Copy)]
enum Direction {
    Out,
    In,
    /// Neither: waits for connections that still drain.
    Drained,
}

/// The targets of one instance.
struct Targets<'s> {
    service: LoadBalancing,
    instance: &'s str,
}

/// The registrations with which the instance gets requests, or would get them.
pub(super) async fn registrations(services: &Services, arns: &[String]) -> Result<Vec<Target>, WorkFailure> {
    let service = services.load_balancing().await?;
    let mut targets = Vec::new();
    for arn in arns {
        let patience = Patience::new(format!("the targets of {arn}"), QUESTION);
        let found = patience.ask(|| service.registrations(arn, services.instance.as_str())).await?;
        targets.extend(found.into_iter().filter(|(_, health)| health.is_registered()).map(|(target, _)| target));
    }
    Ok(targets)
}

/// Deregisters all targets first, then waits until they have drained.
pub(super) async fn leave(services: &Services, targets: &[Target]) -> Result<(), WorkFailure> {
    let own = Targets { service: services.load_balancing().await?, instance: services.instance.as_str() };
    for target in targets {
        own.begin(target, Direction::Out).await?;
    }
    for target in targets {
        let most = own.drains_within(target).await;
        own.settle(target, Direction::Out, Patience::new(format!("{target} lets its connections drain"), most)).await?;
    }
    Ok(())
}

/// Registers the targets and waits until the load balancers find them healthy; returns warnings for people.
pub(super) async fn enter(services: &Services, targets: &[Target], most: Duration) -> Result<Vec<String>, WorkFailure> {
    let own = Targets { service: services.load_balancing().await?, instance: services.instance.as_str() };
    let (mut there, mut warnings) = (Vec::new(), Vec::new());
    for target in targets {
        // A target whose connections still drain is registered once they have.
        let drained = Patience::new(format!("{target} lets its connections drain"), own.drains_within(target).await);
        own.settle(target, Direction::Drained, drained).await?;
        if own.begin(target, Direction::In).await? {
            there.push(target);
        } else {
            warnings.push(format!("{target} does not exist any more, so that this host is not put back there"));
        }
    }
    for target in there {
        own.settle(target, Direction::In, Patience::new(format!("{target} is healthy"), most)).await?;
    }
    Ok(warnings)
}

impl Targets<'_> {
    /// Sends the request if it is needed, without waiting for its effect. Returns false if the target group does not
    /// exist.
    async fn begin(&self, target: &Target, direction: Direction) -> Result<bool, WorkFailure> {
        let mut patience = Patience::new(format!("an answer about {target}"), QUESTION);
        loop {
            let seen = match self.look(target, direction).await {
                Ok(_) => Seen::So(true),
                Err(fault) if is_absent(&fault) => Seen::So(false),
                Err(fault) => Seen::fault(&fault),
            };
            if let Some(exists) = patience.take(seen).await? {
                return Ok(exists);
            }
        }
    }

    /// Waits for the goal, and repeats the request if it had no effect.
    async fn settle(&self, target: &Target, direction: Direction, mut patience: Patience) -> Result<(), WorkFailure> {
        loop {
            let seen = match self.look(target, direction).await {
                Ok((Next::Done | Next::Gone, _)) => Seen::So(()),
                Ok((Next::Wait | Next::Ask, health)) => Seen::NotYet(health.to_string()),
                Err(fault) if is_absent(&fault) => Seen::So(()),
                Err(fault) => Seen::fault(&fault),
            };
            if patience.take(seen).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Looks, and sends the request if it is due.
    async fn look(&self, target: &Target, direction: Direction) -> Result<(Next, TargetHealth), Fault> {
        let health = self.service.health(target, self.instance).await?;
        let next = match direction {
            Direction::Out => deregistered(&health),
            Direction::In => registered(&health),
            Direction::Drained => drained(&health),
        };
        match (next, direction) {
            (Next::Ask, Direction::Out) => self.service.deregister(target, self.instance).await?,
            (Next::Ask, Direction::In) => self.service.register(target, self.instance).await?,
            _ => {}
        }
        Ok((next, health))
    }

    /// How long connections may drain: the group's attribute, or the longest possible delay if it cannot be read.
    async fn drains_within(&self, target: &Target) -> Duration {
        let delay = self.service.deregistration_delay(&target.target_group).await.unwrap_or_else(|fault| {
            log::debug!("the deregistration delay of {target} is not known: {fault}");
            LONGEST_DELAY
        });
        Duration::from_secs(delay.saturating_add(MARGIN))
    }
}

fn is_absent(fault: &Fault) -> bool {
    fault.code.as_deref() == Some("TargetGroupNotFound")
}
