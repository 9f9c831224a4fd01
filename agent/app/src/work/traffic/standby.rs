//! Into Standby in the Auto Scaling group and back
//! (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html>).

use std::time::Duration;

use hostler_aws::asg::AutoScaling;
use hostler_aws::fault::Fault;
use hostler_core::machine::event::WorkFailure;
use hostler_core::traffic::{Next, in_standby, out_of_standby};

use super::Services;
use super::patience::{Patience, Seen, may_pass};
use crate::failure::fail;

/// The longest wait for Standby: the group first lets the load balancers drain, for at most an hour; plus a margin.
const DRAINED: Duration = Duration::from_secs(3600 + 60);

#[derive(Debug, Clone, Copy)]
enum Direction {
    In { lowers_desired_capacity: bool },
    Out,
}

/// The result of a look.
enum Found {
    There,
    /// The instance is in another state, from which it does not return.
    Gone(String),
}

/// Puts the instance into Standby and waits until it is there.
pub(super) async fn enter(services: &Services, group: &str, lowers_desired_capacity: bool) -> Result<(), WorkFailure> {
    let patience = Patience::new(format!("Standby of {group}"), DRAINED);
    match go(services, group, Direction::In { lowers_desired_capacity }, patience).await? {
        Found::There => Ok(()),
        Found::Gone(state) => Err(fail(format!("{group} has the instance in {state}"))),
    }
}

/// Puts the instance out of Standby and waits until it is in service; returns warnings for people.
pub(super) async fn leave(services: &Services, group: &str, most: Duration) -> Result<Vec<String>, WorkFailure> {
    let patience = Patience::new(format!("service in {group}"), most);
    Ok(match go(services, group, Direction::Out, patience).await? {
        Found::There => Vec::new(),
        Found::Gone(state) => {
            vec![format!("this host was taken out by Standby of {group} and is not put back: it is in {state}")]
        }
    })
}

async fn go(
    services: &Services,
    group: &str,
    direction: Direction,
    mut patience: Patience,
) -> Result<Found, WorkFailure> {
    let (service, instance) = (services.group().await, services.instance.as_str());
    let mut refused = None;
    loop {
        let seen = look(&service, group, instance, direction, &mut refused).await;
        if let Some(found) = patience.take(seen).await? {
            return Ok(found);
        }
    }
}

/// Looks, and sends the request if it is due. A refusal counts only if the next look shows no effect: the refused
/// request may have been a repetition.
async fn look(
    service: &AutoScaling,
    group: &str,
    instance: &str,
    direction: Direction,
    refused: &mut Option<Fault>,
) -> Seen<Found> {
    let state = match service.describe(instance).await {
        Ok(member) => member.map(|member| member.state),
        Err(fault) => return Seen::fault(&fault),
    };
    let next = match direction {
        Direction::In { .. } => in_standby(state.as_deref()),
        Direction::Out => out_of_standby(state.as_deref()),
    };
    let state = state.unwrap_or_else(|| "no Auto Scaling group".to_owned());
    match next {
        Next::Done => return Seen::So(Found::There),
        Next::Gone => return Seen::So(Found::Gone(state)),
        Next::Wait => return Seen::NotYet(state),
        Next::Ask => {}
    }
    if let Some(fault) = refused.take() {
        return Seen::Never(fail(fault));
    }
    let asked = match direction {
        Direction::In { lowers_desired_capacity } => {
            service.enter_standby(group, instance, lowers_desired_capacity).await
        }
        Direction::Out => service.exit_standby(group, instance).await,
    };
    match asked {
        Ok(()) => Seen::NotYet(state),
        Err(fault) => {
            let text = format!("{state}; {fault}");
            *refused = Some(fault).filter(|fault| !may_pass(fault));
            Seen::NotYet(text)
        }
    }
}
